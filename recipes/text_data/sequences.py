"""Sequences before tokenization: texts between reserved ids, cheap to make, pickle and encode in bulk.

The form is the one of `localgpt.media.text.template`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.template import ROLE_IDS, ImageSlot, Mark, Piece
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import BOS_ID, END_ID

__all__ = ["Parts", "Turn", "chat", "document", "encode_sequences"]

Parts = tuple[int | str, ...]
Turn = tuple[str, *tuple[Piece, ...]]


def document(text: str) -> Parts:
    """A document as a sequence."""
    return (BOS_ID, text, END_ID)


def chat(turns: Iterable[Turn]) -> Parts:
    """A conversation as a sequence; a turn is (role, piece, ...)."""
    parts: list[int | str] = [BOS_ID]
    for role, *pieces in turns:
        parts.append(ROLE_IDS[role])
        for piece in pieces:
            if isinstance(piece, ImageSlot):
                raise TypeError("text data has no pictures")
            parts.append(piece.token_id if isinstance(piece, Mark) else piece)
        parts.append(END_ID)
    return tuple(parts)


def encode_sequences(
    tokenizer: Tokenizer, sequences: Sequence[Parts]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Token ids of many sequences.

    Returns:
        tokens (N,) uint16 end to end, and the length of each sequence (num_sequences,) int64.
    """
    texts = [part for parts in sequences for part in parts if isinstance(part, str)]
    encoded = iter(tokenizer.encode_batch(texts))
    flat: list[int] = []
    lengths = np.empty(len(sequences), dtype=np.int64)
    for number, parts in enumerate(sequences):
        start = len(flat)
        for part in parts:
            if isinstance(part, str):
                flat += next(encoded)
            else:
                flat.append(part)
        lengths[number] = len(flat) - start
    return np.asarray(flat, dtype=np.uint16), lengths
