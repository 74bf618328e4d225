"""Products of few rows with int8 and int4 weights by kernels of Triton: what decoding on a card is bound by.

Only `weight_only` loads this module, once a layer wants it: Triton comes with torch's builds for CUDA and
ROCm and is not there on others, where `is_there` is False and there is nothing to be called.

Notable: four-bit weights lie in words of 32 bits, G / 8 words to a group of G inputs; word v holds, in its
bits 4 i to 4 i + 3, input i * G / 8 + v of the group, so that the inputs of one place are neighbours. A
weight becomes a number without being converted: its four bits, put behind an exponent, are the float32
`128 + q` or `2048 + q`, whichever needs fewer shifts. What that is too much is taken back group by group.

Shape legend: M rows, N outputs, K inputs, G inputs of a group.
"""

# No `from __future__ import annotations` here: Triton reads the annotations of its kernels.

from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

__all__ = ["TILES", "is_interpreted", "is_there"]

is_there: Final = triton is not None
_PER_WORD: Final = 8  # weights

# Outputs of a tile, inputs (int8) or groups (int4) of one turn of its loop, warps, tiles of a program.
TILES: dict[str, tuple[int, int, int, int]] = {
    "int8": (4, 512, 2, 1),
    "int4": (8, 8, 4, 2),
    "int4 small": (8, 16, 8, 1),
}
_SMALL: Final = 8192  # outputs; with fewer, more of each is read at once, to keep a card's memory busy
_MASKS: Final = (0x000F0000, 0x0000F000)  # no constants of the kernel: each use would move them anew
_SPREAD_TILE: Final = (8, 8, 4)


if is_there:

    @triton.jit
    def _int8_kernel(
        x_ptr,
        w_ptr,
        scale_ptr,
        bias_ptr,
        out_ptr,
        M,
        N,
        K: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        BN: tl.constexpr,
        BK: tl.constexpr,
    ):
        pid = tl.program_id(0)
        m = (pid % M).to(tl.int64)  # programs of the same weights are neighbours, and share them in the cache
        n = (pid // M) * BN + tl.arange(0, BN)
        there = n < N
        k = tl.arange(0, BK)
        rows = tl.minimum(n, N - 1).to(tl.int64)
        w_at = w_ptr + rows[:, None] * K + k[None, :]
        x_at = x_ptr + m * K + k
        acc = tl.zeros((BN, BK), dtype=tl.float32)
        for k0 in range(0, K, BK):
            if K % BK == 0:
                w = tl.load(w_at + k0)
                x = tl.load(x_at + k0)
            else:
                w = tl.load(w_at + k0, mask=(k0 + k < K)[None, :], other=0)
                x = tl.load(x_at + k0, mask=k0 + k < K, other=0.0)
            acc += w.to(tl.float32) * x.to(tl.float32)[None, :]
        y = tl.sum(acc, axis=1) * tl.load(scale_ptr + n, mask=there, other=0.0).to(tl.float32)
        if HAS_BIAS:
            y += tl.load(bias_ptr + n, mask=there, other=0.0).to(tl.float32)
        tl.store(out_ptr + m * N + n, y.to(out_ptr.dtype.element_ty), mask=there)

    @triton.jit
    def _load(at, there, IS_WHOLE: tl.constexpr):
        if IS_WHOLE:
            got = tl.load(at)
        else:
            got = tl.load(at, mask=there, other=0)
        return got

    @triton.jit
    def _groups(acc, w, both, x0, x1, x2, x3, x4, x5, x6, x7, sums, taken, high, low):
        """Add the products of one tile of words (BN, BG, W) with the inputs (BG, W) of each place."""
        left, right = w << 8, w >> 8
        part = tl.zeros_like(acc) - taken[None, :, :]
        part += ((w << 16) & high | 0x43000000).to(tl.float32, bitcast=True) * x0[None, :, :]
        part += (left & low | 0x45000000).to(tl.float32, bitcast=True) * x1[None, :, :]
        part += (left & high | 0x43000000).to(tl.float32, bitcast=True) * x2[None, :, :]
        part += (w & low | 0x45000000).to(tl.float32, bitcast=True) * x3[None, :, :]
        part += (w & high | 0x43000000).to(tl.float32, bitcast=True) * x4[None, :, :]
        part += (right & low | 0x45000000).to(tl.float32, bitcast=True) * x5[None, :, :]
        part += (right & high | 0x43000000).to(tl.float32, bitcast=True) * x6[None, :, :]
        part += ((w >> 12) & high | 0x43000000).to(tl.float32, bitcast=True) * x7[None, :, :]
        scale = (both << 16).to(tl.float32, bitcast=True)
        zero = (both & -65536).to(tl.float32, bitcast=True)
        return acc + part * scale + sums[None, :, :] * zero

    @triton.jit
    def _int4_kernel(
        x_ptr,
        w_ptr,
        both_ptr,
        bias_ptr,
        out_ptr,
        M,
        N,
        high,
        low,
        K: tl.constexpr,
        G: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        BN: tl.constexpr,
        BG: tl.constexpr,
        TWICE: tl.constexpr,
    ):
        W: tl.constexpr = G // 8
        NG: tl.constexpr = K // G
        IS_WHOLE: tl.constexpr = NG % BG == 0
        pid = tl.program_id(0)
        m = (pid % M).to(tl.int64)
        g = tl.arange(0, BG)
        v = tl.arange(0, W)
        # One tile of outputs or two, which share what is made of the inputs. Each is small enough for Triton
        # to load scales and inputs where they are needed, instead of handing them from thread to thread.
        n = (pid // M) * (BN * 2 if TWICE else BN) + tl.arange(0, BN)
        row = tl.minimum(n, N - 1).to(tl.int64)
        row2 = tl.minimum(n + BN, N - 1).to(tl.int64)
        word = (g[:, None] * W + v[None, :])[None, :, :]
        w_at = w_ptr + row[:, None, None] * (NG * W) + word
        w2_at = w_ptr + row2[:, None, None] * (NG * W) + word
        both_at = both_ptr + row[:, None] * NG + g[None, :]
        both2_at = both_ptr + row2[:, None] * NG + g[None, :]
        x_at = x_ptr + m * K + (g[:, None] * G + v[None, :])
        acc = tl.zeros((BN, BG, W), dtype=tl.float32)
        acc2 = tl.zeros((BN, BG, W), dtype=tl.float32)
        for g0 in range(0, NG, BG):
            there = g0 + g < NG
            w = _load(w_at + g0 * W, there[None, :, None], IS_WHOLE)
            both = _load(both_at + g0, there[None, :], IS_WHOLE)[:, :, None]
            if TWICE:
                w2 = _load(w2_at + g0 * W, there[None, :, None], IS_WHOLE)
                both2 = _load(both2_at + g0, there[None, :], IS_WHOLE)[:, :, None]
            at = x_at + g0 * G
            x0 = _load(at, there[:, None], IS_WHOLE).to(tl.float32)
            x1 = _load(at + W, there[:, None], IS_WHOLE).to(tl.float32)
            x2 = _load(at + 2 * W, there[:, None], IS_WHOLE).to(tl.float32)
            x3 = _load(at + 3 * W, there[:, None], IS_WHOLE).to(tl.float32)
            x4 = _load(at + 4 * W, there[:, None], IS_WHOLE).to(tl.float32)
            x5 = _load(at + 5 * W, there[:, None], IS_WHOLE).to(tl.float32)
            x6 = _load(at + 6 * W, there[:, None], IS_WHOLE).to(tl.float32)
            x7 = _load(at + 7 * W, there[:, None], IS_WHOLE).to(tl.float32)
            near, far = x0 + x2 + x4 + x6 + x7, x1 + x3 + x5
            sums, taken = near + far, near * (128.0 + 8.0) + far * (2048.0 + 8.0)
            acc = _groups(acc, w, both, x0, x1, x2, x3, x4, x5, x6, x7, sums, taken, high, low)
            if TWICE:
                acc2 = _groups(acc2, w2, both2, x0, x1, x2, x3, x4, x5, x6, x7, sums, taken, high, low)
        _store(acc, n, m, N, bias_ptr, out_ptr, HAS_BIAS)
        if TWICE:
            _store(acc2, n + BN, m, N, bias_ptr, out_ptr, HAS_BIAS)

    @triton.jit
    def _store(acc, n, m, N, bias_ptr, out_ptr, HAS_BIAS: tl.constexpr):
        y = tl.sum(tl.sum(acc, axis=2), axis=1)
        if HAS_BIAS:
            y += tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
        tl.store(out_ptr + m * N + n, y.to(out_ptr.dtype.element_ty), mask=n < N)

    @triton.jit
    def _spread_kernel(
        w_ptr,
        both_ptr,
        out_ptr,
        N,
        K: tl.constexpr,
        G: tl.constexpr,
        BN: tl.constexpr,
        BG: tl.constexpr,
    ):
        W: tl.constexpr = G // 8
        NG: tl.constexpr = K // G
        NB: tl.constexpr = (NG + BG - 1) // BG
        pid = tl.program_id(0)
        n = (pid // NB) * BN + tl.arange(0, BN)
        g = (pid % NB) * BG + tl.arange(0, BG)
        v = tl.arange(0, W)
        rows = n.to(tl.int64)
        there = (n < N)[:, None] & (g < NG)[None, :]
        w_at = w_ptr + rows[:, None, None] * (NG * W) + (g[:, None] * W + v[None, :])[None, :, :]
        w = tl.load(w_at, mask=there[:, :, None], other=0)
        both = tl.load(both_ptr + rows[:, None] * NG + g[None, :], mask=there, other=0)
        scale = (both << 16).to(tl.float32, bitcast=True)[:, :, None]
        zero = (both & -65536).to(tl.float32, bitcast=True)[:, :, None]
        out_at = out_ptr + rows[:, None, None] * K + (g[:, None] * G + v[None, :])[None, :, :]
        for i in tl.static_range(8):
            number = ((w >> (4 * i)) & 0xF).to(tl.float32) - 8.0
            weight = number * scale + zero
            tl.store(out_at + i * W, weight.to(out_ptr.dtype.element_ty), mask=there[:, :, None])

    def _int8_rows(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        (num_rows, n_in), n_out = x.shape, weight.shape[0]
        x = x.to(torch.bfloat16).contiguous()
        out = torch.empty((num_rows, n_out), dtype=torch.bfloat16, device=x.device)
        outputs, inputs, warps, _ = TILES["int8"]
        with _on(x):
            _int8_kernel[(num_rows * triton.cdiv(n_out, outputs),)](
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
        (num_rows, n_in), n_out = x.shape, packed.shape[0]
        x = x.to(torch.bfloat16).contiguous()
        out = torch.empty((num_rows, n_out), dtype=torch.bfloat16, device=x.device)
        outputs, groups, warps, tiles = TILES["int4 small" if n_out < _SMALL else "int4"]
        with _on(x):
            _int4_kernel[(num_rows * triton.cdiv(n_out, outputs * tiles),)](
                x,
                packed,
                scale_and_zero.view(torch.int32),
                scale_and_zero if bias is None else bias,
                out,
                num_rows,
                n_out,
                *_MASKS,
                K=n_in,
                G=n_in // scale_and_zero.shape[1],
                HAS_BIAS=bias is not None,
                BN=outputs,
                BG=groups,
                TWICE=tiles == 2,
                num_warps=warps,
            )
        return out

    def _int4_spread(packed: Tensor, scale_and_zero: Tensor) -> Tensor:
        (n_out, num_words), num_groups = packed.shape, scale_and_zero.shape[1]
        n_in = num_words * _PER_WORD
        out = torch.empty((n_out, n_in), dtype=torch.bfloat16, device=packed.device)
        outputs, groups, warps = _SPREAD_TILE
        with _on(packed):
            _spread_kernel[(triton.cdiv(n_out, outputs) * triton.cdiv(num_groups, groups),)](
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

    def _on(tensor: Tensor) -> Any:
        """Triton launches on the device that is current."""
        return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()

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


# Without a card the kernels can be tried, by Triton's interpreter (TRITON_INTERPRET=1).
is_interpreted: Final = is_there and not isinstance(_int8_kernel, triton.runtime.JITFunction)
