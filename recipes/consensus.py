"""How much a caption agrees with others: CIDEr as pycocoevalcap computes it, without that package.

The score clips counts and punishes a difference in length, as CIDEr-D does. A training caption that agrees
with the other captions of its picture is learned more (`caption_weights`), so that the likeliest caption
comes nearer to what people agree on; a run scores its captions while it goes on with the figures that
`benchmarks/quality_vision.py` prints.

Source: Vedantam et al. 2015, arXiv:1411.5726. A test compares it with pycocoevalcap.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["CiderScorer", "caption_weights", "tokens_of"]

_MOST_WORDS = 4
_SIGMA = 6.0  # of the difference in length, in words
_FLOOR = 0.2  # what a caption that agrees with nothing still counts, on the scale of the score
_MOST_WEIGHT = 2.5

Gram = tuple[str, ...]


def tokens_of(text: str, language: str) -> str:
    """A caption as tokens separated by blanks, as the scorers want it.

    English: lower case, punctuation removed, split at white space. Chinese: one token a character; Latin
    words and numbers stay whole. "A dog's ball, red-white!" gives "a dogs ball redwhite".
    """
    text = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(c for c in text if unicodedata.category(c)[0] not in "PSC" or c.isspace())
    if language == "zh":
        return " ".join(re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9]", kept))
    return " ".join(kept.split())


@dataclass(frozen=True, slots=True)
class _Vector:
    """Weights of the n-grams of one caption, their norms by n, and its length in pairs of words."""

    weights: tuple[dict[Gram, float], ...]
    norms: tuple[float, ...]
    length: int


class CiderScorer:
    """Scores captions with the document frequencies of a collection.

    Args:
        groups: the captions of each picture, one picture a document.
        language: "en" or "zh".
    """

    def __init__(self, groups: Iterable[Sequence[str]], language: str) -> None:
        self.language = language
        self._frequency: Counter[Gram] = Counter()
        num_documents = 0
        for group in groups:
            num_documents += 1
            self._frequency.update({gram for text in group for gram in self._grams(text)})
        self._log_documents = math.log(max(1, num_documents))

    def score(self, caption: str, references: Sequence[str]) -> float:
        """Agreement of a caption with the references, 0 to 10; 0 where there are none."""
        told = self._vector(caption)
        similar = [self._similarity(told, self._vector(text)) for text in references]
        return 10 * sum(similar) / len(similar) if similar else 0.0

    def _grams(self, text: str) -> Counter[Gram]:
        words = tokens_of(text, self.language).split()
        return Counter(
            tuple(words[at : at + n]) for n in range(1, _MOST_WORDS + 1) for at in range(len(words) - n + 1)
        )

    def _vector(self, text: str) -> _Vector:
        weights: tuple[dict[Gram, float], ...] = tuple({} for _ in range(_MOST_WORDS))
        length = 0
        for gram, count in self._grams(text).items():
            rarity = self._log_documents - math.log(max(1, self._frequency[gram]))
            weights[len(gram) - 1][gram] = count * rarity
            length += count * (len(gram) == 2)
        norms = tuple(math.sqrt(sum(value**2 for value in by.values())) for by in weights)
        return _Vector(weights, norms, length)

    @staticmethod
    def _similarity(told: _Vector, wanted: _Vector) -> float:
        total = 0.0
        for mine, other, a, b in zip(told.weights, wanted.weights, told.norms, wanted.norms, strict=True):
            shared = sum(
                min(value, other[gram]) * other[gram] for gram, value in mine.items() if gram in other
            )
            total += shared / (a * b) if a and b else shared
        gap = told.length - wanted.length
        return total / _MOST_WORDS * math.exp(-(gap**2) / (2 * _SIGMA**2))


def caption_weights(scorer: CiderScorer, captions: Sequence[str]) -> list[float]:
    """How much each caption of one picture is learned: 1 on the mean, more where it agrees with others."""
    if len(captions) < 2:
        return [1.0] * len(captions)
    scores = [
        scorer.score(text, [*captions[:place], *captions[place + 1 :]]) + _FLOOR
        for place, text in enumerate(captions)
    ]
    mean = sum(scores) / len(scores)
    return [round(min(_MOST_WEIGHT, score / mean), 3) for score in scores]
