"""The Triton kernels of attention for one token of networks like Llama; products are `nn.few_rows_kernels`.

Notable:
- Importable without Triton, as `kernels` is.
- A program of `attend` holds one run of positions of one head of keys and values, and all heads of queries
  that share it. It takes the token's own key and value from registers and goes over what lies before the
  token alone, so what is masked out is never read. Where there are several runs, `bring_together` follows.
- Both are launched so that they may begin before their inputs are there (`is_early`): until `wait` nothing
  is read but the arguments.
- Values are rounded where the layers round them, with sums in float32.

Shape legend: H heads of queries, H_kv of keys and values, D head width, P positions of the cache, R runs.
"""

from __future__ import annotations

from localgpt.nn.triton_parts import begin, jit, rounded, tl, wait

__all__ = ["attend", "bring_together"]


@jit
def _turned(rows, is_there, gain, cos, sin, eps, like, head_dim: tl.constexpr, has_norm: tl.constexpr):
    """Heads at `rows` (H, 1) normalised, where they are, and turned by their position: (H, D) float32."""
    dims = tl.arange(0, head_dim)
    others = (dims + head_dim // 2) % head_dim
    x = tl.load(rows + dims[None, :], mask=is_there, other=0.0).to(tl.float32)
    y = tl.load(rows + others[None, :], mask=is_there, other=0.0).to(tl.float32)
    if has_norm:
        rate = (1.0 / tl.sqrt(tl.sum(x * x, axis=1) / head_dim + eps))[:, None]
        x = rounded(rounded(x * rate, like) * tl.load(gain + dims).to(tl.float32)[None, :], like)
        y = rounded(rounded(y * rate, like) * tl.load(gain + others).to(tl.float32)[None, :], like)
    y = tl.where((dims < head_dim // 2)[None, :], -y, y)
    straight = rounded(x * tl.load(cos + dims).to(tl.float32)[None, :], like)
    across = rounded(y * tl.load(sin + dims).to(tl.float32)[None, :], like)
    return rounded(straight + across, like)


@jit
def attend(
    out,  # (H, D) with one run, else (H, R, D) float32: sums that are not divided yet
    stats,  # (H, R, 2) float32: what they are to be divided by, and the largest score
    qkv,  # (H + 2 H_kv, D)
    keys,  # (H_kv, P, D)
    values,
    cos,  # (D,)
    sin,
    position_at,  # (1,) int64
    q_gain,  # (D,) of the normalisations
    k_gain,
    num_positions,
    q_eps,
    k_eps,
    softmax_scale,
    num_kv: tl.constexpr,
    group: tl.constexpr,  # H / H_kv
    group_tile: tl.constexpr,
    head_dim: tl.constexpr,
    run_len: tl.constexpr,
    num_runs: tl.constexpr,
    block: tl.constexpr,
    has_norm: tl.constexpr,
    is_early: tl.constexpr,
):
    """Enter a token's key and value, and attend from it to a run of positions."""
    begin(is_early)
    kv_head, run = tl.program_id(0), tl.program_id(1)
    in_group = tl.arange(0, group_tile)
    one = tl.arange(0, 1)
    dims = tl.arange(0, head_dim)
    heads = kv_head * group + in_group
    is_there = (in_group < group)[:, None]
    start = kv_head.to(tl.int64) * num_positions * head_dim
    wait(is_early)
    position = tl.load(position_at).to(tl.int32)
    q_rows = qkv + heads[:, None] * head_dim
    q = _turned(q_rows, is_there, q_gain, cos, sin, q_eps, qkv, head_dim, has_norm)
    k_rows = qkv + (num_kv * group + kv_head + one[:, None]) * head_dim
    k_own = _turned(k_rows, one[:, None] == 0, k_gain, cos, sin, k_eps, qkv, head_dim, has_norm)
    v_own = tl.load(qkv + (num_kv * (group + 1) + kv_head + one[:, None]) * head_dim + dims[None, :])
    if run == 0:  # it enters the token itself
        here = start + (position + one[:, None]) * head_dim + dims[None, :]
        tl.store(keys + here, k_own.to(keys.dtype.element_ty))
        tl.store(values + here, v_own.to(values.dtype.element_ty))
    own_score = tl.sum(q * k_own, axis=1) * softmax_scale
    is_own = run == 0
    most = tl.where(is_own, own_score, float("-inf"))
    weight = tl.where(is_own, 1.0, 0.0) + tl.zeros_like(own_score)
    total = tl.zeros((group_tile, head_dim), dtype=tl.float32)
    total += tl.where(is_own, v_own.to(tl.float32), 0.0)
    q_tile = q.to(keys.dtype.element_ty)
    first = run * run_len
    end = tl.minimum(position, first + run_len)
    for at in range(first, end, block):
        places = at + tl.arange(0, block)
        is_seen = places < end
        offsets = start + places[:, None] * head_dim + dims[None, :]
        k = tl.load(keys + offsets, mask=is_seen[:, None], other=0.0)
        v = tl.load(values + offsets, mask=is_seen[:, None], other=0.0)
        scores = tl.dot(q_tile, tl.trans(k), input_precision="ieee") * softmax_scale
        scores = tl.where(is_seen[None, :], scores, float("-inf"))
        new_most = tl.maximum(most, tl.max(scores, axis=1))
        kept = tl.exp(most - new_most)
        shares = tl.exp(scores - new_most[:, None])
        weight = weight * kept + tl.sum(shares, axis=1)
        total = total * kept[:, None]
        total += tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        most = new_most
    if num_runs == 1:
        to = out + heads[:, None] * head_dim + dims[None, :]
        tl.store(to, (total / weight[:, None]).to(out.dtype.element_ty), mask=is_there)
    else:
        part = heads * num_runs + run
        tl.store(out + part[:, None] * head_dim + dims[None, :], total, mask=is_there)
        tl.store(stats + part * 2, weight, mask=in_group < group)
        tl.store(stats + part * 2 + 1, most, mask=in_group < group)


@jit
def bring_together(
    out,  # (H, D)
    parts,  # (H, R, D) float32, of `attend`
    stats,  # (H, R, 2) float32
    head_dim: tl.constexpr,
    num_runs: tl.constexpr,
    runs_tile: tl.constexpr,
    block: tl.constexpr,
    is_early: tl.constexpr,
):
    """One head's sums over all runs; a run in which nothing lies has no weight."""
    begin(is_early)
    head = tl.program_id(0)
    dims = tl.arange(0, head_dim)
    runs = tl.arange(0, runs_tile)
    wait(is_early)
    own = stats + (head * num_runs + runs) * 2
    weight = tl.load(own, mask=runs < num_runs, other=0.0)
    scores = tl.load(own + 1, mask=runs < num_runs, other=float("-inf"))
    most = tl.max(scores, axis=0)
    weight = tl.sum(weight * tl.exp(scores - most), axis=0)
    total = tl.zeros((head_dim,), dtype=tl.float32)
    for first in range(0, num_runs, block):
        some = first + tl.arange(0, block)
        places = head * num_runs + some
        is_there = some < num_runs
        share = tl.exp(tl.load(stats + places * 2 + 1, mask=is_there, other=float("-inf")) - most)
        part = tl.load(parts + places[:, None] * head_dim + dims[None, :], mask=is_there[:, None], other=0.0)
        total += tl.sum(part * share[:, None], axis=0)
    tl.store(out + head * head_dim + dims, (total / weight).to(out.dtype.element_ty))
