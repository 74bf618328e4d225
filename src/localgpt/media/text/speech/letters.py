"""Sounds of English words that no lexicon has, by rules learned from one.

A rule says what a letter sounds like between certain others; the rule with the longest context that fits
decides. `recipes.letters` learns them. Method: letter contexts in the manner of Black, Lenzo and Pagel 1998.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from localgpt.media.text.speech.symbols import STRESS

__all__ = ["EDGE", "WINDOWS", "guess_sounds", "with_one_stress"]

EDGE: Final = "#"  # around a word
# Letters to the left and to the right, from the widest context to none.
WINDOWS: Final = ((4, 4), (3, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0))
_NAME: Final = "data/letters.txt.xz"
_PRIMARY, _SECONDARY = STRESS["1"], STRESS["2"]
_VOWELS: Final = frozenset("ɑæʌɔaɛɝeɪioʊuəɚ")


def guess_sounds(word: str, rules: Mapping[str, str] | None = None) -> str:
    """IPA of a word of the letters a to z; empty for one without letters.

    Args:
        word: in lower case.
        rules: contexts to sounds; None for those that were learned.
    """
    rules = _learned() if rules is None else rules
    width = WINDOWS[0][0]
    padded = EDGE * width + word + EDGE * width
    sounds = [_sound(rules, padded, at) for at in range(width, width + len(word))]
    return with_one_stress("".join(sounds))


def with_one_stress(sounds: str) -> str:
    """The same sounds with one primary stress: the first of several, or one on the first vowel."""
    first = sounds.find(_PRIMARY)
    if first >= 0:
        return sounds[: first + 1] + sounds[first + 1 :].replace(_PRIMARY, _SECONDARY)
    if (weaker := sounds.find(_SECONDARY)) >= 0:
        return f"{sounds[:weaker]}{_PRIMARY}{sounds[weaker + 1 :]}"
    at = next((place for place, sound in enumerate(sounds) if sound in _VOWELS), -1)
    return sounds if at < 0 else f"{sounds[:at]}{_PRIMARY}{sounds[at:]}"


def context(padded: str, at: int, window: tuple[int, int]) -> str:
    """The letter at a place with its neighbours: `left|letter|right`."""
    left, right = window
    return f"{padded[at - left : at]}|{padded[at]}|{padded[at + 1 : at + 1 + right]}"


def _sound(rules: Mapping[str, str], padded: str, at: int) -> str:
    for window in WINDOWS:
        found = rules.get(context(padded, at, window))
        if found is not None:
            return found
    return ""


@cache
def _learned() -> Mapping[str, str]:
    data = lzma.decompress(files("localgpt.media.text.speech").joinpath(_NAME).read_bytes())
    return dict(line.split("\t") for line in data.decode("utf-8").splitlines())
