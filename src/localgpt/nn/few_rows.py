"""Products of few rows with int8 and int4 weights by kernels of Triton: what decoding on a card is bound by.

This module is loaded once a layer wants it, and not before: Triton comes with torch's builds for CUDA and
ROCm and is not there on others, where `is_there` is False and there is nothing to be called.

Notable: four-bit weights lie in words of 32 bits, G / 8 words to a group of G inputs; word v holds, in its
bits 4 i to 4 i + 3, input i * G / 8 + v of the group, so that the inputs of one place are neighbours. A
weight becomes a number without being converted: its four bits, put behind an exponent, are the float32
`128 + q` or `2048 + q`, whichever needs fewer shifts. What that is too much is taken back unit by unit (32
inputs).

Shape legend: M rows, N outputs, K inputs, G inputs of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from localgpt.nn import few_rows_kernels as kernels
from localgpt.nn.launching import on, overlap
from localgpt.nn.triton_parts import triton

__all__ = ["TILES", "Around", "Matrix", "int4_product", "is_interpreted", "is_there"]

is_there: Final = triton is not None
# Without a card the kernels can be tried, by Triton's interpreter (TRITON_INTERPRET=1).
is_interpreted: Final = is_there and not isinstance(kernels.int8_product, triton.runtime.JITFunction)
_PER_WORD: Final = 8  # weights

# int8: outputs of a tile, inputs of one turn, warps. int4: rows of a tile, warps, each of which takes 1,024
# inputs in one turn, and whether it multiplies in integers where a card has an instruction for it.
TILES: dict[str, tuple[int, ...]] = {
    "int8": (4, 512, 2),
    "int4": (16, 4, 1),
    "int4 deep": (8, 4, 1),
}
_DEEP: Final = 8192  # inputs; with more, a program takes several turns, each with the next one's weights
_UNIT: Final = 32  # inputs, of which a thread multiplies one to a row in each turn
_MASKS: Final = (0x000F0000, 0x0000F000)  # no constants of the kernel: each use would move them anew
_SPREAD_TILE: Final = (8, 8, 4)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Four-bit weights as `Int4WeightLinear` holds them for these kernels.

    Args:
        packed: (N, K / 8) int32.
        scale_and_zero: (N, K / G, 2) bfloat16.
        bias: (N,) or None.
    """

    packed: Tensor
    scale_and_zero: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What stands before and after a product.

    Args:
        gain: (K,) of a normalisation by the root mean square, before it.
        eps: of that.
        residual: (M, outputs), which is added.
        is_pair: two matrices, of which silu(first) * second is made; else outputs lie behind each other.
    """

    gain: Tensor | None = None
    eps: float = 0.0
    residual: Tensor | None = None
    is_pair: bool = False


_NOTHING: Final = Around()


def int4_product(out: Tensor, x: Tensor, matrices: Sequence[Matrix], around: Around = _NOTHING) -> None:
    """One launch: products of the same rows with one matrix, with two as a pair, or with three.

    Args:
        out: (M, outputs), which is written; values are rounded where layers of its type round them.
        x: (M, K).
        matrices: all with a bias or none, all with the same K and G; a pair has none, and one N.
        around: what stands before and after.
    """
    assert not around.is_pair or (
        all(one.bias is None for one in matrices) and len({len(one.packed) for one in matrices}) == 1
    )
    (num_rows, n_in), first, num = x.shape, matrices[0], len(matrices)
    others = [*matrices[1:], *[first] * (3 - num)]
    tensors = [(one.packed, one.scale_and_zero.view(torch.int32), _or(one.bias, out)) for one in others]
    sizes = [len(one.packed) for one in matrices]
    outputs, warps, is_integer = TILES["int4 deep" if n_in > _DEEP else "int4"]
    warps = min(warps, 1 << (-(-n_in // (_UNIT * 32)) - 1).bit_length())
    per_tile = outputs // 2 if around.is_pair else outputs
    num_tiles = sum(-(-size // per_tile) for size in sizes[: 1 if around.is_pair else 3])
    launch, overlaps = overlap(x.device)
    has_asm = x.is_cuda and torch.version.hip is None
    with on(x.device):
        kernels.int4_product[(num_rows * num_tiles,)](
            out,
            x,
            first.packed,
            first.scale_and_zero.view(torch.int32),
            _or(first.bias, out),
            *tensors[0],
            *tensors[1],
            _or(around.gain, out),
            _or(around.residual, out),
            num_rows,
            *[*sizes, 0, 0][:3],
            around.eps,
            *_MASKS,
            K=n_in,
            G=n_in // first.scale_and_zero.shape[1],
            HAS_BIAS=first.bias is not None,
            HAS_NORM=around.gain is not None,
            HAS_RESIDUAL=around.residual is not None,
            IS_PAIR=around.is_pair,
            NUM_PARTS=1 if around.is_pair else num,
            BN=outputs,
            T=32 * warps,
            IS_INTEGER=bool(is_integer) and (has_asm or not x.is_cuda),
            HAS_ASM=has_asm,
            IS_EARLY=overlaps,
            num_warps=warps,
            **launch,
        )


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """What is handed over where there is nothing: it is not looked at."""
    return other if tensor is None else tensor


if is_there:

    def _int8_rows(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        (num_rows, n_in), n_out = x.shape, weight.shape[0]
        x = x.to(torch.bfloat16).contiguous()
        out = torch.empty((num_rows, n_out), dtype=torch.bfloat16, device=x.device)
        outputs, inputs, warps = TILES["int8"]
        with on(x.device):
            kernels.int8_product[(num_rows * triton.cdiv(n_out, outputs),)](
                x,
                weight,
                scale,
                scale if bias is None else bias,
                out,
                num_rows,
                n_out,
                K=n_in,
                HAS_BIAS=bias is not None,
                BN=outputs,
                BK=inputs,
                num_warps=warps,
            )
        return out

    def _int4_rows(x: Tensor, packed: Tensor, scale_and_zero: Tensor, bias: Tensor | None) -> Tensor:
        x = x.to(torch.bfloat16).contiguous()
        out = torch.empty((len(x), len(packed)), dtype=torch.bfloat16, device=x.device)
        int4_product(out, x, [Matrix(packed, scale_and_zero, bias)])
        return out

    def _int4_spread(packed: Tensor, scale_and_zero: Tensor) -> Tensor:
        (n_out, num_words), num_groups = packed.shape, scale_and_zero.shape[1]
        n_in = num_words * _PER_WORD
        out = torch.empty((n_out, n_in), dtype=torch.bfloat16, device=packed.device)
        outputs, groups, warps = _SPREAD_TILE
        with on(packed.device):
            kernels.spread[(triton.cdiv(n_out, outputs) * triton.cdiv(num_groups, groups),)](
                packed,
                scale_and_zero.view(torch.int32),
                out,
                n_out,
                K=n_in,
                G=n_in // num_groups,
                BN=outputs,
                BG=groups,
                num_warps=warps,
            )
        return out

    # Operators of torch, so that a compiler takes them into its graph as they are.
    _library = torch.library.Library("localgpt", "DEF")
    for _schema, _run in {
        "int8_rows(Tensor x, Tensor weight, Tensor scale, Tensor? bias) -> Tensor": _int8_rows,
        "int4_rows(Tensor x, Tensor packed, Tensor scale_and_zero, Tensor? bias) -> Tensor": _int4_rows,
        "int4_spread(Tensor packed, Tensor scale_and_zero) -> Tensor": _int4_spread,
    }.items():
        _library.define(_schema)
        _library.impl(_schema.partition("(")[0], _run, "CompositeExplicitAutograd")

    @torch.library.register_fake("localgpt::int8_rows", lib=_library)
    def _fake_int8_rows(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((x.shape[0], weight.shape[0]), dtype=torch.bfloat16)

    @torch.library.register_fake("localgpt::int4_rows", lib=_library)
    def _fake_int4_rows(x: Tensor, packed: Tensor, scale_and_zero: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((x.shape[0], packed.shape[0]), dtype=torch.bfloat16)

    @torch.library.register_fake("localgpt::int4_spread", lib=_library)
    def _fake_int4_spread(packed: Tensor, scale_and_zero: Tensor) -> Tensor:
        return packed.new_empty((packed.shape[0], packed.shape[1] * _PER_WORD), dtype=torch.bfloat16)
