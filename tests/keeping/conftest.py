"""Plain clients of applications that a test built."""

from tests.api.conftest import connect

__all__ = ["connect"]
