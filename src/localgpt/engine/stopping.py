"""Stop strings in a stream: no character of one is let out, wherever the pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopFilter"]


class StopFilter:
    """Passes text on until a stop string is complete, holding back what could be the start of one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.is_stopped = False
        self._stop = tuple(stop)
        self._held = ""

    def push(self, text: str) -> str:
        """The part of all text so far that can be let out now; sets `is_stopped` at a stop string."""
        if not self._stop or self.is_stopped:
            return "" if self.is_stopped else text
        text = self._held + text
        places = [place for place in map(text.find, self._stop) if place >= 0]
        if places:
            self.is_stopped = True
            self._held = ""
            return text[: min(places)]
        num_held = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def flush(self) -> str:
        """What was held back, at the end of an answer that met no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper start of `stop` that `text` ends with."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
