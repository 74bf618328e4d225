"""Attention over the slots of a cache in fixed shapes, with positions as data: what a CUDA graph can replay.

Shape legend: B slots, T new tokens each, H heads, D head width, L positions that are looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.nn.kv_cache import KVCache

__all__ = ["StaticAttend"]


class StaticAttend:
    """New tokens of the first B slots, to themselves and to what their slots hold; row b is slot b.

    The same as `CachedAttend`, up to the order of sums: every slot is attended over L positions, and what
    lies behind a token's own is masked out. It must still be finite, so the cache has to begin with zeros.

    Args:
        slopes: (H,) float32.
        cache: where keys and values live; written in place.
        positions: (B, T) int64, where the new tokens are; below `cache.num_positions`.
        length: L; larger than every position whose result counts.
    """

    def __init__(self, slopes: Tensor, cache: KVCache, positions: Tensor, length: int) -> None:
        self._cache = cache
        self._length = length
        self._slots = torch.arange(len(positions), device=positions.device)[:, None]  # (B, 1)
        self._positions = positions
        keys = torch.arange(length, device=positions.device)
        distance = (positions[:, :, None] - keys)[:, None]  # (B, 1, T, L)
        bias = -slopes[:, None, None] * distance.clamp(min=0)
        self._bias = bias.masked_fill(distance < 0, float("-inf")).to(cache.dtype)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write the new keys and values, then attend: (B, H, T, D) each."""
        num_slots = len(q)
        keys, values = self._cache.k[layer, :num_slots], self._cache.v[layer, :num_slots]
        keys.transpose(1, 2)[self._slots, self._positions] = k.transpose(1, 2).to(keys.dtype)
        values.transpose(1, 2)[self._slots, self._positions] = v.transpose(1, 2).to(values.dtype)
        return F.scaled_dot_product_attention(
            q.to(keys.dtype), keys[:, :, : self._length], values[:, :, : self._length], attn_mask=self._bias
        ).to(q.dtype)
