"""An answer in the pieces in which it is spoken, while it is still being written.

The first piece is short, since everybody waits for it: it ends at the first mark. Later ones end with a
sentence, or at a comma once they are long. Marks of both scripts count; a Western one ends a piece only
before a space, so that 3.14 is whole.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Phrases", "pause_ms", "speakable"]

_FIRST_CHARS, _LATER_CHARS, _MOST_CHARS = 8, 60, 200  # an ideograph counts three
_SENTENCE: Final = r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”’）】」』]*|\n+"
_CLAUSE: Final = r"[,;:]+(?=\s)|[，；：、]+"
_SENTENCE_END: Final = re.compile(_SENTENCE)
_ANY_END: Final = re.compile(f"{_SENTENCE}|{_CLAUSE}")
_MARKUP: Final = re.compile(r"\*\*|__|```\w*|`|^#{1,6}\s+|^\s*[-*+]\s+|^\s*>\s+", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE_PAUSE_MS, _CLAUSE_PAUSE_MS = 250, 100


class Phrases:
    """Cuts one answer; the pieces together are the answer."""

    def __init__(self) -> None:
        self._waiting = ""
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """The pieces that are whole now."""
        self._waiting += text
        pieces = []
        while (end := self._end()) is not None:
            pieces.append(self._waiting[:end])
            self._waiting = self._waiting[end:]
            self._is_first = False
        return pieces

    def finish(self) -> list[str]:
        """What is left."""
        rest, self._waiting = self._waiting, ""
        return [rest] if rest else []

    def _end(self) -> int | None:
        least = _FIRST_CHARS if self._is_first else _LATER_CHARS
        for mark in _ANY_END.finditer(self._waiting):
            is_sentence = _SENTENCE_END.match(mark[0] + " ") is not None
            if _weight(self._waiting[: mark.end()]) >= (_FIRST_CHARS if is_sentence else least):
                return mark.end()
        weight = 0
        for place, char in enumerate(self._waiting):
            weight += _weight(char)
            if weight > _MOST_CHARS:
                return self._waiting.rfind(" ", 0, place) + 1 or place
        return None


def speakable(text: str) -> str:
    """A piece without marks of layout; empty where nothing of it can be said."""
    plain = _MARKUP.sub("", _LINK.sub(r"\1", text)).strip()
    return plain if any(char.isalnum() for char in plain) else ""


def pause_ms(text: str) -> int:
    """The silence behind a piece."""
    return _SENTENCE_PAUSE_MS if _SENTENCE_END.search(text.rstrip() + " ") else _CLAUSE_PAUSE_MS


def _weight(text: str) -> int:
    return sum(3 if ord(char) >= 0x2E80 else 1 for char in text)
