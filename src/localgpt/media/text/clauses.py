"""A text in clauses, as a voice says it: each can be spoken before the next one is.

Marks of both scripts count. Western ones end a clause only before a space or the end, so that 3.14 is whole,
and not behind a title such as Dr.; Chinese ones always do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_CLAUSE_CHARS", "Clause", "split_clauses"]

MAX_CLAUSE_CHARS: Final = 200
_LEAST_CHARS: Final = 12  # a shorter clause is said together with the next one; an ideograph counts three
_TITLES: Final = "".join(
    rf"(?<!\b{title})" for title in ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Gen", "Capt", "vs", "e.g", "i.e")
)
_SENTENCE: Final = rf"(?:{_TITLES}[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’）】」』]*|\n\s*\n)"
_CLAUSE: Final = r"(?:[,;:]+(?=\s|$)|\s[–—-]+\s|[，；：、]+|\n)"
_MARK: Final = re.compile(f"({_SENTENCE})|({_CLAUSE})")
_SENTENCE_PAUSE_S, _CLAUSE_PAUSE_S = 0.35, 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Words with their marks, and the silence behind them at ordinary speed."""

    text: str
    pause_s: float


def split_clauses(text: str, *, max_chars: int = MAX_CLAUSE_CHARS) -> list[Clause]:
    """The clauses of a text in order; together they have all its letters and digits.

    Args:
        text: any.
        max_chars: longer clauses are cut at a space, or anywhere where there is none.
    """
    clauses: list[Clause] = []
    waiting = ""
    for part, pause_s in _parts(text):
        waiting += part
        if pause_s < _SENTENCE_PAUSE_S and _weight(waiting) < _LEAST_CHARS:
            continue
        clauses += _cut(waiting, pause_s, max_chars)
        waiting = ""
    clauses += _cut(waiting, 0.0, max_chars)
    if clauses:
        clauses[-1] = Clause(text=clauses[-1].text, pause_s=0.0)
    return clauses


def _parts(text: str) -> Iterator[tuple[str, float]]:
    begin = 0
    for mark in _MARK.finditer(text):
        yield text[begin : mark.end()], _SENTENCE_PAUSE_S if mark[1] else _CLAUSE_PAUSE_S
        begin = mark.end()
    if begin < len(text):
        yield text[begin:], 0.0


def _cut(text: str, pause_s: float, max_chars: int) -> Iterator[Clause]:
    text = " ".join(text.split())
    while len(text) > max_chars:
        at = text.rfind(" ", 1, max_chars + 1)
        at = at if at > 0 else max_chars
        yield Clause(text=text[:at].strip(), pause_s=0.0)
        text = text[at:].strip()
    if any(char.isalnum() for char in text):
        yield Clause(text=text, pause_s=pause_s)


def _weight(text: str) -> int:
    return sum(3 if ord(char) >= 0x2E80 else 1 for char in text)
