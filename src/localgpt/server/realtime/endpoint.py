"""Where turns begin and end: from frames' probabilities of speech, and from what was said.

A turn begins when half of the last 160 ms are speech, and reaches back to before the first of them. It ends
with a silence, whose length is the session's, or is judged from the words: a sentence that is over needs less
of it than one that ends in "and", in "um" or in the middle.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from localgpt.server.realtime.activity import FRAME_MS

__all__ = ["SPECULATE_MS", "Endpointer", "Signal", "silence_needed_ms"]

SPECULATE_MS: Final = 60  # of silence after which the turn is taken for over, provisionally
_ONSET_FRAMES, _ONSET_SPEECH = 8, 4
_HYSTERESIS: Final = 0.15  # speech goes on at a lower probability than it begins
_RESUME_FRAMES: Final = 2  # of speech end a silence; one may be a click
_LONGEST_MS: Final = {"low": 8000, "medium": 4000, "high": 2000, "auto": 4000}
_FINISHED_MS: Final = {"low": 600, "medium": 300, "high": 200, "auto": 300}
_OPEN_MS: Final = {"low": 1600, "medium": 800, "high": 500, "auto": 800}
_END: Final = re.compile(r"[.!?。！？][\"'”’）)\]]*$")
# Words after which more comes; a recogniser may put a full stop behind the first kind all the same.
_NEVER_LAST: Final = r"and|or|but|because|if|um+|uh+|er+|hmm+|the|a|an|my|your|our|their"
_SELDOM_LAST: Final = r"so|when|while|which|who|to|of|in|at|for|with|from|by|is|are|was|were|then|than|as"
_NEVER_LAST_ZH: Final = r"和|或者|但是|可是|因为|所以|如果|然后|还有|比如|就是|嗯|呃"
_GOES_ON: Final = re.compile(
    rf"(?:(?:\b(?:{_NEVER_LAST})\b|{_NEVER_LAST_ZH})[\s.。]*|\b(?:{_SELDOM_LAST})\b\s*|[,，、;；:：\-—…]\s*|\.\.\.)$",
    re.IGNORECASE,
)

Kind = Literal["started", "paused", "resumed", "ended"]


@dataclass(frozen=True, slots=True)
class Signal:
    """Something about a turn, and when: of `started` the first speech, of the others the last one."""

    kind: Kind
    at_ms: int


class Endpointer:
    """Follows one call.

    Args:
        threshold: least probability of speech, from 0 to 1.
        needed_ms: silence that ends a turn; may be changed while one lasts.
        start_ms: of the call's sound.
        longest_ms: a turn that goes on for longer is ended.
    """

    def __init__(self, *, threshold: float, needed_ms: int, start_ms: int, longest_ms: int) -> None:
        self.needed_ms = needed_ms
        self._threshold = threshold
        self._longest_ms = longest_ms
        self._now_ms = start_ms
        self._recent: deque[bool] = deque(maxlen=_ONSET_FRAMES)
        self._begun_ms: int | None = None
        self._last_speech_ms = start_ms  # the end of the last frame that was speech
        self._run = 0  # frames of speech in a row
        self._is_paused = False

    @property
    def is_speaking(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self._begun_ms is not None

    @property
    def last_speech_ms(self) -> int:
        """The end of the last speech of the turn."""
        return self._last_speech_ms

    def feed(self, probability: float) -> list[Signal]:
        """Take the next frame."""
        begun = self._now_ms
        self._now_ms += FRAME_MS
        if self._begun_ms is None:
            return self._wait(begun, is_speech=probability >= self._threshold)
        return self._follow(is_speech=probability >= max(0.05, self._threshold - _HYSTERESIS))

    def settle(self) -> list[Signal]:
        """End the turn if the silence that there is has become enough."""
        if self._begun_ms is None or not self._is_paused:
            return []
        if self._now_ms - self._last_speech_ms < self.needed_ms:
            return []
        return [self._end()]

    def _wait(self, begun: int, *, is_speech: bool) -> list[Signal]:
        self._recent.append(is_speech)
        if not (is_speech and sum(self._recent) >= _ONSET_SPEECH):
            return []
        first = len(self._recent) - 1 - self._recent.index(True)
        self._begun_ms = begun - first * FRAME_MS
        self._last_speech_ms = self._now_ms
        self._run, self._is_paused = _RESUME_FRAMES, False
        self._recent.clear()
        return [Signal("started", self._begun_ms)]

    def _follow(self, *, is_speech: bool) -> list[Signal]:
        assert self._begun_ms is not None
        signals: list[Signal] = []
        self._run = self._run + 1 if is_speech else 0
        if self._run >= _RESUME_FRAMES or (self._run and not self._is_paused):
            self._last_speech_ms = self._now_ms
            if self._is_paused:
                self._is_paused = False
                signals.append(Signal("resumed", self._now_ms))
        silence_ms = self._now_ms - self._last_speech_ms
        if not self._is_paused and silence_ms >= min(SPECULATE_MS, self.needed_ms):
            self._is_paused = True
            signals.append(Signal("paused", self._last_speech_ms))
        if silence_ms >= self.needed_ms or self._now_ms - self._begun_ms >= self._longest_ms:
            signals.append(self._end())
        return signals

    def _end(self) -> Signal:
        self._begun_ms, self._is_paused, self._run = None, False, 0
        return Signal("ended", self._last_speech_ms)


def silence_needed_ms(said: str | None, eagerness: str) -> int:
    """How much silence ends a turn.

    Args:
        said: what was said so far; None where that is not known yet.
        eagerness: low, medium, high or auto.
    """
    if said is None or not said.strip():
        return _LONGEST_MS[eagerness]
    text = said.strip()
    if _GOES_ON.search(text):
        return _LONGEST_MS[eagerness]
    return _FINISHED_MS[eagerness] if _END.search(text) else _OPEN_MS[eagerness]
