"""The joint encoder: CLIP's ResNet-50 for pictures and a small text tower, one embedding space.

Notable:
- CLIP's changes to ResNet-50: a three-convolution stem, average pooling in front of strided convolutions, and
  attention pooling instead of global average pooling.
- The text tower's token table is factorised (vocabulary x 192, then 192 x width), since the vocabulary of
  24,576 would otherwise be most of the tower.
- `read_image` gives the stride-16 grid that the decoder reads: stage 3 beside stage 4 brought to the same
  grid, so a position knows both its detail and its meaning.

Shape legend: B batch, T text tokens, C channels, N = 14 * 14 grid positions at 224 px, E embedding width.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["EncoderConfig", "ImageEncoder", "JointEncoder", "TextEncoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Shape of both towers. The defaults are the embedded model's."""

    image_size: int = 224
    stage_blocks: tuple[int, ...] = (3, 4, 6, 3)
    stem_width: int = 64
    embed_dim: int = 512
    n_pool_head: int = 8
    vocab_size: int = 24_576
    n_token_embd: int = 192  # width of the factorised token table
    n_text_embd: int = 384
    n_text_layer: int = 4
    n_text_head: int = 6
    text_context_len: int = 64
    dropout: float = 0.1

    @property
    def grid_size(self) -> int:
        """Side of the stride-16 grid."""
        return self.image_size // 16

    @property
    def n_feature(self) -> int:
        """Width of the grid features: stage 3 and stage 4 side by side."""
        return self.stem_width * 16 + self.stem_width * 32

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderConfig:
        """Inverse of `to_dict`; keys of other purposes in config.json are left alone."""
        known = {field.name for field in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in known}
        chosen["stage_blocks"] = tuple(chosen.get("stage_blocks", cls().stage_blocks))
        return cls(**chosen)


class Bottleneck(nn.Module):
    """CLIP's residual block: all convolutions have stride 1; an average pool does the striding.

    Adapted from openai/CLIP, clip/model.py (MIT).
    """

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    pool=nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                    conv=nn.Conv2d(n_in, n_out, 1, bias=False),
                    bn=nn.BatchNorm2d(n_out),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, 4 * width, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.pool(F.relu(self.bn2(self.conv2(out))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class AttentionPool(nn.Module):
    """One query, the mean of the grid, attends over all grid positions (CLIP section 2.4)."""

    def __init__(self, n_in: int, n_out: int, *, n_head: int, grid_size: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.grid_size = grid_size  # other sizes (training at low resolution) interpolate the positions
        self.positions = nn.Parameter(torch.empty(grid_size**2, n_in))
        nn.init.normal_(self.positions, std=n_in**-0.5)
        self.c_q = Linear(n_in, n_out)
        self.c_kv = Linear(n_in, 2 * n_out)
        self.c_proj = Linear(n_out, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, E)."""
        grid = x.flatten(2).transpose(1, 2)  # (B, N, C)
        grid = grid + self._positions_for(x.shape[2]).to(grid.dtype)
        q = self.c_q(grid.mean(dim=1, keepdim=True))
        k, v = self.c_kv(grid).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        pooled = F.scaled_dot_product_attention(q, k, v)  # (B, H, 1, D)
        return self.c_proj(pooled.transpose(1, 2).flatten(1))

    def _positions_for(self, side: int) -> Tensor:
        if side * side == len(self.positions):
            return self.positions
        grid = self.positions.T.unflatten(1, (self.grid_size, self.grid_size))[None].float()
        return F.interpolate(grid, size=(side, side), mode="bilinear")[0].flatten(1).T


class ImageEncoder(nn.Module):
    """ResNet-50 with CLIP's modifications (arXiv:2103.00020, section 2.4)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.stem_width
        self.stem = nn.Sequential(
            *_conv_bn_relu(3, width // 2, stride=2),
            *_conv_bn_relu(width // 2, width // 2),
            *_conv_bn_relu(width // 2, width),
            nn.AvgPool2d(2),
        )
        n_in = width
        stages = []
        for i, num_blocks in enumerate(config.stage_blocks):
            blocks = []
            for j in range(num_blocks):
                blocks.append(Bottleneck(n_in, width << i, stride=2 if i > 0 and j == 0 else 1))
                n_in = (width << i) * Bottleneck.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.pool = AttentionPool(
            n_in, config.embed_dim, n_head=config.n_pool_head, grid_size=config.image_size // 32
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of stage 3 (B, 1024, 14, 14) and stage 4 (B, 2048, 7, 7) for 224 px pixels in [-1, 1]."""
        x = self.stem(pixels)
        for stage in self.stages[:3]:
            x = stage(x)
        return x, self.stages[3](x)


class TextBlock(nn.Module):
    """Bidirectional pre-norm transformer layer of the text tower."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm_1 = LayerNorm(n_embd)
        self.c_attn = Linear(n_embd, 3 * n_embd)
        self.c_proj = Linear(n_embd, n_embd)
        self.norm_2 = LayerNorm(n_embd)
        self.mlp_fc = Linear(n_embd, 4 * n_embd)
        self.mlp_proj = Linear(4 * n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C); `attn_mask` (B, 1, 1, T) is True where a key may be read."""
        q, k, v = self.c_attn(self.norm_1(x)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.c_proj(heads))
        return x + self.dropout(self.mlp_proj(F.gelu(self.mlp_fc(self.norm_2(x)))))


class TextEncoder(nn.Module):
    """Small bidirectional text tower; the mean over real tokens is the text's vector."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.context_len = config.text_context_len
        self.wte = nn.Embedding(config.vocab_size, config.n_token_embd)
        self.widen = Linear(config.n_token_embd, config.n_text_embd)
        self.positions = nn.Parameter(torch.empty(config.text_context_len, config.n_text_embd))
        nn.init.normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TextBlock(config.n_text_embd, config.n_text_head, config.dropout)
            for _ in range(config.n_text_layer)
        )
        self.norm_f = LayerNorm(config.n_text_embd)
        self.c_proj = Linear(config.n_text_embd, config.embed_dim)
        nn.init.normal_(self.wte.weight, std=0.02)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 padded on the right, (B,) int64 true lengths, to (B, E) before normalisation."""
        _, last, is_token = self._read(token_ids, lengths)
        x = last * is_token[..., None].to(last.dtype)
        return self.c_proj(x.sum(dim=1) / is_token.sum(dim=1, keepdim=True).clamp(min=1).to(x.dtype))

    def token_features(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """What each token is, and what it means where it stands, side by side.

        Args:
            token_ids: (B, T) int64 padded on the right; T is cut at `context_len`.
            lengths: (B,) int64 true lengths.

        Returns:
            (B, T, 2 * n_text_embd): the embedding with its position beside the last layer; padding is zero.
        """
        first, last, is_token = self._read(token_ids, lengths)
        return torch.cat([first, last], dim=-1) * is_token[..., None].to(last.dtype)

    def _read(self, token_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings and last layer, (B, T, C) each, and which of them are tokens, (B, T)."""
        token_ids = token_ids[:, : self.context_len]
        num_tokens = token_ids.shape[1]
        is_token = torch.arange(num_tokens, device=token_ids.device) < lengths[:, None]
        first = self.widen(self.wte(token_ids)) + self.positions[:num_tokens]
        x = self.dropout(first)
        for block in self.blocks:
            x = block(x, is_token[:, None, None])
        return first, self.norm_f(x), is_token


class JointEncoder(nn.Module):
    """Pictures and texts into one space of unit-length vectors."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ImageEncoder(config)
        self.text = TextEncoder(config)
        self.logit_scale = nn.Parameter(torch.tensor(2.659))  # ln(1 / 0.07)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and so what comes in and goes out."""
        return self.image.pool.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels it takes."""
        return self.image.pool.positions.dtype

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, 224, 224) float RGB in [-1, 1], squashed to the square, to (B, E) of unit length."""
        return self.embed_stages(self.image(pixels))

    def embed_stages(self, stages: tuple[Tensor, Tensor]) -> Tensor:
        """Picture vector (B, E) of unit length from what `image` returned."""
        return F.normalize(self.image.pool(stages[1]).float(), dim=-1)

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 padded on the right and (B,) lengths, to (B, E) of unit length; T is cut at 64."""
        return F.normalize(self.text(token_ids, lengths.clamp(max=self.text.context_len)).float(), dim=-1)

    def read_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Grid features for the decoder and the picture's vector, from one pass.

        Args:
            pixels: (B, 3, 224, 224) as for `encode_image`.

        Returns:
            (B, 196, 3072) row by row, and (B, E) of unit length.
        """
        stages = self.image(pixels)
        return self.grid_features(stages), self.embed_stages(stages)

    @staticmethod
    def grid_features(stages: tuple[Tensor, Tensor]) -> Tensor:
        """Stage 3 beside stage 4 on one grid: (B, N, C3 + C4)."""
        fine, coarse = stages
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        return torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)


def _conv_bn_relu(n_in: int, n_out: int, *, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
