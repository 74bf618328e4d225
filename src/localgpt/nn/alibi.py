"""ALiBi: attention with linear biases instead of position embeddings.

Source: Press et al. 2021, arXiv:2108.12409. The slopes are those of MPT with `alibi_bias_max=8`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["alibi_bias", "alibi_slopes"]


def alibi_slopes(n_head: int, *, max_bias: float = 8.0) -> Tensor:
    """One slope a head, (n_head,) float32 on the CPU: head i (from 1) gets 2 ** (-max_bias * i / n_head).

    Raises:
        ValueError: `n_head` is not a power of two (the formula, and the GGUF export, need one).
    """
    if n_head < 1 or n_head & (n_head - 1):
        raise ValueError(f"n_head is {n_head}; ALiBi slopes here need a power of two")
    # On the CPU whatever the default device: a decoder built without memory (meta) still knows its slopes.
    heads = torch.arange(1, n_head + 1, dtype=torch.float32, device="cpu")
    return 2.0 ** (-max_bias * heads / n_head)


def alibi_bias(slopes: Tensor, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Causal ALiBi bias to add to attention scores.

    Args:
        slopes: (H,) float32, one a head.
        query_positions: (T,) int64 absolute positions of the queries.
        key_positions: (S,) int64 absolute positions of the keys.

    Returns:
        (H, T, S) float32: `-slope * distance` where the key is not after the query, else -inf.
    """
    distance = query_positions[:, None] - key_positions[None, :]  # (T, S)
    bias = -slopes[:, None, None] * distance.clamp(min=0)
    return bias.masked_fill(distance < 0, float("-inf"))
