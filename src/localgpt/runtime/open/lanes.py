"""The threads that run open models: of each model its own on a CPU, one for all of them on a card.

On a CPU a question does not wait for minutes until a picture is painted; both get their part of the cores. On
a card one kernel runs after the other anyway, and what one thread captures as a graph must not meet others.
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ThreadPoolExecutor

from localgpt.errors import CancelledRequestError

__all__ = ["Lanes"]

_ALL = ""


class Lanes:
    """One thread for each name, begun with its first work; for any thread.

    Args:
        is_shared: all names have the same one.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def of(self, name: str) -> Executor:
        """The thread of a model: what is handed to it is done one after the other.

        Raises:
            CancelledRequestError: this was closed.
        """
        with self._lock:
            if self._is_closed:
                raise CancelledRequestError("LocalGPT is closing; the request was not answered")
            key = _ALL if self._is_shared else name
            if key not in self._lanes:
                self._lanes[key] = ThreadPoolExecutor(1, thread_name_prefix="localgpt-open")
            return self._lanes[key]

    def close(self) -> None:
        """Give up what has not begun, and wait for the rest; nothing is handed over afterwards."""
        with self._lock:
            self._is_closed = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.shutdown(wait=True, cancel_futures=True)
