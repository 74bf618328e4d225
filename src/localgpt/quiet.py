"""Libraries' warnings, unheard in one thread for a while; standard library only.

`warnings.catch_warnings` puts back the whole process's filters as it found them. Where two threads do that at
once, the one that leaves last puts back what the other had set, and everything stays unheard, or is heard
where it should not be. Here is one filter instead, which matches in those threads alone that asked for it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["unheard_warnings"]

_thread = threading.local()


class _InQuietThreads:
    """Stands in a filter where a pattern of messages would."""

    def match(self, text: str) -> bool:
        """Whether the thread that warns is in `unheard_warnings` for such a message."""
        return getattr(_thread, "depth", 0) > 0


_FILTER: Any = ("ignore", _InQuietThreads(), Warning, None, 0)


@contextmanager
def unheard_warnings() -> Iterator[None]:
    """Have no warning of this thread be heard; other threads and their filters are left alone."""
    filters: Any = warnings.filters
    if not filters or filters[0] is not _FILTER:  # somebody has set others since, or put older ones back
        filters[:] = [_FILTER, *(one for one in filters if one is not _FILTER)]
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1
