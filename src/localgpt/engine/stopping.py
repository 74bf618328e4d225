"""What ends an answer besides its own end: stop strings, and going round in circles."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopFilter", "is_going_in_circles"]

_LONGEST_LOOP = 96  # tokens
_LEAST_REPEATED = 48  # tokens; below this, repeating may be meant (a refrain, a line of dashes)
_LEAST_TIMES = 3


def is_going_in_circles(token_ids: Sequence[int]) -> bool:
    """Whether an answer ends in one run of tokens said again and again.

    A run of up to 96 tokens counts when it stands at least three times in a row and fills at least 48 tokens.
    Small models fall into such loops under greedy choice and never leave them.
    """
    if len(token_ids) < _LEAST_REPEATED:
        return False
    tail = list(token_ids[-_LONGEST_LOOP * _LEAST_TIMES :])
    last = tail[-1]
    for length in range(1, len(tail) // _LEAST_TIMES + 1):
        if tail[-1 - length] != last:  # most lengths end here: this runs for every token
            continue
        num_tokens = length * max(_LEAST_TIMES, -(-_LEAST_REPEATED // length))
        if num_tokens <= len(tail) and tail[-num_tokens:-length] == tail[length - num_tokens :]:
            return True
    return False


class StopFilter:
    """Passes text on until a stop string is complete, wherever it is cut; holds back what may be one."""

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
