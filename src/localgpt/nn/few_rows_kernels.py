"""Triton's kernels of products of few rows: int8 weights, and int4 weights with what stands around them.

Notable:
- Importable without Triton, which CPU builds of torch do not bring: then they are plain functions that
  nobody may call.
- A thread of `int4_product` holds 16 bytes of each of its program's rows, and the inputs these are multiplied
  with, which it reads and converts once for all of them. All tiles are slices of one layout, so that nothing
  is handed from thread to thread before the sums are complete.
- Each turn's weights are asked for before those that are there are multiplied; the first before the launch
  that this one depends on has ended (`HAS_PDL`, programmatic dependent launch). Until `gdc_wait` nothing may
  be read that another launch writes, and nothing written; every kernel launched so has to call it.

Shape legend: M rows, N outputs, K inputs, G inputs of a group, T units of 32 inputs in one turn.
"""

from __future__ import annotations

from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

__all__ = ["int4_product", "int8_product", "spread"]


def _plain(function: Any) -> Any:
    return function


jit: Any = _plain if triton is None else triton.jit


@jit
def int8_product(
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
    """One linear layer of int8 weights (N, K): every program has BN outputs of one row."""
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


@jit
def _load(at, there, IS_WHOLE: tl.constexpr):
    if IS_WHOLE:
        got = tl.load(at)
    else:
        got = tl.load(at, mask=there, other=0)
    return got


@jit
def _inputs(at, gain_at, there, IS_WHOLE: tl.constexpr, HAS_NORM: tl.constexpr):
    """Inputs of one place (T, 4) with the normalisation's gain, and their squares without it."""
    x = _load(at, there, IS_WHOLE).to(tl.float32)
    square = x
    if HAS_NORM:
        square = x * x
        x *= _load(gain_at, there, IS_WHOLE).to(tl.float32)
    return x, square


@jit
def _rounded(x, like):
    return x.to(like.dtype.element_ty).to(tl.float32)


@jit
def int4_product(
    out_ptr,  # (M, outputs)
    x_ptr,  # (M, K)
    w_ptr,  # (N, K / 8) int32
    both_ptr,  # (N, K / G) int32: a bfloat16 scale in the low half, zero in the high one
    bias_ptr,  # (N,)
    w2_ptr,  # of a second matrix (N2, K / 8), of as many rows where IS_PAIR
    both2_ptr,
    bias2_ptr,
    w3_ptr,  # of a third (N3, K / 8)
    both3_ptr,
    bias3_ptr,
    gain_ptr,  # (K,) of the normalisation
    residual_ptr,  # (M, outputs)
    M,
    N,
    N2,
    N3,
    eps,
    high,
    low,
    K: tl.constexpr,
    G: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,  # root mean square
    HAS_RESIDUAL: tl.constexpr,
    IS_PAIR: tl.constexpr,  # silu(first) * second
    NUM_PARTS: tl.constexpr,  # matrices whose outputs lie behind each other
    BN: tl.constexpr,
    T: tl.constexpr,
    HAS_PDL: tl.constexpr,
):
    """One linear layer of int4 weights, or several of the same inputs, with what stands around them."""
    if HAS_PDL:
        tl.extra.cuda.gdc_launch_dependents()
    UNITS: tl.constexpr = K // 32
    PER_GROUP: tl.constexpr = G // 32
    WORDS: tl.constexpr = K // 8
    GROUPS: tl.constexpr = K // G
    IS_WHOLE: tl.constexpr = UNITS % T == 0
    pid = tl.program_id(0)
    m = (pid % M).to(tl.int64)  # programs of the same weights are neighbours, and share them in the cache
    tile = pid // M
    num_outputs = N
    first = 0
    if NUM_PARTS == 3:
        before2 = (N + BN - 1) // BN
        before3 = before2 + (N2 + BN - 1) // BN
        num_outputs = N + N2 + N3
        if tile >= before3:
            w_ptr, both_ptr, bias_ptr = w3_ptr, both3_ptr, bias3_ptr
            tile, first, N = tile - before3, N + N2, N3
        elif tile >= before2:
            w_ptr, both_ptr, bias_ptr = w2_ptr, both2_ptr, bias2_ptr
            tile, first, N = tile - before2, N, N2
    r = tl.arange(0, BN)
    if IS_PAIR:  # rows of both matrices in turn
        n = tile * (BN // 2) + r // 2
        w_row = tl.where(r % 2 == 0, w_ptr, w2_ptr)
        both_row = tl.where(r % 2 == 0, both_ptr, both2_ptr)
    else:
        n = tile * BN + r
        w_row = w_ptr + tl.zeros_like(r)
        both_row = both_ptr + tl.zeros_like(r)
    row = tl.minimum(n, N - 1).to(tl.int64)
    u = tl.arange(0, T)
    v = tl.arange(0, 4)
    w_at = (w_row + row * WORDS)[None, :, None] + (u[:, None] * 4 + v[None, :])[:, None, :]
    both_at = (both_row + row * GROUPS)[None, :] + (u // PER_GROUP)[:, None]
    k = ((u // PER_GROUP) * G + (u % PER_GROUP) * 4)[:, None] + v[None, :]
    x_at = x_ptr + m * K + k
    gain_at = gain_ptr + k
    PLACE: tl.constexpr = G // 8  # inputs from one place of a group to the next

    w = _load(w_at, (u < UNITS)[:, None, None], IS_WHOLE)
    both = _load(both_at, (u < UNITS)[:, None], IS_WHOLE)
    if HAS_PDL:
        tl.extra.cuda.gdc_wait()
    acc = tl.zeros((T, BN), dtype=tl.float32)
    squares = tl.zeros((T, 4), dtype=tl.float32)
    for u0 in range(0, UNITS, T):
        there = (u0 + u < UNITS)[:, None]
        at, gain = x_at + u0 * 32, gain_at + u0 * 32
        x0, s0 = _inputs(at, gain, there, IS_WHOLE, HAS_NORM)
        x1, s1 = _inputs(at + PLACE, gain + PLACE, there, IS_WHOLE, HAS_NORM)
        x2, s2 = _inputs(at + 2 * PLACE, gain + 2 * PLACE, there, IS_WHOLE, HAS_NORM)
        x3, s3 = _inputs(at + 3 * PLACE, gain + 3 * PLACE, there, IS_WHOLE, HAS_NORM)
        x4, s4 = _inputs(at + 4 * PLACE, gain + 4 * PLACE, there, IS_WHOLE, HAS_NORM)
        x5, s5 = _inputs(at + 5 * PLACE, gain + 5 * PLACE, there, IS_WHOLE, HAS_NORM)
        x6, s6 = _inputs(at + 6 * PLACE, gain + 6 * PLACE, there, IS_WHOLE, HAS_NORM)
        x7, s7 = _inputs(at + 7 * PLACE, gain + 7 * PLACE, there, IS_WHOLE, HAS_NORM)
        if UNITS > T:  # the next turn's, which are not looked at behind the last
            behind = u0 + T + u < UNITS
            next_w = tl.load(w_at + (u0 + T) * 4, mask=behind[:, None, None], other=0)
            next_both = tl.load(both_at + (u0 + T) // PER_GROUP, mask=behind[:, None], other=0)
        if HAS_NORM:
            squares += s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
        near, far = x0 + x2 + x4 + x6 + x7, x1 + x3 + x5
        sums = tl.sum(near + far, axis=1)
        taken = tl.sum(near * (128.0 + 8.0) + far * (2048.0 + 8.0), axis=1)
        left, right = w << 8, w >> 8
        part = ((w << 16) & high | 0x43000000).to(tl.float32, bitcast=True) * x0[:, None, :]
        part += (left & low | 0x45000000).to(tl.float32, bitcast=True) * x1[:, None, :]
        part += (left & high | 0x43000000).to(tl.float32, bitcast=True) * x2[:, None, :]
        part += (w & low | 0x45000000).to(tl.float32, bitcast=True) * x3[:, None, :]
        part += (w & high | 0x43000000).to(tl.float32, bitcast=True) * x4[:, None, :]
        part += (right & low | 0x45000000).to(tl.float32, bitcast=True) * x5[:, None, :]
        part += (right & high | 0x43000000).to(tl.float32, bitcast=True) * x6[:, None, :]
        part += ((w >> 12) & high | 0x43000000).to(tl.float32, bitcast=True) * x7[:, None, :]
        scale = (both << 16).to(tl.float32, bitcast=True)
        zero = (both & -65536).to(tl.float32, bitcast=True)
        acc += (tl.sum(part, axis=2) - taken[:, None]) * scale + sums[:, None] * zero
        if UNITS > T:
            w, both = next_w, next_both
    y = tl.sum(acc, axis=0)
    if HAS_NORM:
        y *= 1.0 / tl.sqrt(tl.sum(tl.sum(squares, axis=1), axis=0) / K + eps)
    is_there = n < N
    if HAS_BIAS:
        y += tl.load(bias_ptr + n, mask=is_there, other=0.0).to(tl.float32)
    if IS_PAIR:
        gate, up = tl.split(tl.reshape(_rounded(y, out_ptr), (BN // 2, 2)))
        y = _rounded(gate / (1.0 + tl.exp(-gate)), out_ptr) * up
        n = tile * (BN // 2) + tl.arange(0, BN // 2)
        is_there = n < N
    at = m * num_outputs + first + n
    if HAS_RESIDUAL:
        y = _rounded(y, out_ptr) + tl.load(residual_ptr + at, mask=is_there, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, y.to(out_ptr.dtype.element_ty), mask=is_there)


@jit
def spread(
    w_ptr,
    both_ptr,
    out_ptr,
    N,
    K: tl.constexpr,
    G: tl.constexpr,
    BN: tl.constexpr,
    BG: tl.constexpr,
):
    """Weights (N, K) of a layer of int4 ones, as numbers."""
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
