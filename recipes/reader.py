"""A small reader of the picture grid that is trained beside the contrastive loss, and then thrown away.

It answers the questions of `recipes.vision_data` (captions among them) by looking at the encoder's grid, so
that the grid holds what the language decoder will be asked for: how many, which colour, what lies where. The
contrastive loss alone asks for one vector a picture.

Shape legend: B batch, T text tokens, N grid positions, C reader width, V vocabulary.
Source: captioning beside contrast, CoCa, arXiv:2205.01917. Differs: no text of it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, PAD_ID
from localgpt.training.losses import IGNORE, token_loss
from recipes.picture_rows import TextTurn
from recipes.places import place_table

__all__ = ["Reader", "ReaderOptions", "TurnTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderOptions:
    """Sizes of the reader."""

    n_embd: int = 384
    n_layer: int = 2
    n_head: int = 6
    max_len: int = 48  # tokens of a question with its answer; longer ones are left out
    most_turns: int = 10  # of a picture, drawn once at the start


@dataclass(frozen=True, slots=True)
class TurnTable:
    """Some questions with answers of every picture of a set.

    Shapes: `token_ids` (M, T) int16 padded on the right, `starts` (M,) where the answer begins, `lengths`
    (M,), `first` and `count` (N,) rows of each picture.
    """

    token_ids: Tensor
    starts: Tensor
    lengths: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def build(
        cls, groups: Sequence[Sequence[TextTurn]], tokenizer: Tokenizer, options: ReaderOptions, device: str
    ) -> TurnTable:
        """Draw and tokenise turns of every picture, the heavy ones rather than the light ones."""
        rng = np.random.default_rng(0)
        chosen, owners = [], []
        for number, turns in enumerate(groups):
            keys = rng.random(len(turns)) ** (1 / np.array([turn.weight for turn in turns] or [1.0]))
            for place in np.argsort(-keys[: len(turns)])[: options.most_turns]:
                chosen.append(turns[place])
                owners.append(number)
        encoded = tokenizer.encode_batch([text for turn in chosen for text in turn[:2]])
        rows = np.full((max(1, len(chosen)), options.max_len), PAD_ID, dtype=np.int16)
        starts, lengths = np.ones(len(rows), dtype=np.int64), np.ones(len(rows), dtype=np.int64)
        count = np.zeros(len(groups), dtype=np.int64)
        used = 0
        for owner, question, answer in zip(owners, encoded[::2], encoded[1::2], strict=True):
            ids = [BOS_ID, *question, ASSISTANT_ID, *answer, END_ID]
            if len(ids) > options.max_len:
                continue
            rows[used, : len(ids)] = ids
            starts[used], lengths[used] = len(question) + 2, len(ids)
            count[owner] += 1
            used += 1
        parts = (rows, starts, lengths, np.cumsum(count) - count, count)
        return cls(*(torch.from_numpy(part).to(device) for part in parts))

    def draw(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One random turn for each picture of `indices` (B,): tokens (B, T) int64, targets (B, T) int64.

        Only answers are learned; a picture without turns learns nothing.
        """
        count = self.count[indices]
        pick = (torch.rand(len(indices), device=indices.device, generator=generator) * count).long()
        row = (self.first[indices] + pick).clamp(max=len(self.lengths) - 1)
        ids = self.token_ids[row].long()
        place = torch.arange(1, ids.shape[1], device=ids.device)
        is_learned = (
            (place >= self.starts[row, None]) & (place < self.lengths[row, None]) & (count[:, None] > 0)
        )
        return ids[:, :-1], ids[:, 1:].masked_fill(~is_learned, IGNORE)


class _Layer(nn.Module):
    """Reads the text so far, then the grid, then thinks."""

    def __init__(self, options: ReaderOptions) -> None:
        super().__init__()
        n_embd, self.n_head = options.n_embd, options.n_head
        self.norm_text, self.norm_look, self.norm_mlp = (nn.LayerNorm(n_embd) for _ in range(3))
        self.c_attn, self.c_look = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.c_grid = nn.Linear(n_embd, 2 * n_embd)
        self.proj_text, self.proj_look = nn.Linear(n_embd, n_embd), nn.Linear(n_embd, n_embd)
        self.c_fc, self.c_proj = nn.Linear(n_embd, 4 * n_embd), nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        """(B, T, C) text and (B, N, C) grid to (B, T, C)."""
        parts = self.c_attn(self.norm_text(x)).chunk(3, dim=-1)
        x = x + self.proj_text(self._attend(*parts, is_causal=True))
        looked = self._attend(self.c_look(self.norm_look(x)), *self.c_grid(grid).chunk(2, dim=-1))
        x = x + self.proj_look(looked)
        return x + self.c_proj(F.gelu(self.c_fc(self.norm_mlp(x))))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal).transpose(1, 2).flatten(2)


class Reader(nn.Module):
    """Text tokens given a picture's grid: (B, N, n_feature) and (B, T) to a loss."""

    def __init__(self, options: ReaderOptions, *, n_feature: int, vocab_size: int, grid_size: int) -> None:
        super().__init__()
        n_embd, self.grid_size = options.n_embd, grid_size
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.text_positions = nn.Parameter(torch.randn(options.max_len, n_embd) * 0.02)
        places = place_table(grid_size, n_embd, std=0.3).T.unflatten(1, (grid_size, grid_size))
        self.grid_positions = nn.Parameter(places.contiguous())
        self.norm_grid = nn.LayerNorm(n_feature)
        self.widen = nn.Linear(n_feature, n_embd)
        self.layers = nn.ModuleList(_Layer(options) for _ in range(options.n_layer))
        self.norm_f = nn.LayerNorm(n_embd)
        nn.init.normal_(self.wte.weight, std=0.02)

    def loss(self, features: Tensor, token_ids: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the learned tokens.

        Args:
            features: (B, N, n_feature) from `JointEncoder.grid_features`, of any square grid.
            token_ids: (B, T) int64.
            targets: (B, T) int64, `IGNORE` where nothing is learned.
        """
        side = round(features.shape[1] ** 0.5)
        places: Any = self.grid_positions[None]
        if side != self.grid_size:  # training at low resolution
            places = F.interpolate(places, size=(side, side), mode="bilinear")
        grid = self.widen(self.norm_grid(features)) + places.flatten(2).transpose(1, 2)
        x = self.wte(token_ids) + self.text_positions[: token_ids.shape[1]]
        for layer in self.layers:
            x = layer(x, grid)
        is_learned = targets != IGNORE
        if not bool(is_learned.any()):
            return x.sum() * 0
        return token_loss(F.linear(self.norm_f(x)[is_learned], self.wte.weight), targets[is_learned])
