"""The embedded decoder in C++ for CPUs, compiled at installation; torch stays its oracle and fallback."""
