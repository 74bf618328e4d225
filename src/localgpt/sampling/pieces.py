"""A tokenizer's pieces for work on bytes: single ones, JSON's structure, and few tokens for a text."""

from __future__ import annotations

from collections.abc import Sequence

from localgpt.media.text.lexicon import Lexicon

__all__ = ["Ending", "Pieces"]

_STRUCTURE = frozenset(b'"{}[]:,\\')


class Ending:
    """A text that completes an answer, and the fewest tokens that say it.

    Args:
        text: the bytes.
        steps: for each place in the text, and for its end, how many tokens the rest takes and its first one.
        opening: reserved tokens that come before the text.
    """

    __slots__ = ("_tokens", "opening", "steps", "text")

    def __init__(
        self, text: bytes, steps: Sequence[tuple[int, int, int]], opening: tuple[int, ...] = ()
    ) -> None:
        self.text = text
        self.steps = steps
        self.opening = opening
        self._tokens: list[int] | None = None

    @property
    def num_tokens(self) -> int:
        """How many tokens it takes."""
        return len(self.opening) + self.steps[0][0]

    @property
    def tokens(self) -> list[int]:
        """The tokens."""
        if self._tokens is None:
            tokens, place = list(self.opening), 0
            while place < len(self.text):
                _, token_id, length = self.steps[place]
                tokens.append(token_id)
                place += length
            self._tokens = tokens
        return self._tokens

    def rest(self, num_bytes: int) -> Ending:
        """What is left after its first bytes."""
        return Ending(self.text[num_bytes:], self.steps[num_bytes:])


class Pieces:
    """The ordinary pieces of a tokenizer by their bytes; reserved ones have none."""

    def __init__(self, tokenizer: Lexicon) -> None:
        self.all = [tokenizer.piece(token_id) for token_id in range(tokenizer.vocab_size)]
        self._ids = {piece: token_id for token_id, piece in enumerate(self.all) if piece}
        self._longest = max(map(len, self._ids))
        self.of_bytes = [self._ids[bytes([byte])] for byte in range(256)]  # the token of each single byte
        self.structure = frozenset(
            token_id for piece, token_id in self._ids.items() if not _STRUCTURE.isdisjoint(piece)
        )

    def single(self, data: bytes) -> list[int]:
        """A text as tokens of one byte each."""
        return [self.of_bytes[byte] for byte in data]

    def ending(self, way: bytes, tail: Ending | None = None, opening: tuple[int, ...] = ()) -> Ending:
        """The ending whose text is `way`, then that of `tail`: a shortest path, found from its end."""
        text = way + (tail.text if tail is not None else b"")
        steps = list(tail.steps) if tail is not None else [(0, -1, 0)]
        steps.reverse()  # so that a step is added at the end
        for start in range(len(way) - 1, -1, -1):
            most = min(self._longest, len(text) - start)
            options = (
                (steps[-length][0] + 1, self._ids[piece], length)
                for length in range(1, most + 1)
                if (piece := text[start : start + length]) in self._ids
            )
            steps.append(min(options))
        steps.reverse()
        return Ending(text, steps, opening)
