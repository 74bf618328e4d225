"""The words a recogniser may write, found by their sounds; and the compact form in which they are kept.

Words are kept as three tensors beside the network's weights: all texts, the sounds of every pronunciation,
and whose they are. The tree over the sounds is not kept: its nodes are ranges of the sorted pronunciations
and are looked up when a search first comes there.

Shape legend: W words (three signs included), E pronunciations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import CheckpointError
from localgpt.media.text.spoken_units import BLANK, NUM_UNITS, UNITS, WORD_END

__all__ = ["BEGIN", "END", "NUM_SIGNS", "UNKNOWN", "SoundNode", "SpelledNode", "WordList", "WordNode"]

BEGIN, END, UNKNOWN = 0, 1, 2  # the signs before the words: begin and end of a sentence, a word not listed
NUM_SIGNS: Final = 3
_LETTERS: Final = range(1, WORD_END)


class SoundNode(Protocol):
    """A place in a tree of sounds; a search stands on many of them at once."""

    best: float  # natural logarithm of the likeliest word below
    words: Sequence[int]  # that end here, the likeliest first
    spelled: str | None  # of the node, where its word is not listed

    def child(self, unit: int) -> SoundNode | None:
        """The place after one more sound; None where no word goes on like this."""


class WordNode:
    """A range of sorted pronunciations that begin alike; implements `SoundNode`."""

    __slots__ = ("_children", "_depth", "_list", "_range", "_ranges", "best", "spelled", "words")

    def __init__(self, words: WordList, begin: int, end: int, depth: int) -> None:
        self._list, self._range, self._depth = words, (begin, end), depth
        self._ranges: dict[int, tuple[int, int]] | None = None
        self._children: dict[int, WordNode | None] = {}
        self.spelled: str | None = None
        self.best = float(words.entry_logprobs[begin:end].max()) if depth and end > begin else 0.0
        here = begin + int(np.searchsorted(words.column(begin, end, depth), 0, side="right"))
        ending = words.entry_words[begin:here]
        self.words: Sequence[int] = ending[np.argsort(-words.logprobs[ending], kind="stable")].tolist()

    def child(self, unit: int) -> WordNode | None:
        """The place after one more sound; None where no word goes on like this."""
        if self._ranges is None:
            self._ranges = self._look_up()
        if unit not in self._children:
            found = self._ranges.get(unit)
            self._children[unit] = None if found is None else WordNode(self._list, *found, self._depth + 1)
        return self._children[unit]

    def _look_up(self) -> dict[int, tuple[int, int]]:
        """The pronunciations below, by their next sound."""
        begin, end = self._range
        column = self._list.column(begin, end, self._depth)
        cuts = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
        return {
            int(column[first]): (begin + first, begin + last)
            for first, last in pairwise(cuts)
            if last > first and column[first] != BLANK
        }


class SpelledNode:
    """A word that is not listed, letter by letter, each at a price; implements `SoundNode`."""

    __slots__ = ("_children", "_price", "_text", "best", "spelled", "words")

    def __init__(self, text: str, best: float, price: float) -> None:
        self._text, self.best, self._price = text, best, price
        self._children: dict[int, SpelledNode | None] = {}
        self.words: Sequence[int] = ()
        self.spelled: str | None = None

    def child(self, unit: int) -> SpelledNode | None:
        """The place after one more letter, or behind the word."""
        if unit not in self._children:
            self._children[unit] = self._make(unit)
        return self._children[unit]

    def _make(self, unit: int) -> SpelledNode | None:
        if unit in _LETTERS:
            return SpelledNode(self._text + UNITS[unit], self.best - self._price, self._price)
        if unit != WORD_END or not self._text.strip("'"):
            return None
        end = SpelledNode(self._text, self.best, self._price)
        end.words, end.spelled = (UNKNOWN,), self._text
        return end


class WordList:
    """Words and their sounds.

    Args:
        texts: W of them as they are written, the three signs first.
        entries: (word, units) of each pronunciation, in any order.
        logprobs: (W,) natural logarithms of how often each is said.
    """

    def __init__(
        self,
        texts: Sequence[str],
        entries: Sequence[tuple[int, Sequence[int]]],
        logprobs: NDArray[np.float32],
    ) -> None:
        self.texts, self.logprobs = list(texts), logprobs
        self.ids = {text: number for number, text in enumerate(self.texts) if number >= NUM_SIGNS}
        longest = max((len(units) for _, units in entries), default=0)
        matrix = np.zeros((len(entries), longest + 1), dtype=np.uint8)
        for row, (_, units) in enumerate(entries):
            matrix[row, : len(units)] = units
        words = np.array([word for word, _ in entries], dtype=np.int64)
        order = np.lexsort((words, *matrix.T[::-1])) if len(entries) else np.zeros(0, dtype=np.int64)
        self._matrix, self.entry_words = matrix[order], words[order]
        self.entry_logprobs = logprobs[self.entry_words]
        self.root = WordNode(self, 0, len(entries), 0)
        self._common: dict[tuple[int, ...], str] = {}

    def column(self, begin: int, end: int, depth: int) -> NDArray[np.uint8]:
        """The sound at one place of some pronunciations, sorted; 0 behind their ends."""
        column: NDArray[np.uint8] = self._matrix[begin:end, depth]
        return column

    def common(self, units: tuple[int, ...]) -> str:
        """The likeliest word of exactly these sounds; empty where there is none."""
        if units not in self._common:
            node: WordNode | None = self.root
            for unit in units:
                node = None if node is None else node.child(unit)
            self._common[units] = self.texts[node.words[0]] if node is not None and node.words else ""
        return self._common[units]

    def is_chinese(self, word: int) -> bool:
        """Whether a listed word is written in characters."""
        return bool(self.texts[word]) and ord(self.texts[word][0]) >= 0x2E80

    def to_tensors(self) -> dict[str, Tensor]:
        """The list as it is kept; `logprobs` are the word model's to keep."""
        lengths = (self._matrix != BLANK).sum(axis=1).astype(np.uint8)
        units = self._matrix[self._matrix != BLANK]
        data = "\n".join(self.texts[NUM_SIGNS:]).encode()
        return {
            "texts": torch.frombuffer(bytearray(data), dtype=torch.uint8),
            "units": torch.from_numpy(units),
            "lengths": torch.from_numpy(lengths),
            "owners": torch.from_numpy(self.entry_words.astype(np.int32)),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], logprobs: NDArray[np.float32]) -> WordList:
        """Inverse of `to_tensors`.

        Raises:
            CheckpointError: the tensors do not belong together.
        """
        texts = bytes(tensors["texts"].numpy()).decode().split("\n")
        lengths, owners = tensors["lengths"].numpy(), tensors["owners"].numpy()
        units = tensors["units"].numpy()
        ends = np.cumsum(lengths, dtype=np.int64)
        num_words = len(texts) + NUM_SIGNS
        is_whole = len(ends) == len(owners) and len(logprobs) == num_words and (ends[-1:] == len(units)).all()
        if not is_whole or (len(owners) and owners.max() >= num_words) or (units >= NUM_UNITS).any():
            raise CheckpointError("the recogniser's words do not belong together; copy its folder again")
        begins = ends - lengths
        entries = [
            (int(owner), units[begin:end].tolist())
            for owner, begin, end in zip(owners, begins, ends, strict=True)
        ]
        return cls(["", "", "", *texts], entries, logprobs)
