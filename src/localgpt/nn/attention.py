"""Modality-gated attention: ALiBi self-attention whose heads are gated by what kind of token asks.

Notable:
- One sigmoid gate per modality and head, applied to each head's output before the output projection
  (head gating as in Qiu et al. 2025, arXiv:2505.06708). The gate depends on layer, head and modality only, so
  for text it is a constant and folds into the output projection (`fold_gate`), which the GGUF export does.
- Queries and keys are layer-normalised over the full width before they are split into heads (MPT's qk_ln).
- How scores are computed is an argument (`Attend`): the plain path, the training path and the cached path
  share every weight and every other line.

Shape legend: B batch, T new tokens, S all tokens so far, C width (n_embd), H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.alibi import alibi_bias
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["RUN_LEN", "Attend", "CachedAttend", "CausalAttend", "ModalityGatedAttention"]

RUN_LEN: Final = 64
"""Positions of a prompt that are attended in one go."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q, k, v), each (B, H, T, D), to the heads' outputs (B, H, T, D)."""


class CausalAttend:
    """Plain causal ALiBi attention over whole sequences: the reference every other path is compared with."""

    def __init__(self, slopes: Tensor) -> None:
        self.slopes = slopes

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from every position to itself and all before it."""
        positions = torch.arange(q.shape[2], device=q.device)
        bias = alibi_bias(self.slopes, positions, positions).to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class CachedAttend:
    """Attention of new tokens to themselves and to what their cache slots already hold.

    Sequences are attended one by one over views of the cache: nothing is copied or padded, and a sequence's
    result does not depend on the others in the batch. A piece of a prompt is attended in runs of positions
    that end at multiples of `RUN_LEN`, so that its result does not depend, to the last bit, on where the
    pieces before it ended, as long as they ended at such multiples.

    Args:
        slopes: (H,) float32.
        cache: where keys and values live; written in place.
        slots: the cache slot of each sequence in the batch.
        starts: position of the first new token of each sequence.
    """

    def __init__(self, slopes: Tensor, cache: KVCache, slots: list[int], starts: list[int]) -> None:
        self.cache = cache
        self.places = list(zip(slots, starts, strict=True))
        self.slopes = slopes
        self._bias: dict[tuple[int, int], Tensor] = {}  # shared by all layers of one forward

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write the new keys and values, then attend."""
        rows = []
        for row, (slot, start) in enumerate(self.places):
            keys, values = self.cache.write(layer, slot, start, k[row], v[row])
            keys, values = keys[None].to(q.dtype), values[None].to(q.dtype)
            runs = [
                F.scaled_dot_product_attention(
                    q[row : row + 1, :, first - start : last - start],
                    keys[:, :, :last],
                    values[:, :, :last],
                    attn_mask=self._bias_for(first, last - first, q.dtype)[None],
                )
                for first, last in _runs(start, start + q.shape[2])
            ]
            rows.append(runs[0] if len(runs) == 1 else torch.cat(runs, dim=2))
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _bias_for(self, start: int, num_new: int, dtype: torch.dtype) -> Tensor:
        bias = self._bias.get((start, num_new))
        if bias is None:
            keys = torch.arange(start + num_new, device=self.slopes.device)
            bias = alibi_bias(self.slopes, keys[start:], keys).to(dtype)
            self._bias[start, num_new] = bias
        return bias


def _runs(start: int, end: int) -> list[tuple[int, int]]:
    """Positions start..end cut at multiples of `RUN_LEN`."""
    cuts = [start, *range(start // RUN_LEN * RUN_LEN + RUN_LEN, end, RUN_LEN), end]
    return list(pairwise(cuts))


class ModalityGatedAttention(nn.Module):
    """Self-attention with a per-head gate chosen by the modality of the asking token."""

    def __init__(self, n_embd: int, n_head: int, *, n_modality: int, qk_norm: bool = True) -> None:
        super().__init__()
        self.n_head = n_head
        self.head_dim = n_embd // n_head
        self.c_attn = Linear(n_embd, 3 * n_embd)  # rows: all of q, then k, then v
        self.c_proj = Linear(n_embd, n_embd)
        self.q_norm = LayerNorm(n_embd) if qk_norm else nn.Identity()
        self.k_norm = LayerNorm(n_embd) if qk_norm else nn.Identity()
        self.gate_logits = nn.Parameter(torch.full((n_modality, n_head), 2.0))

    def forward(self, x: Tensor, layer: int, attend: Attend, modality: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (B, T, C).
            layer: index of this layer, handed to `attend`.
            attend: how scores are computed and what the keys are.
            modality: (B, T) int64, 0 text, 1 image, 2 audio; None means all text.

        Returns:
            (B, T, C).
        """
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        q, k, v = (self._split_heads(t) for t in (self.q_norm(q), self.k_norm(k), v))
        heads = attend(layer, q, k, v).transpose(1, 2)  # (B, T, H, D)
        heads = heads * self.gate(modality)[..., None].to(heads.dtype)
        return self.c_proj(heads.flatten(2))

    def gate(self, modality: Tensor | None) -> Tensor:
        """Gate values in (0, 1): (B, T, H), or (H,) when everything is text."""
        gates = torch.sigmoid(self.gate_logits)
        return gates[0] if modality is None else gates[modality]

    def fold_gate(self, modality: int = 0) -> Tensor:
        """Output projection (C, C) with the gate of one modality multiplied in."""
        gate = torch.sigmoid(self.gate_logits[modality]).repeat_interleave(self.head_dim)
        return self.c_proj.weight * gate[None, :]

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_head, self.head_dim).transpose(1, 2)  # (B, H, T, D)
