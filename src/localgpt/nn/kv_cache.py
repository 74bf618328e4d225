"""Static key/value cache: a fixed number of slots, one sequence each, no allocation while decoding."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["KVCache"]


class KVCache:
    """Keys and values of `num_slots` sequences.

    Shapes: `k`, `v` are (n_layer, num_slots, n_head, num_positions, head_dim). Pages of the memory are
    touched only as positions are written, so an idle slot costs address space, not memory.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int, int],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        num_spare: int = 0,  # positions beyond the context, for rows in fixed shapes that nobody reads
    ) -> None:
        self._num_spare = num_spare
        self.k = torch.empty(shape, dtype=dtype, device=device)
        self.v = torch.empty(shape, dtype=dtype, device=device)

    @property
    def num_slots(self) -> int:
        """How many sequences fit at once."""
        return self.k.shape[1]

    @property
    def context_len(self) -> int:
        """Positions each slot can hold."""
        return self.k.shape[3] - self._num_spare

    @property
    def num_positions(self) -> int:
        """Positions there are, spare ones included."""
        return self.k.shape[3]

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return self.k.dtype

    @property
    def nbytes(self) -> int:
        """Bytes reserved for keys and values together."""
        return self.k.nbytes + self.v.nbytes

    def write(self, layer: int, slot: int, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store `k`, `v` (H, T, D) at positions start..start+T of a slot.

        Returns:
            Views of all keys and values of the slot so far, each (H, start+T, D).
        """
        end = start + k.shape[1]
        self.k[layer, slot, :, start:end] = k
        self.v[layer, slot, :, start:end] = v
        return self.k[layer, slot, :, :end], self.v[layer, slot, :, :end]

    def copy_out(self, slot: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of positions start..end of a slot, (n_layer, H, T, D) each, copied."""
        return self.k[:, slot, :, start:end].clone(), self.v[:, slot, :, start:end].clone()

    def copy_in(self, slot: int, start: int, k: Tensor, v: Tensor) -> None:
        """Fill positions start..start+T of a slot with what `copy_out` gave."""
        end = start + k.shape[2]
        self.k[:, slot, :, start:end] = k
        self.v[:, slot, :, start:end] = v
