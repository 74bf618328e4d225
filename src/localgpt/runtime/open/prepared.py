"""What was made ready of requests when their sizes were asked for, until their answers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from localgpt.tasks import Request

__all__ = ["Prepared"]

T = TypeVar("T")
_NUM_KEPT: Final = 64


class Prepared(Generic[T]):
    """Makes requests ready once; of the one thread of a model.

    Args:
        prepare: checks a request and makes it ready.
        num_kept: requests that wait, at most; others are made ready again.
    """

    def __init__(self, prepare: Callable[[Request], T], *, num_kept: int = _NUM_KEPT) -> None:
        self._prepare, self._num_kept = prepare, num_kept
        self._kept: dict[int, tuple[Request, T]] = {}

    def look(self, request: Request) -> T:
        """A request made ready, and kept for `take`.

        Raises:
            LocalGPTError: it cannot be answered.
        """
        ready = self._prepare(request)
        while len(self._kept) >= self._num_kept:
            self._kept.pop(next(iter(self._kept)))
        self._kept[id(request)] = (request, ready)
        return ready

    def take(self, request: Request) -> T:
        """The same request made ready, which is kept no more; errors as those of `look`."""
        known = self._kept.pop(id(request), None)
        return known[1] if known is not None and known[0] is request else self._prepare(request)

    def clear(self) -> None:
        """Keep none."""
        self._kept.clear()
