"""The Triton kernels of a token: one product with what stands before and after it, attention, and the choice.

Notable:
- Importable without Triton, which CPU builds of torch do not bring: then they are plain functions that
  nobody may call. Widths are powers of two, so that a row is one tile and every statistic one reduction.
- A program of `product` holds some rows of the weight over their whole width, read once for all slots. What
  it needs of the input, a normalisation say, it computes for itself: that costs less than another launch.
- A program of `attend` holds one run of positions of one head. It takes the slot's own token from registers
  and looks at what lies before it alone, so what is masked out is never read. Runs of a long context are
  brought together by the product that follows, where `num_runs` is more than one.
- Values are rounded where the layers round them, with sums in float32.
- With `is_early` a kernel starts before the one in front of it has ended (`nn.launching`): it reads what no
  kernel of a token writes, weights and earlier positions, and waits before it touches anything else. Each of
  them waits, so that the end of one is the end of all before it.

Shape legend: B slots, C width of the input, N of the output, H heads, D head width, P positions of the cache,
R runs of positions, V vocabulary.
"""

from __future__ import annotations

from localgpt.nn.triton_parts import begin, jit, tl, wait

__all__ = ["attend", "choose", "product"]


@jit
def _normalised(x, scale, eps, width: tl.constexpr):
    """Layer normalisation of a row in float32."""
    x -= tl.sum(x, axis=0) / width
    return x * (1.0 / tl.sqrt(tl.sum(x * x, axis=0) / width + eps)) * scale


@jit
def _brought_together(parts, gates, width: tl.constexpr, head_dim: tl.constexpr, num_runs: tl.constexpr):
    """(C,) gated heads of a slot from runs of positions (R, C + 2 H): sums, their weights and maxima."""
    num_heads: tl.constexpr = width // head_dim
    size: tl.constexpr = width + 2 * num_heads
    heads = tl.arange(0, num_heads)
    cols = heads[:, None] * head_dim + tl.arange(0, head_dim)[None, :]
    most = tl.load(parts + width + num_heads + heads)
    for run in tl.static_range(1, num_runs):
        most = tl.maximum(most, tl.load(parts + run * size + width + num_heads + heads))
    total = tl.zeros([num_heads, head_dim], dtype=tl.float32)
    weight = tl.zeros([num_heads], dtype=tl.float32)
    for run in tl.static_range(num_runs):
        share = tl.exp(tl.load(parts + run * size + width + num_heads + heads) - most)
        weight += share * tl.load(parts + run * size + width + heads)
        total += share[:, None] * tl.load(parts + run * size + cols)
    gate = tl.load(gates + heads)
    made = (total / weight[:, None]).to(gate.dtype).to(tl.float32) * gate.to(tl.float32)[:, None]
    return tl.reshape(made.to(gate.dtype).to(tl.float32), [width])


@jit
def product(
    out,  # (B, N), of the weight's dtype or float32
    x,  # (B, C); (V, C) with x_by_id; `parts` of `attend` with num_runs > 1
    weight,  # (N, C)
    scale,  # (C,) of the normalisation
    residual,  # (B, N); (V, N) with residual_by_id
    token_ids,  # (B,) int64
    id_stride,
    gates,  # (H,)
    num_out,
    eps,
    num_rows: tl.constexpr,
    width: tl.constexpr,
    tile: tl.constexpr,
    has_norm: tl.constexpr,
    has_gelu: tl.constexpr,
    has_residual: tl.constexpr,
    x_by_id: tl.constexpr,
    residual_by_id: tl.constexpr,
    num_runs: tl.constexpr,
    head_dim: tl.constexpr,
    is_early: tl.constexpr,
):
    """One linear layer for B rows: normalisation, product, GELU, residual."""
    begin(is_early)
    cols = tl.arange(0, width)
    outs = tl.program_id(0) * tile + tl.arange(0, tile)
    is_there = outs < num_out
    places = outs.to(tl.int64)[:, None] * width + cols[None, :]
    w = tl.load(weight + places, mask=is_there[:, None], other=0.0)
    if has_norm:
        s = tl.load(scale + cols).to(tl.float32)
    wait(is_early)
    for row in range(num_rows):
        # What is added last is asked for first.
        if has_residual:
            if residual_by_id:
                first = tl.load(token_ids + row * id_stride).to(tl.int64) * num_out
            else:
                first = row * num_out
            rest = tl.load(residual + first + outs, mask=is_there, other=0.0).to(tl.float32)
        if num_runs > 1:
            parts = x + row * (num_runs * (width + 2 * (width // head_dim)))
            h = _brought_together(parts, gates, width, head_dim, num_runs)
        else:
            if x_by_id:
                start = tl.load(token_ids + row * id_stride).to(tl.int64) * width
                h = tl.load(x + start + cols).to(tl.float32)
            else:
                h = tl.load(x + row * width + cols).to(tl.float32)
        if has_norm:
            h = _normalised(h, s, eps, width)
            h = h.to(w.dtype).to(tl.float32)
        y = tl.sum(w.to(tl.float32) * h[None, :], axis=1).to(w.dtype).to(tl.float32)
        if has_gelu:
            inner = 1.5957691216057308 * (y + 0.044715 * y * y * y)  # 2 sqrt(2 / pi)
            y = (y / (1.0 + tl.exp(-inner))).to(w.dtype).to(tl.float32)
        if has_residual:
            y += rest
        tl.store(out + row * num_out + outs, y.to(out.dtype.element_ty), mask=is_there)


@jit
def attend(
    out,  # (B, C) with one run, else (B, R, C + 2 H) float32
    qkv,  # (B, 3 C)
    keys,  # (B, H, P, D), of one layer
    values,
    q_scale,  # (C,)
    k_scale,
    positions,  # (B,) int64
    position_stride,
    slopes,  # (H,) float32
    gates,  # (H,)
    num_positions,
    length,
    eps,
    softmax_scale,
    width: tl.constexpr,
    head_dim: tl.constexpr,
    run_len: tl.constexpr,
    num_runs: tl.constexpr,
    is_early: tl.constexpr,
):
    """Enter a token's key and value, and attend from it to a run of positions."""
    begin(is_early)
    slot, head, run = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_heads: tl.constexpr = width // head_dim
    position = tl.load(positions + slot * position_stride).to(tl.int32)
    dims, cols = tl.arange(0, head_dim), tl.arange(0, width)
    places = run * run_len + tl.arange(0, run_len)
    is_seen = (places < position) & (places < length)
    start = (slot * num_heads + head).to(tl.int64) * num_positions * head_dim
    offsets = start + places[:, None] * head_dim + dims[None, :]
    k = tl.load(keys + offsets, mask=is_seen[:, None], other=0.0)
    v = tl.load(values + offsets, mask=is_seen[:, None], other=0.0)

    own = head * head_dim + dims
    own_q_scale = tl.load(q_scale + own).to(tl.float32)
    own_k_scale = tl.load(k_scale + own).to(tl.float32)
    slope = tl.load(slopes + head)
    gate = tl.load(gates + head).to(tl.float32)
    wait(is_early)

    # Of the whole rows the statistics, and this head's part once more.
    row = qkv + slot * (3 * width)
    q = tl.load(row + cols).to(tl.float32)
    k_row = tl.load(row + width + cols).to(tl.float32)
    q_own = tl.load(row + own).to(tl.float32)
    k_own = tl.load(row + width + own).to(tl.float32)
    v_own = tl.load(row + 2 * width + own).to(v.dtype)
    q_mean = tl.sum(q, axis=0) / width
    q -= q_mean
    q_rate = 1.0 / tl.sqrt(tl.sum(q * q, axis=0) / width + eps)
    q_own = (q_own - q_mean) * q_rate * own_q_scale
    q_own = q_own.to(k.dtype).to(tl.float32)
    k_mean = tl.sum(k_row, axis=0) / width
    k_row -= k_mean
    k_rate = 1.0 / tl.sqrt(tl.sum(k_row * k_row, axis=0) / width + eps)
    k_own = ((k_own - k_mean) * k_rate * own_k_scale).to(k.dtype)
    scores = tl.sum(k.to(tl.float32) * q_own[None, :], axis=1) * softmax_scale
    bias = (-slope * (position - places).to(tl.float32)).to(k.dtype).to(tl.float32)
    scores = tl.where(is_seen, scores + bias, float("-inf"))
    most = tl.max(scores, axis=0)
    if run == 0:  # it enters the token itself
        here = start + position * head_dim + dims
        tl.store(keys + here, k_own)
        tl.store(values + here, v_own)
    own_score = tl.sum(k_own.to(tl.float32) * q_own, axis=0) * softmax_scale
    own_score = tl.where(run == 0, own_score, float("-inf"))
    most = tl.maximum(most, own_score)
    safe = tl.where(most == float("-inf"), 0.0, most)  # a run in which there is nothing yet
    shares = tl.exp(scores - safe)
    own_share = tl.exp(own_score - safe)
    weight = tl.sum(shares, axis=0) + own_share
    total = tl.sum(shares[:, None] * v.to(tl.float32), axis=0) + own_share * v_own.to(tl.float32)
    if num_runs > 1:
        part = out + (slot * num_runs + run) * (width + 2 * num_heads)
        tl.store(part + own, total)
        tl.store(part + width + head, weight)
        tl.store(part + width + num_heads + head, most)
    else:
        made = (total / weight).to(k.dtype).to(tl.float32) * gate
        tl.store(out + slot * width + own, made.to(out.dtype.element_ty))


@jit
def choose(
    told,  # (B, 2) int64: the likeliest token that is not banned, and whether all numbers are sound
    logits,  # (B, V) float32
    banned,  # (B, V) uint8
    vocab_size: tl.constexpr,
    block: tl.constexpr,
    is_early: tl.constexpr,
):
    """Look at all logits of one slot."""
    begin(is_early)
    wait(is_early)
    slot = tl.program_id(0)
    start = slot.to(tl.int64) * vocab_size
    cols = tl.arange(0, block)
    best = tl.full([block], float("-inf"), dtype=tl.float32)
    which = cols
    num_unsound = tl.zeros([block], dtype=tl.int32)
    for first in range(0, vocab_size, block):
        ids = first + cols
        is_there = ids < vocab_size
        value = tl.load(logits + start + ids, mask=is_there, other=0.0)
        is_banned = tl.load(banned + start + ids, mask=is_there, other=1) != 0
        num_unsound += tl.where(tl.abs(value) <= 3.4028234e38, 0, 1)  # neither is NaN
        is_better = (value > best) & (is_banned == 0)
        best = tl.where(is_better, value, best)
        which = tl.where(is_better, ids, which)
    top = tl.max(best, axis=0)
    token_id = tl.min(tl.where(best == top, which, vocab_size - 1), axis=0)
    tl.store(told + slot * 2, token_id.to(tl.int64))
    is_sound = tl.where(tl.sum(num_unsound, axis=0) == 0, 1, 0)
    tl.store(told + slot * 2 + 1, is_sound.to(tl.int64))
