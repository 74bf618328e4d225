"""The painter: a flow transformer over patches of pixels, and the network that makes its pictures larger.

Notable:
- It works on pixels, without an autoencoder, and predicts the clean picture: a plain transformer with large
  patches learns that, while noise has no structure to find in so many numbers (Li and He 2025,
  arXiv:2511.13720).
- Layout and noise level are those of diffusers' flow matching: `sigma` 1 is noise alone, 0 is the picture,
  and between them lies a straight line.
- `span` is how far the next step goes. At 0 the network says where the line leads from here, for many small
  steps; else where a step of that length ends, for few large ones (shortcut models, Frans et al. 2024,
  arXiv:2410.12557). Both are the same weights.
- Blocks are PixArt's (Chen et al. 2023, arXiv:2310.00426): attention among patches, attention to the words,
  a feed-forward layer, one modulation for all blocks. Differs: rotary positions in two axes that go from
  edge to edge whatever the size, so that one network paints small sketches and whole pictures; normalised
  queries and keys; two convolutions at the end, which see across the patches' edges.
- Words come as features of the joint encoder's text tower (`TextEncoder.token_features`), which is not part
  of the painter and was not trained with it; `WordReader` reads them once for all steps.

Shape legend: B pictures, S side in pixels, N = (S / patch)^2 patches, T words and the one that is always
there, C width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.models.encoder import TextBlock
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["Attending", "Painter", "PainterConfig", "Upsampler"]

_LEAST_SIGMA = 0.02  # below it the direction of the line is not told by the difference any more


@dataclass(frozen=True, slots=True, kw_only=True)
class PainterConfig:
    """Shape of painter and upsampler. The defaults are the embedded model's."""

    size: int = 192  # side in pixels of the pictures it was trained on
    patch_size: int = 12
    n_patch_embd: int = 128  # each patch is squeezed to this on its way in
    n_embd: int = 512
    n_layer: int = 11
    n_head: int = 8
    n_smooth: int = 16  # channels of the convolutions at the end
    n_feature: int = 768  # of a word, as the text tower gives it
    n_text_embd: int = 384
    n_text_layer: int = 2
    n_text_head: int = 6
    text_len: int = 48  # words that are read
    n_upsampler: int = 40  # channels
    n_upsampler_block: int = 5

    @property
    def grid_size(self) -> int:
        """Patches along a side of a picture of `size`."""
        return self.size // self.patch_size

    @property
    def sketch_size(self) -> int:
        """Side in pixels of the small pictures it was trained on, too."""
        return self.size // 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PainterConfig:
        """Inverse of `to_dict`; keys of other purposes in config.json are left alone."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(slots=True)
class Attending:
    """What attention from patches to words is told, and what it tells.

    Args:
        bias: (B, N, T) added to the scores of all heads and layers; None for none.
        keeps_maps: whether `maps` shall be filled; that takes the plain path of attention.
        maps: of each layer the mean over its heads, (B, N, T); rows sum to 1.
    """

    bias: Tensor | None = None
    keeps_maps: bool = False
    maps: list[Tensor] = field(default_factory=list)


class WordReader(nn.Module):
    """Words in their order, from the features of a tower that was taught to know pictures by their words.

    In front stands one that is always there: what attention rests on where no word belongs, and all that is
    read of no words at all.
    """

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.widen = Linear(config.n_feature, config.n_text_embd)
        self.rest = nn.Parameter(torch.zeros(config.n_text_embd))
        self.blocks = nn.ModuleList(
            TextBlock(config.n_text_embd, config.n_text_head, 0.0) for _ in range(config.n_text_layer)
        )
        self.norm_f = LayerNorm(config.n_text_embd)

    def forward(self, features: Tensor, is_word: Tensor) -> tuple[Tensor, Tensor]:
        """Read.

        Args:
            features: (B, T - 1, n_feature), as the text tower gives them.
            is_word: (B, T - 1) bool.

        Returns:
            Words (B, T, n_text_embd), and which of them are there, (B, T) bool, the first one always.
        """
        rest = self.rest.to(features.dtype).expand(len(features), 1, -1)
        x = torch.cat([rest, self.widen(features)], dim=1)
        is_there = F.pad(is_word, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, is_there[:, None, None])
        return self.norm_f(x), is_there


class PatchAttention(nn.Module):
    """Attention among patches, with rotary positions."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.c_attn = Linear(n_embd, 3 * n_embd)
        self.c_proj = Linear(n_embd, n_embd)
        self.norm_q, self.norm_k = LayerNorm(n_embd // n_head), LayerNorm(n_embd // n_head)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, C) to (B, N, C); `rotary` are cosines and sines, (N, D)."""
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        q, k = _rotate(self.norm_q(q), rotary), _rotate(self.norm_k(k), rotary)
        heads = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(heads.transpose(1, 2).flatten(2))


class WordAttention(nn.Module):
    """Attention from patches to words."""

    def __init__(self, n_embd: int, n_head: int, n_text_embd: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.c_q = Linear(n_embd, n_embd)
        self.c_kv = Linear(n_text_embd, 2 * n_embd)
        self.c_proj = Linear(n_embd, n_embd)
        self.norm_q, self.norm_k = LayerNorm(n_embd // n_head), LayerNorm(n_embd // n_head)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor, attending: Attending | None) -> Tensor:
        """(B, N, C) to (B, N, C).

        Args:
            x: patches.
            words: (B, T, n_text_embd).
            mask: (B, 1, 1, T) bool, True where there is a word.
            attending: see there; None takes the fast path.
        """
        k, v = self.c_kv(words).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (self.c_q(x), k, v))
        q, k = self.norm_q(q), self.norm_k(k)
        if attending is None:
            heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            heads = _attend_plainly(q, k, v, mask, attending)
        return self.c_proj(heads.transpose(1, 2).flatten(2))


class PainterBlock(nn.Module):
    """One layer: patches to patches, patches to words, each patch by itself."""

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        width = config.n_embd
        self.modulation = nn.Parameter(torch.zeros(6 * width))  # beside that of all blocks
        self.attention = PatchAttention(width, config.n_head)
        self.norm_words = LayerNorm(width)
        self.to_words = WordAttention(width, config.n_head, config.n_text_embd)
        self.mlp_fc = Linear(width, 4 * width)
        self.mlp_proj = Linear(4 * width, width)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rotary: tuple[Tensor, Tensor],
        words: Tensor,
        mask: Tensor,
        attending: Attending | None,
    ) -> Tensor:
        """(B, N, C) to (B, N, C); `modulation` (B, 6 * C) is that of all blocks."""
        own = (modulation + self.modulation.to(modulation.dtype))[:, None].chunk(6, dim=-1)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = own
        x = x + gate_1 * self.attention(_norm(x) * (1 + scale_1) + shift_1, rotary)
        x = x + self.to_words(self.norm_words(x), words, mask, attending)
        hidden = F.gelu(self.mlp_fc(_norm(x) * (1 + scale_2) + shift_2), approximate="tanh")
        return x + gate_2 * self.mlp_proj(hidden)


class Painter(nn.Module):
    """Noisy picture and words to the picture that it will be."""

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.n_embd, config.patch_size
        self.reader = WordReader(config)
        self.patch_in = nn.Conv2d(3, config.n_patch_embd, patch, stride=patch)
        self.widen = Linear(config.n_patch_embd, width)
        self.sigma_fc, self.sigma_proj = Linear(256, width, bias=True), Linear(width, width, bias=True)
        self.span_fc, self.span_proj = Linear(256, width, bias=True), Linear(width, width)
        self.modulate = Linear(width, 6 * width, bias=True)
        self.blocks = nn.ModuleList(PainterBlock(config) for _ in range(config.n_layer))
        self.norm_f = LayerNorm(width)
        self.patch_out = nn.ConvTranspose2d(width, 3, patch, stride=patch)
        self.smooth_in = nn.Conv2d(6, config.n_smooth, 3, padding=1)
        self.smooth_out = nn.Conv2d(config.n_smooth, 3, 3, padding=1)
        self._init_weights()

    def _init_weights(self) -> None:
        for block in self.blocks:
            assert isinstance(block, PainterBlock)
            for layer in (block.attention.c_proj, block.to_words.c_proj, block.mlp_proj):
                nn.init.zeros_(layer.weight)
        with torch.no_grad():  # gates are open from the start, and what they let through begins at zero
            assert self.modulate.bias is not None
            width = self.config.n_embd
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)
            self.modulate.bias[2 * width : 3 * width] = 1.0
            self.modulate.bias[5 * width :] = 1.0
        for zeroed in (self.span_proj, self.smooth_out, self.patch_out):
            nn.init.zeros_(zeroed.weight)
        assert self.smooth_out.bias is not None
        assert self.patch_out.bias is not None
        nn.init.zeros_(self.smooth_out.bias)
        nn.init.zeros_(self.patch_out.bias)
        nn.init.normal_(self.reader.rest, std=0.02)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and so what comes in and goes out."""
        return self.reader.rest.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels it takes."""
        return self.reader.rest.dtype

    def read(self, features: Tensor, is_word: Tensor) -> tuple[Tensor, Tensor]:
        """Words for all steps; see `WordReader.forward`."""
        words: tuple[Tensor, Tensor] = self.reader(features, is_word)
        return words

    def forward(
        self,
        pixels: Tensor,
        sigma: Tensor,
        span: Tensor,
        words: Tensor,
        is_there: Tensor,
        attending: Attending | None = None,
    ) -> Tensor:
        """Where a noisy picture leads.

        Args:
            pixels: (B, 3, S, S); S a multiple of the patch.
            sigma: (B,) in [0, 1]: the share of noise in each.
            span: (B,) in [0, sigma]: how far the next step goes; 0 asks for many small ones.
            words: (B, T, n_text_embd), from `read`.
            is_there: (B, T) bool.
            attending: attention to words, watched or guided.

        Returns:
            (B, 3, S, S), clean pictures in about [-1, 1].
        """
        side = pixels.shape[-1] // self.config.patch_size
        x = self.widen(self.patch_in(pixels).flatten(2).transpose(1, 2))
        rotary = rotary_table(side, self.config, x.device)
        modulation = self.modulate(F.silu(self._told(sigma, span, x.dtype)))
        mask = is_there[:, None, None]
        for block in self.blocks:
            x = block(x, modulation, rotary, words, mask, attending)
        grid = self.norm_f(x).transpose(1, 2).unflatten(2, (side, side))
        rough = self.patch_out(grid)
        hidden = F.silu(self.smooth_in(torch.cat([pixels, rough], dim=1)))
        return rough + self.smooth_out(hidden)

    def _told(self, sigma: Tensor, span: Tensor, dtype: torch.dtype) -> Tensor:
        level: Tensor = self.sigma_proj(F.silu(self.sigma_fc(_waves(sigma).to(dtype))))
        return level + self.span_proj(F.silu(self.span_fc(_waves(span).to(dtype))))


class Upsampler(nn.Module):
    """Twice as many pixels along each side: bicubic, and what a few convolutions add to it.

    Source: the residual blocks without normalisation of EDSR, Lim et al. 2017, arXiv:1707.02921.
    """

    margin = 16  # pixels around a tile from which everything in it comes (see `sampling.diffusion.enlarging`)

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        width = config.n_upsampler
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1) for _ in range(2 * config.n_upsampler_block)
        )
        self.conv_out = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 3, 2 * H, 2 * W), both in about [-1, 1]."""
        x = self.conv_in(pixels)
        for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
            x = x + second(F.silu(first(x)))
        plain = F.interpolate(pixels, scale_factor=2, mode="bicubic", align_corners=False)
        return plain + F.pixel_shuffle(self.conv_out(x), 2)


def direction(noisy: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    """The velocity of flow matching, noise minus picture, (B, 3, S, S), from what the painter says."""
    return (noisy - clean) / sigma.clamp(min=_LEAST_SIGMA).view(-1, 1, 1, 1)


def rotary_table(side: int, config: PainterConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, D) of a grid of `side` patches; half of the D turn with each axis."""
    num = config.n_embd // config.n_head // 4
    places = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) * (config.grid_size / side)
    rates = 100.0 ** (-torch.arange(num, device=device, dtype=torch.float32) / num)
    turns = places[:, None] * rates  # (side, D / 4)
    rows = turns[:, None].expand(side, side, num)
    columns = turns[None].expand(side, side, num)
    angles = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (table.to(x.dtype) for table in rotary)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x.float(), x.shape[-1:]).to(x.dtype)


def _waves(level: Tensor) -> Tensor:
    """(B,) in [0, 1] as 256 sines and cosines."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(128, device=level.device) / 128)
    angles = 1000.0 * level.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, attending: Attending) -> Tensor:
    scores = (q @ k.mT).float() * q.shape[-1] ** -0.5
    if attending.bias is not None:
        scores = scores + attending.bias[:, None]
    shares = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    if attending.keeps_maps:
        attending.maps.append(shares.mean(dim=1))
    return shares.to(v.dtype) @ v
