"""Conformer blocks for whole recordings, and with the same weights for one that is still coming in.

Source: Gulati et al. 2020, arXiv:2005.08100. Differs: rotary positions (arXiv:2104.09864) instead of relative
ones, a causal depthwise convolution, and layer normalisation inside the convolution module instead of batch
normalisation, so that a frame depends on nothing but what attention is allowed to see.

Shape legend: B batch, T frames, C width, H heads, D = C / H, K taps of the convolution, L cached frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["BlockCache", "ConformerBlock", "chunk_mask", "rotary_angles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCache:
    """What a block keeps of the frames before: keys and values (B, H, L, D), convolution (B, C, K - 1)."""

    keys: Tensor
    values: Tensor
    tail: Tensor


class FeedForward(nn.Module):
    """Half a step of a widened SiLU layer; its hidden units can be pruned one by one."""

    def __init__(self, n_embd: int, n_ff: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(n_embd)
        self.fc = Linear(n_embd, n_ff)
        self.proj = Linear(n_ff, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C), the residual included."""
        hidden = self.dropout(F.silu(self.fc(self.norm(x))))
        return x + 0.5 * self.dropout(self.proj(hidden))


class Attention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm = LayerNorm(n_embd)
        self.c_attn = Linear(n_embd, 3 * n_embd)
        self.c_proj = Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C); `mask` (B, 1, T, T) is True where a key may be read."""
        q, k, v = self._heads(x, angles)
        return self._out(x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))

    def step(self, x: Tensor, angles: Tensor, cache: BlockCache) -> tuple[Tensor, Tensor, Tensor]:
        """One chunk after what is cached; gives the output and all keys and values."""
        q, k, v = self._heads(x, angles)
        keys, values = torch.cat([cache.keys, k], dim=2), torch.cat([cache.values, v], dim=2)
        return self._out(x, F.scaled_dot_product_attention(q, keys, values)), keys, values

    def _heads(self, x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.c_attn(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        return _rotate(q, angles), _rotate(k, angles), v

    def _out(self, x: Tensor, heads: Tensor) -> Tensor:
        return x + self.dropout(self.c_proj(heads.transpose(1, 2).flatten(2)))


class Convolution(nn.Module):
    """Gated pointwise layer, causal depthwise convolution, normalisation, SiLU, pointwise layer."""

    def __init__(self, n_embd: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.norm = LayerNorm(n_embd)
        self.fc = Linear(n_embd, 2 * n_embd)
        self.depthwise = nn.Parameter(torch.empty(n_embd, 1, kernel_size))
        nn.init.normal_(self.depthwise, std=kernel_size**-0.5)
        self.inner_norm = LayerNorm(n_embd)
        self.proj = Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C), the residual included."""
        return self._out(x, F.pad(self._in(x), (self.kernel_size - 1, 0)))

    def step(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """One chunk after `tail`; gives the output and the next tail."""
        inner = torch.cat([tail, self._in(x)], dim=2)
        return self._out(x, inner), inner[..., -(self.kernel_size - 1) :]

    def _in(self, x: Tensor) -> Tensor:
        return F.glu(self.fc(self.norm(x)), dim=-1).transpose(1, 2)  # (B, C, T)

    def _out(self, x: Tensor, inner: Tensor) -> Tensor:
        weight = self.depthwise.to(inner.dtype)
        mixed = F.conv1d(inner, weight, groups=len(weight)).transpose(1, 2)
        return x + self.dropout(self.proj(F.silu(self.inner_norm(mixed))))


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention, convolution, half a feed-forward step, normalisation.

    Args:
        n_embd: C.
        n_head: H.
        n_ff: hidden units of both feed-forward layers.
        kernel_size: K, of the convolution; frames before the present one, and it.
        dropout: of every part's output.
    """

    def __init__(
        self, n_embd: int, n_head: int, n_ff: tuple[int, int], *, kernel_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.ff_1 = FeedForward(n_embd, n_ff[0], dropout)
        self.attention = Attention(n_embd, n_head, dropout)
        self.convolution = Convolution(n_embd, kernel_size, dropout)
        self.ff_2 = FeedForward(n_embd, n_ff[1], dropout)
        self.norm = LayerNorm(n_embd)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C); `mask` (B or 1, 1, T, T) is True where a frame may see another."""
        x = self.attention(self.ff_1(x), angles, mask)
        return self.norm(self.ff_2(self.convolution(x)))

    def step(self, x: Tensor, angles: Tensor, cache: BlockCache, num_kept: int) -> tuple[Tensor, BlockCache]:
        """One chunk of a stream: sees itself and what is cached.

        Args:
            x: (B, T, C).
            angles: of the chunk's positions.
            cache: of the frames before.
            num_kept: frames that the next chunk may see of what was before it.
        """
        x, keys, values = self.attention.step(self.ff_1(x), angles, cache)
        x, tail = self.convolution.step(x, cache.tail)
        begin = max(0, keys.shape[2] - num_kept)
        kept = BlockCache(keys=keys[:, :, begin:], values=values[:, :, begin:], tail=tail)
        return self.norm(self.ff_2(x)), kept

    def new_cache(self, num_rows: int, like: Tensor) -> BlockCache:
        """What there is before the first chunk, of the type and device of `like`."""
        n_embd, n_head = self.norm.weight.shape[0], self.attention.n_head
        none = like.new_zeros(num_rows, n_head, 0, n_embd // n_head)
        tail = like.new_zeros(num_rows, n_embd, self.convolution.kernel_size - 1)
        return BlockCache(keys=none, values=none, tail=tail)


def rotary_angles(begin: int, num_frames: int, head_dim: int, *, like: Tensor) -> Tensor:
    """Cosines and sines of the positions from `begin` on: (2, T, D / 2) float32 on the device of `like`."""
    places = torch.arange(begin, begin + num_frames, device=like.device, dtype=torch.float64)
    rates = 10_000.0 ** -(torch.arange(head_dim // 2, device=like.device, dtype=torch.float64) * 2 / head_dim)
    angles = places[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()]).float()


def chunk_mask(num_frames: int, chunk: int | None, num_left: int, *, device: torch.device) -> Tensor:
    """Which frame sees which, (T, T): its own chunk and `num_left` chunks before it; no chunk, all."""
    if chunk is None:
        return torch.ones(num_frames, num_frames, dtype=torch.bool, device=device)
    number = torch.arange(num_frames, device=device) // chunk
    behind = number[:, None] - number
    return (behind >= 0) & (behind <= num_left)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
