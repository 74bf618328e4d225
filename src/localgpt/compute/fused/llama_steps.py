"""One token of a network like Llama by the kernels: five launches a layer, six with several runs.

Notable: normalisations, the residual, and what joins gate and up stand in the products (`nn.few_rows`);
weights are read where they lie. Nothing here is trusted before `runtime.open.fixed_steps` has held its logits
against those of the plain path.

Shape legend: C width, H heads of queries, H_kv of keys and values, D head width, P positions of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from localgpt.compute.fused import llama_kernels
from localgpt.nn.few_rows import Around, Matrix, int4_product
from localgpt.nn.launching import on, overlap

__all__ = ["LlamaAttention", "LlamaLayer", "Norm", "hidden_after"]

RUN_LEN: Final = 512  # positions that one program attends to
_BLOCK: Final = 64  # of them at once
_WARPS: Final = 8
_STAGES: Final = 3
_LEAST_TILE: Final = 16  # rows that tensor cores multiply


@dataclass(frozen=True, slots=True)
class Norm:
    """Of the root mean square: its gain (C,) or (D,), and what is added before the root."""

    gain: Tensor
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaAttention:
    """Shape of attention, and what it needs for one token.

    Args:
        num_heads: H.
        num_kv_heads: H_kv.
        head_dim: D, a power of two and at least 16.
        scale: of scores.
        q_norm: of single heads of queries; None for none.
        k_norm: the same of keys.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaLayer:
    """Weights of one layer, where they lie, and its memory.

    Args:
        norm: before attention.
        qkv: of queries, keys and values.
        attention: between the two.
        out: behind attention.
        mlp_norm: before the MLP.
        gate_up: of which silu(gate) * up is made.
        down: behind that.
        keys: (1, H_kv, P, D), contiguous; written at the token's position.
        values: the same.
    """

    norm: Norm
    qkv: tuple[Matrix, Matrix, Matrix]
    attention: LlamaAttention
    out: Matrix
    mlp_norm: Norm
    gate_up: tuple[Matrix, Matrix]
    down: Matrix
    keys: Tensor
    values: Tensor


def hidden_after(
    x: Tensor, layers: Sequence[LlamaLayer], rotary: tuple[Tensor, Tensor], position: Tensor, length: int
) -> Tensor:
    """Go through all layers with one token.

    Args:
        x: (1, C), which is overwritten.
        layers: all of them.
        rotary: cosines and sines (D,) of the position.
        position: (1,) int64; what lies before it is attended to.
        length: positions that are looked at, at least; position + 1 or more.

    Returns:
        x.
    """
    for layer in layers:
        attention = layer.attention
        num_out = (attention.num_heads + 2 * attention.num_kv_heads) * attention.head_dim
        qkv = x.new_empty(1, num_out)
        int4_product(qkv, x, layer.qkv, Around(gain=layer.norm.gain, eps=layer.norm.eps))
        heads = _attend(qkv, layer, rotary, position, length)
        int4_product(x, heads, [layer.out], Around(residual=x))
        wide = x.new_empty(1, len(layer.gate_up[0].packed))
        around = Around(gain=layer.mlp_norm.gain, eps=layer.mlp_norm.eps, is_pair=True)
        int4_product(wide, x, layer.gate_up, around)
        int4_product(x, wide, [layer.down], Around(residual=x))
    return x


def _attend(
    qkv: Tensor, layer: LlamaLayer, rotary: tuple[Tensor, Tensor], position: Tensor, length: int
) -> Tensor:
    """(1, H D) heads of one token."""
    shape = layer.attention
    num_heads, head_dim = shape.num_heads, shape.head_dim
    num_runs = -(-length // RUN_LEN)
    heads = qkv.new_empty(1, num_heads * head_dim)
    parts, stats = heads, heads
    if num_runs > 1:
        parts = qkv.new_empty(num_heads, num_runs, head_dim, dtype=torch.float32)
        stats = qkv.new_empty(num_heads, num_runs, 2, dtype=torch.float32)
    launch, overlaps = overlap(qkv.device)
    group = num_heads // shape.num_kv_heads
    q_norm, k_norm = shape.q_norm or Norm(qkv, 0.0), shape.k_norm or Norm(qkv, 0.0)
    with on(qkv.device):
        llama_kernels.attend[(shape.num_kv_heads, num_runs)](
            parts,
            stats,
            qkv,
            layer.keys,
            layer.values,
            *rotary,
            position,
            q_norm.gain,
            k_norm.gain,
            layer.keys.shape[-2],
            q_norm.eps,
            k_norm.eps,
            shape.scale,
            num_kv=shape.num_kv_heads,
            group=group,
            group_tile=max(_LEAST_TILE, _power_of_two(group)),
            head_dim=head_dim,
            run_len=RUN_LEN,
            num_runs=num_runs,
            block=_BLOCK,
            has_norm=shape.q_norm is not None,
            is_early=overlaps,
            num_warps=_WARPS,
            num_stages=_STAGES,
            **launch,
        )
        if num_runs > 1:
            llama_kernels.bring_together[(num_heads,)](
                heads,
                parts,
                stats,
                head_dim=head_dim,
                num_runs=num_runs,
                runs_tile=_power_of_two(num_runs),
                block=min(_LEAST_TILE, _power_of_two(num_runs)),
                is_early=overlaps,
                num_warps=_WARPS,
                **launch,
            )
    return heads


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
