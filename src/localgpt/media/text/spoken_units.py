"""The sounds that the embedded recogniser tells apart: letters for English, parts of pinyin for Chinese.

An English word is its letters and a sign for its end. A Chinese syllable is its initial, where it has one,
and its final with the tone: 200 parts instead of 1,300 syllables or 6,000 characters, so that a few hours of
speech have each of them many times. Which characters a syllable stands for is for the words to say
(`sampling.speech`). Parts are in plain letters: `v` is u with dots, tone 5 is the neutral one, and u is
written v where it is said so (ju, xue).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = [
    "BLANK",
    "FIRST_CHINESE",
    "NUM_UNITS",
    "UNITS",
    "WORD_END",
    "english_units",
    "pinyin_units",
    "spelling_of",
    "syllables_of",
]

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz'"
_INITIALS: Final = (
    "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c",
    "s", "y", "w",
)  # fmt: skip
_FINALS: Final = (
    "a", "o", "e", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "er", "i", "ia", "ie", "iao",
    "iu", "ian", "in", "iang", "ing", "iong", "u", "ua", "uo", "uai", "ui", "uan", "un", "uang", "v", "ve",
    "van", "vn",
)  # fmt: skip
UNITS: Final[tuple[str, ...]] = (
    "",  # the blank: nothing new
    *_LETTERS,
    "|",
    *(f"{initial}-" for initial in _INITIALS),
    *(f"{final}{tone}" for final in _FINALS for tone in range(1, 6)),
)
"""Every unit by its number; stored weights depend on this order."""

BLANK: Final = 0
WORD_END: Final = UNITS.index("|")
FIRST_CHINESE: Final = WORD_END + 1
NUM_UNITS: Final = len(UNITS)
_NUMBERS: Final = {unit: number for number, unit in enumerate(UNITS)}
_SYLLABLE: Final = re.compile(f"({'|'.join(sorted(_INITIALS, key=len, reverse=True))})?([a-zv]+?)([1-5]?)")
_SAID_V: Final = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}


def english_units(word: str) -> tuple[int, ...] | None:
    """An English word with its end; None where it has other signs than letters and apostrophes."""
    letters = word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if not letters.strip("'") or not set(letters) <= set(_LETTERS):
        return None
    return (*(_NUMBERS[letter] for letter in letters), WORD_END)


def pinyin_units(syllable: str) -> tuple[int, ...] | None:
    """A syllable such as "zhong1" or "lve4"; without a tone it has the neutral one. None for no syllable."""
    told = syllable.lower().replace("ü", "v").replace("u:", "v")
    match = _SYLLABLE.fullmatch(told)
    if match is None:
        return None
    initial, final, tone = match.groups()
    if initial in ("j", "q", "x", "y"):
        final = _SAID_V.get(final, final)
    part = f"{final}{tone or 5}"
    if part not in _NUMBERS:
        return None
    return (_NUMBERS[part],) if not initial else (_NUMBERS[f"{initial}-"], _NUMBERS[part])


def spelling_of(units: Sequence[int]) -> str:
    """Units as somebody can read them: words, and syllables one by one."""
    parts = [UNITS[number] for number in units]
    text = "".join(f"{part} " if part[-1:].isdigit() else part.replace("|", " ") for part in parts)
    return " ".join(text.replace("-", "").split())


def syllables_of(units: Sequence[int]) -> list[tuple[int, ...]]:
    """The Chinese syllables among units, in order; an initial without a final is none."""
    found: list[tuple[int, ...]] = []
    initial: int | None = None
    for number in units:
        if number < FIRST_CHINESE:
            initial = None
        elif UNITS[number][-1:].isdigit():
            found.append((number,) if initial is None else (initial, number))
            initial = None
        else:
            initial = number
    return found
