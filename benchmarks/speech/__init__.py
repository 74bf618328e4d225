"""Parts of the speech benchmarks."""
