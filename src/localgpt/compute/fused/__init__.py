"""A token of the embedded decoder in few Triton kernels, for cards; torch stays its oracle and fallback."""
