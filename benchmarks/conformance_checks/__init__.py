"""Checks of the OpenAI wire, one module per area, run by `benchmarks/conformance.py` and by `make test`."""
