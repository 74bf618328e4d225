"""Counts of words to the trigrams that `sampling.speech.word_model` reads.

Absolute discounting, interpolated; rare pairs and triples are left out, and what they had is given back
through the back-off weights, so that every context's probabilities still add up to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from localgpt.sampling.speech.word_model import WordModel, to_bytes
from localgpt.sampling.speech.words import BEGIN, END, UNKNOWN

__all__ = ["ModelLimits", "build_word_model"]

_DISCOUNT = 0.75
_SHIFT = 16  # bits of a word
_LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """How much of what was counted is kept: the most frequent ones."""

    max_pairs: int = 450_000
    max_triples: int = 450_000
    min_pair: int = 2
    min_triple: int = 3


def build_word_model(
    sentences: Iterable[Sequence[int]], num_words: int, limits: ModelLimits | None = None
) -> WordModel:
    """Trigrams of sentences.

    Args:
        sentences: words by number, without the signs for begin and end; words not listed as `UNKNOWN`.
        num_words: the three signs included, at most 65,536.
        limits: what is kept.
    """
    limits = limits or ModelLimits()
    parts = [np.array([BEGIN, *sentence, END], dtype=np.int64) for sentence in sentences if len(sentence)]
    stream = np.concatenate(parts) if parts else np.array([BEGIN, END], dtype=np.int64)
    unigrams = _unigrams(stream, num_words)
    pairs = _Pairs.of(stream, unigrams, limits)
    triples = _triples(stream, pairs, limits)
    tensors = {
        "unigram_logprobs": to_bytes(np.log(unigrams)),
        "unigram_backoffs": to_bytes(np.log(pairs.backoffs)),
        "pair_counts": np.bincount(pairs.keys >> _SHIFT, minlength=num_words).astype(np.uint16),
        "pair_words": (pairs.keys & (2**_SHIFT - 1)).astype(np.uint16),
        "pair_logprobs": to_bytes(np.log(pairs.probs)),
        **triples,
    }
    return WordModel({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()})


def _unigrams(stream: NDArray[np.int64], num_words: int) -> NDArray[np.float64]:
    counts = np.bincount(stream, minlength=num_words).astype(np.float64)
    counts[BEGIN] = 0.0  # nothing is followed by a begin
    counts += 0.5
    probs: NDArray[np.float64] = counts / counts.sum()
    return probs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    keys: NDArray[np.int64]  # first word << 16 | second, sorted
    probs: NDArray[np.float64]
    backoffs: NDArray[np.float64]  # of each first word, by its number
    unigrams: NDArray[np.float64]

    @classmethod
    def of(cls, stream: NDArray[np.int64], unigrams: NDArray[np.float64], limits: ModelLimits) -> _Pairs:
        first, second = stream[:-1], stream[1:]
        is_pair = (first != END) & (second != BEGIN) & (second != UNKNOWN)
        keys, counts = np.unique((first << _SHIFT | second)[is_pair], return_counts=True)
        heads, tails = keys >> _SHIFT, keys & (2**_SHIFT - 1)
        num_words = len(unigrams)
        totals = np.bincount(heads, counts, minlength=num_words)
        kinds = np.bincount(heads, minlength=num_words)
        share = _DISCOUNT * kinds / np.maximum(totals, 1)
        probs = np.maximum(counts - _DISCOUNT, 0) / totals[heads] + share[heads] * unigrams[tails]
        kept = _most(counts, limits.min_pair, limits.max_pairs)
        keys, probs, heads, tails = keys[kept], probs[kept], heads[kept], tails[kept]
        left = 1.0 - np.bincount(heads, probs, minlength=num_words)
        lower = 1.0 - np.bincount(heads, unigrams[tails], minlength=num_words)
        backoffs = np.clip(left, _LEAST, 1.0) / np.clip(lower, _LEAST, None)
        return cls(keys=keys, probs=probs, backoffs=np.clip(backoffs, _LEAST, 1.0), unigrams=unigrams)

    def lookup(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probabilities of pairs as a reader of the model finds them."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        backed = self.backoffs[keys >> _SHIFT] * self.unigrams[keys & (2**_SHIFT - 1)]
        if not len(self.keys):
            return backed
        return np.where(self.keys[at] == keys, self.probs[at], backed)


def _triples(stream: NDArray[np.int64], pairs: _Pairs, limits: ModelLimits) -> dict[str, NDArray[np.generic]]:
    first, second, third = stream[:-2], stream[1:-1], stream[2:]
    is_triple = (first != END) & (second != END) & (second != BEGIN) & (third != BEGIN) & (third != UNKNOWN)
    keys, counts = np.unique((first << 2 * _SHIFT | second << _SHIFT | third)[is_triple], return_counts=True)
    heads = keys >> _SHIFT
    at = np.searchsorted(pairs.keys, heads)
    is_known = (at < len(pairs.keys)) & (pairs.keys[np.minimum(at, max(0, len(pairs.keys) - 1))] == heads)
    keys, counts, owners = keys[is_known], counts[is_known], at[is_known]
    num_pairs = len(pairs.keys)
    totals = np.bincount(owners, counts, minlength=num_pairs)
    share = _DISCOUNT * np.bincount(owners, minlength=num_pairs) / np.maximum(totals, 1)
    lower = pairs.lookup(keys & (2 ** (2 * _SHIFT) - 1))
    probs = np.maximum(counts - _DISCOUNT, 0) / totals[owners] + share[owners] * lower
    kept = _most(counts, limits.min_triple, limits.max_triples)
    keys, probs, owners, lower = keys[kept], probs[kept], owners[kept], lower[kept]
    left = 1.0 - np.bincount(owners, probs, minlength=num_pairs)
    rest = 1.0 - np.bincount(owners, lower, minlength=num_pairs)
    backoffs = np.clip(np.clip(left, _LEAST, 1.0) / np.clip(rest, _LEAST, None), _LEAST, 1.0)
    return {
        "pair_backoffs": to_bytes(np.log(backoffs)),
        "triple_counts": np.bincount(owners, minlength=num_pairs).astype(np.uint16),
        "triple_words": (keys & (2**_SHIFT - 1)).astype(np.uint16),
        "triple_logprobs": to_bytes(np.log(np.maximum(probs, _LEAST))),
    }


def _most(counts: NDArray[np.int64], least: int, most: int) -> NDArray[np.int64]:
    """The places of the most frequent ones, in order."""
    places = np.flatnonzero(counts >= least)
    if len(places) > most:
        places = np.sort(places[np.argsort(-counts[places], kind="stable")[:most]])
    return places
