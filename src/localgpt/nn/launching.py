"""Whether kernels may begin before the one before them has ended, reading their weights meanwhile.

Notable: that is right only where weights were complete before the work began, as in a graph that is captured;
a kernel right behind the one that makes its weights could read them too early.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["may_overlap", "overlapping"]

_may: Final[ContextVar[bool]] = ContextVar("may_overlap", default=False)


def may_overlap() -> bool:
    """Whether the work at hand may overlap."""
    return _may.get()


@contextmanager
def overlapping() -> Iterator[None]:
    """Work whose weights are complete: kernels that can begin early."""
    token = _may.set(True)
    try:
        yield
    finally:
        _may.reset(token)
