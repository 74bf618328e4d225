"""The likeliest sound of each frame, repeats and blanks left out: quick, and without knowledge of words.

Source: Graves et al. 2006, best path decoding.

Shape legend: T frames, V units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.spoken_units import BLANK, FIRST_CHINESE, UNITS, WORD_END
from localgpt.sampling.speech.words import WordList

__all__ = ["greedy_text", "greedy_units"]


def greedy_units(log_probs: NDArray[np.float32]) -> list[int]:
    """The sounds of (T, V) log probabilities."""
    best = log_probs.argmax(axis=1)
    is_new = np.ones(len(best), dtype=bool)
    is_new[1:] = best[1:] != best[:-1]
    return [int(unit) for unit in best[is_new & (best != BLANK)]]


def greedy_text(units: list[int], words: WordList | None = None) -> str:
    """Sounds as text: letters as they are, each syllable as its likeliest character.

    Args:
        units: of `greedy_units`.
        words: tells the characters; without it syllables stay pinyin.
    """
    text, initial = "", None
    for unit in units:
        if unit < FIRST_CHINESE:
            text += " " if unit == WORD_END else UNITS[unit]
            initial = None
        elif UNITS[unit][-1].isdigit():
            syllable = (unit,) if initial is None else (initial, unit)
            spelled = "".join(UNITS[part].replace("-", "") for part in syllable)
            text += (words.common(syllable) or spelled) if words is not None else f" {spelled}"
            initial = None
        else:
            initial = unit
    return " ".join(text.split())
