"""Triton's kernels of products of few rows: int8 weights, and int4 weights with what stands around them.

Notable:
- Importable without Triton, which CPU builds of torch do not bring: then they are plain functions that
  nobody may call.
- A thread of `int4_product` holds 16 bytes of each of its program's rows, and the inputs these are multiplied
  with, which it reads and converts once for all of them. All tiles are slices of one layout, so that nothing
  is handed from thread to thread before the sums are complete.
- Where a card multiplies four bytes at once, inputs become integers of 16 bits, in steps of their unit's
  own: at the unit's largest that is over 100 times finer than bfloat16, and it takes fewer instructions.
- Each turn's weights are asked for before those that are there are multiplied; the first before the launch
  that this one depends on has ended (`IS_EARLY`, programmatic dependent launch). Until `wait` nothing may
  be read that another launch writes, and nothing written; every kernel launched so has to call it.

Shape legend: M rows, N outputs, K inputs, G inputs of a group, T units of 32 inputs in one turn.
"""

from __future__ import annotations

from localgpt.nn.triton_parts import begin, jit, rounded, tl, wait

__all__ = ["int4_product", "int8_product", "spread"]


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
def _all_inputs(at, gain, there, PLACE: tl.constexpr, IS_WHOLE: tl.constexpr, HAS_NORM: tl.constexpr):
    """Inputs of all eight places, which are so far apart, and the sum of their squares (T, 4)."""
    x0, s0 = _inputs(at, gain, there, IS_WHOLE, HAS_NORM)
    x1, s1 = _inputs(at + PLACE, gain + PLACE, there, IS_WHOLE, HAS_NORM)
    x2, s2 = _inputs(at + 2 * PLACE, gain + 2 * PLACE, there, IS_WHOLE, HAS_NORM)
    x3, s3 = _inputs(at + 3 * PLACE, gain + 3 * PLACE, there, IS_WHOLE, HAS_NORM)
    x4, s4 = _inputs(at + 4 * PLACE, gain + 4 * PLACE, there, IS_WHOLE, HAS_NORM)
    x5, s5 = _inputs(at + 5 * PLACE, gain + 5 * PLACE, there, IS_WHOLE, HAS_NORM)
    x6, s6 = _inputs(at + 6 * PLACE, gain + 6 * PLACE, there, IS_WHOLE, HAS_NORM)
    x7, s7 = _inputs(at + 7 * PLACE, gain + 7 * PLACE, there, IS_WHOLE, HAS_NORM)
    squares = tl.zeros_like(s0)
    if HAS_NORM:
        squares = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
    return x0, x1, x2, x3, x4, x5, x6, x7, squares


@jit
def _float_turn(w, x0, x1, x2, x3, x4, x5, x6, x7, high, low):
    """Products (T, BN) of words (T, BN, 4) with inputs (T, 4) of each place, and the inputs' sums (T,)."""
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
    return tl.sum(part, axis=2) - taken[:, None], sums


@jit
def _in_four(tile):
    """The four columns of the last dimension; a thread holds all of them."""
    if len(tile.shape) == 3:
        halves = tl.reshape(tile, (tile.shape[0], tile.shape[1], 2, 2))
    else:
        halves = tl.reshape(tile, (tile.shape[0], 2, 2))
    even, odd = tl.split(halves)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@jit
def _larger(one, other):
    return tl.maximum(one, other, propagate_nan=tl.PropagateNan.ALL)


@jit
def _dot(w, x, acc, IS_SIGNED: tl.constexpr, HAS_ASM: tl.constexpr):
    """Add to integers (T, BN) the four products of bytes of words (T, BN), unsigned, and of `x` (T,)."""
    x = x[:, None]
    if HAS_ASM:
        if IS_SIGNED:
            acc = tl.inline_asm_elementwise(
                "dp4a.u32.s32 $0, $1, $2, $3;", "=r,r,r,r", [w, x, acc], dtype=tl.int32, is_pure=True, pack=1
            )
        else:
            acc = tl.inline_asm_elementwise(
                "dp4a.u32.u32 $0, $1, $2, $3;", "=r,r,r,r", [w, x, acc], dtype=tl.int32, is_pure=True, pack=1
            )
    else:
        for i in tl.static_range(4):
            byte = (x >> (8 * i)) & 0xFF
            if IS_SIGNED:
                byte -= (byte & 0x80) << 1
            acc += ((w >> (8 * i)) & 0xFF) * byte
    return acc


@jit
def _bytes(b0, b1, b2, b3):
    """The lowest bytes of four numbers in one word, and the second lowest in another."""
    first = (b0 & 0xFF) | ((b1 & 0xFF) << 8) | ((b0 & 0xFF00) << 8) | ((b1 & 0xFF00) << 16)
    second = (b2 & 0xFF) | ((b3 & 0xFF) << 8) | ((b2 & 0xFF00) << 8) | ((b3 & 0xFF00) << 16)
    return (first & 0xFFFF) | (second << 16), ((first >> 16) & 0xFFFF) | (second & -65536)


@jit
def _add_word(e, f, o, p, w, low02, high02, low13, high13, HAS_ASM: tl.constexpr):
    """Products of one word (T, BN) of each row: of even places, and of odd ones 16 times as large."""
    w02, w13 = w & 0x0F0F0F0F, w & -252645136  # 0xF0F0F0F0
    e, f = _dot(w02, low02, e, False, HAS_ASM), _dot(w02, high02, f, True, HAS_ASM)
    o, p = _dot(w13, low13, o, False, HAS_ASM), _dot(w13, high13, p, True, HAS_ASM)
    return e, f, o, p


@jit
def _integer_turn(w, x0, x1, x2, x3, x4, x5, x6, x7, HAS_ASM: tl.constexpr):
    """The same in integers of 16 bits, of which each unit's largest input is 32,000."""
    most = _larger(_larger(tl.abs(x0), tl.abs(x1)), _larger(tl.abs(x2), tl.abs(x3)))
    most = _larger(most, _larger(_larger(tl.abs(x4), tl.abs(x5)), _larger(tl.abs(x6), tl.abs(x7))))
    m0, m1, m2, m3 = _in_four(most)
    most = _larger(_larger(m0, m1), _larger(m2, m3))
    step = _larger(most, tl.zeros_like(most) + 1e-30) * (1.0 / 32000.0)
    rate = (1.0 / step)[:, None]
    # Behind an exponent, a rounded number's lowest 16 bits are those of the integer.
    b0 = (x0 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b1 = (x1 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b2 = (x2 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b3 = (x3 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b4 = (x4 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b5 = (x5 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b6 = (x6 * rate + 12582912.0).to(tl.int32, bitcast=True)
    b7 = (x7 * rate + 12582912.0).to(tl.int32, bitcast=True)
    total = tl.sum((b0 - 0x4B400000) + (b1 - 0x4B400000) + (b2 - 0x4B400000) + (b3 - 0x4B400000), axis=1)
    total += tl.sum((b4 - 0x4B400000) + (b5 - 0x4B400000) + (b6 - 0x4B400000) + (b7 - 0x4B400000), axis=1)
    low02, high02 = _bytes(b0, b2, b4, b6)
    low13, high13 = _bytes(b1, b3, b5, b7)
    wa, wb, wc, wd = _in_four(w)
    la, lb, lc, ld = _in_four(low02)
    ha, hb, hc, hd = _in_four(high02)
    oa, ob, oc, od = _in_four(low13)
    ua, ub, uc, ud = _in_four(high13)
    e = tl.zeros_like(wa) - 8 * total[:, None]  # of low bytes and of high ones, which count 256 times
    f, o, p = tl.zeros_like(wa), tl.zeros_like(wa), tl.zeros_like(wa)
    e, f, o, p = _add_word(e, f, o, p, wa, la, ha, oa, ua, HAS_ASM)
    e, f, o, p = _add_word(e, f, o, p, wb, lb, hb, ob, ub, HAS_ASM)
    e, f, o, p = _add_word(e, f, o, p, wc, lc, hc, oc, uc, HAS_ASM)
    e, f, o, p = _add_word(e, f, o, p, wd, ld, hd, od, ud, HAS_ASM)
    part = (f << 8) + e + (((p << 8) + o) >> 4)
    return part.to(tl.float32) * step[:, None], total.to(tl.float32) * step


@jit
def _rows(tile, w_ptr, both_ptr, w2_ptr, both2_ptr, IS_PAIR: tl.constexpr, BN: tl.constexpr):
    """A tile's outputs (BN,), and for each where its matrix begins; of a pair rows of both in turn."""
    r = tl.arange(0, BN)
    if IS_PAIR:
        n = tile * (BN // 2) + r // 2
        w_row = tl.where(r % 2 == 0, w_ptr, w2_ptr)
        both_row = tl.where(r % 2 == 0, both_ptr, both2_ptr)
    else:
        n = tile * BN + r
        w_row = w_ptr + tl.zeros_like(r)
        both_row = both_ptr + tl.zeros_like(r)
    return n, w_row, both_row


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
    IS_INTEGER: tl.constexpr,
    HAS_ASM: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """One linear layer of int4 weights, or several of the same inputs, with what stands around them."""
    begin(IS_EARLY)
    UNITS: tl.constexpr = K // 32
    PER_GROUP: tl.constexpr = G // 32
    IS_WHOLE: tl.constexpr = UNITS % T == 0
    pid = tl.program_id(0)
    m = (pid % M).to(tl.int64)  # programs of the same weights are neighbours, and share them in the cache
    tile = pid // M
    num_outputs, first = N, 0
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
    n, w_row, both_row = _rows(tile, w_ptr, both_ptr, w2_ptr, both2_ptr, IS_PAIR, BN)
    row = tl.minimum(n, N - 1).to(tl.int64)
    u = tl.arange(0, T)
    v = tl.arange(0, 4)
    w_at = (w_row + row * (K // 8))[None, :, None] + (u[:, None] * 4 + v[None, :])[:, None, :]
    both_at = (both_row + row * (K // G))[None, :] + (u // PER_GROUP)[:, None]
    k = ((u // PER_GROUP) * G + (u % PER_GROUP) * 4)[:, None] + v[None, :]
    x_at, gain_at = x_ptr + m * K + k, gain_ptr + k
    w = _load(w_at, (u < UNITS)[:, None, None], IS_WHOLE)
    both = _load(both_at, (u < UNITS)[:, None], IS_WHOLE)
    wait(IS_EARLY)
    acc = tl.zeros((T, BN), dtype=tl.float32)
    squares = tl.zeros((T, 4), dtype=tl.float32)
    for u0 in range(0, UNITS, T):
        there = (u0 + u < UNITS)[:, None]
        at, gain = x_at + u0 * 32, gain_at + u0 * 32
        x0, x1, x2, x3, x4, x5, x6, x7, square = _all_inputs(at, gain, there, G // 8, IS_WHOLE, HAS_NORM)
        if UNITS > T:  # the next turn's, which are not looked at behind the last
            behind = u0 + T + u < UNITS
            next_w = tl.load(w_at + (u0 + T) * 4, mask=behind[:, None, None], other=0)
            next_both = tl.load(both_at + (u0 + T) // PER_GROUP, mask=behind[:, None], other=0)
        squares += square
        scale = (both << 16).to(tl.float32, bitcast=True)
        zero = (both & -65536).to(tl.float32, bitcast=True)
        if IS_INTEGER:
            part, sums = _integer_turn(w, x0, x1, x2, x3, x4, x5, x6, x7, HAS_ASM)
        else:
            part, sums = _float_turn(w, x0, x1, x2, x3, x4, x5, x6, x7, high, low)
        acc += part * scale + sums[:, None] * zero
        if UNITS > T:
            w, both = next_w, next_both
    y = tl.sum(acc, axis=0)
    if HAS_NORM:
        y *= 1.0 / tl.sqrt(tl.sum(tl.sum(squares, axis=1), axis=0) / K + eps)
    if HAS_BIAS:
        y += tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
    if IS_PAIR:
        gate, up = tl.split(tl.reshape(rounded(y, out_ptr), (BN // 2, 2)))
        y = rounded(gate / (1.0 + tl.exp(-gate)), out_ptr) * up
        n = tile * (BN // 2) + tl.arange(0, BN // 2)
    to = m * num_outputs + first + n
    if HAS_RESIDUAL:
        y = rounded(y, out_ptr) + tl.load(residual_ptr + to, mask=n < N, other=0.0).to(tl.float32)
    tl.store(out_ptr + to, y.to(out_ptr.dtype.element_ty), mask=n < N)


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
