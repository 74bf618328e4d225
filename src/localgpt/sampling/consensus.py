"""Choosing among drafts of one text: the one that all the others agree with most.

Source: minimum Bayes risk decoding, Kumar and Byrne 2004. What two texts agree on is counted as CIDEr counts
it (Vedantam et al. 2015, arXiv:1411.5726, with the clipping and the length penalty of CIDEr-D), without
document frequencies: there are no documents. A single likeliest text is often nobody's: short, or with one
odd detail. What is drafted about a picture is weighed by its likeness to the picture, too (as CLIP ranks
captions, Radford et al. 2021, arXiv:2103.00020): drafts may agree on what is not there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["agreement", "most_agreed"]

_MOST_WORDS: Final = 4  # of an n-gram
_LIKENESS_WEIGHT: Final = 1.5  # agreements of drafts lie some 0.3 apart, cosines some 0.2
_SIGMA: Final = 6.0  # words by which lengths may differ
# A Chinese character, or a word of any script that has spaces.
_WORD: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")

Grams = tuple[Counter[tuple[str, ...]], ...]


def most_agreed(drafts: Sequence[str], likeness: Sequence[float] = ()) -> int:
    """The place of the best draft; the first of equals.

    Args:
        drafts: at least one text.
        likeness: of each draft to what it tells of, a cosine; empty where nothing can tell.

    Returns:
        Where the mean agreement with the other drafts, and 1.5 times the likeness, add up to the most.
    """
    grams = [_grams(draft) for draft in drafts]
    num_others = max(1, len(drafts) - 1)
    scores = [
        sum(_agreement(mine, other) for n, other in enumerate(grams) if n != place) / num_others
        for place, mine in enumerate(grams)
    ]
    for place, value in enumerate(likeness):
        scores[place] += _LIKENESS_WEIGHT * value
    return max(range(len(drafts)), key=lambda place: scores[place])


def agreement(first: str, second: str) -> float:
    """From 0, nothing in common, to 1 for the same words."""
    return _agreement(_grams(first), _grams(second))


def _agreement(first: Grams, second: Grams) -> float:
    """The same of counted n-grams."""
    parts = [_cosine(mine, other) for mine, other in zip(first, second, strict=True)]
    longer = first[0].total() - second[0].total()
    return sum(parts) / len(parts) * math.exp(-(longer**2) / (2 * _SIGMA**2))


def _grams(text: str) -> Grams:
    words = _WORD.findall(text.lower())
    return tuple(
        Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))
        for length in range(1, _MOST_WORDS + 1)
    )


def _cosine(first: Counter[tuple[str, ...]], second: Counter[tuple[str, ...]]) -> float:
    """Of two counts; what one text repeats counts no more than the other says it."""
    shared = sum(min(count, second[gram]) * second[gram] for gram, count in first.items() if gram in second)
    norms = math.hypot(*first.values()) * math.hypot(*second.values())
    return shared / norms if norms else 0.0
