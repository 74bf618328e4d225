"""How likely words follow each other: a trigram model with back-off, four to five bytes for each pair.

Logarithms are kept as whole sixteenths in a byte, words in two bytes, and what follows a word as one run, so
that a look-up is a binary search in a few hundred numbers. Source: Katz 1987, with absolute discounting (Ney
et al. 1994).

Shape legend: W words (three signs included), P pairs, Q triples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import CheckpointError

__all__ = ["Context", "WordModel", "from_bytes", "to_bytes"]

Context = tuple[int, int]
"""The last two words, the older one first."""

_STEPS: Final = 14.0  # of a natural logarithm in a byte: down to -18.2
_NAMES: Final = (
    "unigram_logprobs", "unigram_backoffs", "pair_counts", "pair_words", "pair_logprobs", "pair_backoffs",
    "triple_counts", "triple_words", "triple_logprobs",
)  # fmt: skip


def to_bytes(logprobs: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Natural logarithms of at most 0 as bytes."""
    return np.clip(np.round(-logprobs * _STEPS), 0, 255).astype(np.uint8)


def from_bytes(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inverse of `to_bytes`."""
    return -steps.astype(np.float32) / np.float32(_STEPS)


class WordModel:
    """Trigrams with back-off.

    Args:
        tensors: `unigram_*` (W,) bytes; how many pairs begin with each word, `pair_counts` (W,), and how many
            triples with each pair, `triple_counts` (P,), uint16; `pair_words` (P,) and `triple_words` (Q,)
            uint16 and sorted in each run; the others bytes.

    Raises:
        CheckpointError: they do not belong together.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        values = {name: tensors[name].numpy() for name in _NAMES}
        self.unigrams = from_bytes(values["unigram_logprobs"])
        self._backoffs = from_bytes(values["unigram_backoffs"])
        self._pair_begins, self._pair_words = _begins(values["pair_counts"]), values["pair_words"]
        self._triple_begins, self._triple_words = _begins(values["triple_counts"]), values["triple_words"]
        self._pair_bytes, self._pair_backoff_bytes = values["pair_logprobs"], values["pair_backoffs"]
        self._triple_bytes = values["triple_logprobs"]
        num_pairs, num_triples = len(self._pair_words), len(self._triple_words)
        is_whole = (
            len(self._backoffs) == len(self.unigrams) == len(self._pair_begins) - 1
            and len(self._pair_bytes) == len(self._pair_backoff_bytes) == num_pairs
            and len(self._triple_begins) == num_pairs + 1
            and len(self._triple_bytes) == num_triples
            and int(self._pair_begins[-1]) == num_pairs
            and int(self._triple_begins[-1]) == num_triples
        )
        if not is_whole:
            raise CheckpointError("the recogniser's word model is not whole; copy its folder again")

    @property
    def num_words(self) -> int:
        """W."""
        return len(self.unigrams)

    def scores(self, context: Context, words: Sequence[int]) -> list[float]:
        """Natural logarithms of how likely each word follows; a word may be the sign for the end."""
        first, second = context
        wanted = np.asarray(words, dtype=np.int64)
        begin, end = int(self._pair_begins[second]), int(self._pair_begins[second + 1])
        at, is_found = _find(self._pair_words[begin:end], wanted)
        lower = self.unigrams[wanted] + self._backoffs[second]
        if end > begin:
            lower = np.where(is_found, from_bytes(self._pair_bytes[begin + at]), lower)
        pair = self._pair(first, second)
        if pair is None:
            return [float(value) for value in lower]
        begin, end = int(self._triple_begins[pair]), int(self._triple_begins[pair + 1])
        backed = lower + from_bytes(self._pair_backoff_bytes[pair : pair + 1])
        if end == begin:
            return [float(value) for value in backed]
        at, is_found = _find(self._triple_words[begin:end], wanted)
        return [
            float(value) for value in np.where(is_found, from_bytes(self._triple_bytes[begin + at]), backed)
        ]

    def to_tensors(self) -> dict[str, Tensor]:
        """The model as it is kept."""
        values = (
            to_bytes(self.unigrams), to_bytes(self._backoffs), _counts(self._pair_begins), self._pair_words,
            self._pair_bytes, self._pair_backoff_bytes, _counts(self._triple_begins), self._triple_words,
            self._triple_bytes,
        )  # fmt: skip
        return {name: torch.from_numpy(value) for name, value in zip(_NAMES, values, strict=True)}

    def _pair(self, first: int, second: int) -> int | None:
        begin, end = int(self._pair_begins[first]), int(self._pair_begins[first + 1])
        at = begin + int(np.searchsorted(self._pair_words[begin:end], second))
        return at if at < end and self._pair_words[at] == second else None


def _begins(counts: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Where each run begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _counts(begins: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Inverse of `_begins`."""
    return np.diff(begins).astype(np.uint16)


def _find(run: NDArray[np.uint16], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where in a sorted run each word is (or would be, but never behind its end), and whether it is there."""
    if not len(run):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(run, wanted), len(run) - 1)
    return at, run[at] == wanted
