"""Token streams, and their packing into rows of one length.

A stream is a flat uint16 array of token ids beside int64 offsets of its sequences. An epoch shuffles all
sequences of all streams together and lays them end to end, so no epoch repeats another's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["TokenStream", "document_ids", "pack_epoch", "row_batches"]


@dataclass(frozen=True, slots=True)
class TokenStream:
    """Sequences of token ids: `tokens` (N,) uint16, `offsets` (num_sequences + 1,) int64."""

    tokens: NDArray[np.uint16]
    offsets: NDArray[np.int64]

    @classmethod
    def load(cls, folder: Path, name: str) -> TokenStream:
        """Read `NAME.tokens.npy` and `NAME.offsets.npy`."""
        return cls(np.load(folder / f"{name}.tokens.npy"), np.load(folder / f"{name}.offsets.npy"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def pack_epoch(
    streams: Mapping[str, TokenStream], repeats: Mapping[str, float], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """All sequences of one epoch in random order, end to end.

    Args:
        streams: by name.
        repeats: how often each stream's sequences occur; 0.5 takes a random half, 2.0 everything twice.
        rng: decides order and fractions.

    Returns:
        (N,) uint16.

    Raises:
        KeyError: `repeats` names a stream that is not there.
    """
    chosen = []
    for number, (name, repeat) in enumerate(repeats.items()):
        num_sequences = len(streams[name])
        whole, fraction = int(repeat), repeat - int(repeat)
        picks = [np.arange(num_sequences)] * whole
        picks.append(rng.permutation(num_sequences)[: round(fraction * num_sequences)])
        indices = np.concatenate(picks)
        chosen.append(np.stack([np.full_like(indices, number), indices], axis=1))
    order = np.concatenate(chosen)
    rng.shuffle(order)
    by_number = [streams[name] for name in repeats]
    return np.concatenate([by_number[number][index] for number, index in order])


def row_batches(flat: NDArray[np.uint16], *, num_rows: int, row_len: int) -> Iterator[Tensor]:
    """Cut an epoch into batches of (num_rows, row_len + 1) int64; the tail that fills no batch is left out.

    The extra column is the target of the last position.
    """
    batch_len = num_rows * row_len
    for start in range(0, len(flat) - batch_len, batch_len):
        piece = torch.from_numpy(flat[start : start + batch_len + 1].astype(np.int64))
        yield piece.unfold(0, row_len + 1, row_len)


def document_ids(token_ids: Tensor, *, bos_id: int) -> Tensor:
    """Number the documents of each row: (B, T) int64 to (B, T) int32, counting `<|bos|>` from the left."""
    return (token_ids == bos_id).cumsum(dim=1).to(torch.int32)
