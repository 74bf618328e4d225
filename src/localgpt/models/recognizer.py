"""The embedded recogniser: a conformer over log-mel frames that gives a distribution over sounds every 20 ms.

Connectionist temporal classification (Graves 2006) over letters and pinyin parts; a first guess after half of
the blocks is learned too and fed back into the others (Nozaki and Komatsu 2021, arXiv:2104.02724). Attention
may see everything, or chunks: weights that were trained with both run over a whole recording (`forward`) and
over one that is still coming in (`step`), and `forward` with a chunk gives the same numbers as `step`.

Shape legend: B batch, M mel bins, F frames of 10 ms, T = F / 2 frames of 20 ms, C width, V units.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.conformer import BlockCache, ConformerBlock, chunk_mask, rotary_angles
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["Recognizer", "RecognizerConfig", "RecognizerState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizerConfig:
    """Shape of a recogniser. The defaults are the embedded model's before pruning."""

    num_units: int = 227  # the blank included
    num_mel_bins: int = 80
    n_layer: int = 12
    n_embd: int = 256
    n_head: int = 4
    n_ff: tuple[tuple[int, int], ...] = ()  # of each block's two layers; none for four times the width
    kernel_size: int = 15
    dropout: float = 0.1
    chunk: int = 16  # frames of 20 ms that a stream is read by
    num_left: int = 16  # chunks before its own that a frame of a stream sees

    @property
    def feedback_layer(self) -> int:
        """Blocks in front of the first guess."""
        return self.n_layer // 2

    @property
    def sizes_ff(self) -> tuple[tuple[int, int], ...]:
        """Hidden units of each block's two feed-forward layers."""
        return self.n_ff or ((4 * self.n_embd, 4 * self.n_embd),) * self.n_layer

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecognizerConfig:
        """Inverse of `to_dict`; keys of other purposes in config.json are left alone."""
        known = {field.name for field in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in known}
        chosen["n_ff"] = tuple((int(first), int(second)) for first, second in chosen.get("n_ff", ()))
        return cls(**chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizerState:
    """What a stream keeps between chunks."""

    position: int  # of the next frame
    mel_tail: Tensor  # (B, M, 2)
    stem_tail: Tensor  # (B, C, 1)
    blocks: tuple[BlockCache, ...]


class Recognizer(nn.Module):
    """Log-mel frames to scores of units.

    Args:
        config: its shape.
    """

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.n_embd
        self.stem_1 = nn.Conv1d(config.num_mel_bins, width, 3)
        self.stem_2 = nn.Conv1d(width, width, 3, stride=2)
        self.stem_norm = LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            ConformerBlock(width, config.n_head, n_ff, kernel_size=config.kernel_size, dropout=config.dropout)
            for n_ff in config.sizes_ff
        )
        self.head = Linear(width, config.num_units, bias=True)
        self.feedback = Linear(config.num_units, width)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.stem_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the frames it takes."""
        return self.stem_1.weight.dtype

    def forward(
        self, mel: Tensor, num_frames: Tensor | None = None, *, chunk: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores of whole recordings.

        Args:
            mel: (B, M, F) as `nn.log_mel.fixed_scale` gives it, padded behind; an odd last frame is left out.
            num_frames: (B,) int64, how many of T are sound; None for all.
            chunk: frames of 20 ms that see each other, and `num_left` chunks before; None for all.

        Returns:
            Logits and those of the first guess, (B, T, V) float32.
        """
        total = mel.shape[2] // 2
        mask = chunk_mask(total, chunk, self.config.num_left, device=mel.device)[None, None]
        if num_frames is not None:
            mask = self.with_lengths(mask, num_frames)
        return self.score(mel, mask)

    def score(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with the mask (B or 1, 1, T, T) written out; each frame must see itself at least."""
        x = self._stem(F.pad(mel[..., : mel.shape[2] // 2 * 2], (2, 0)), None)[0]
        angles = self._angles(0, x)
        first: Tensor | None = None
        for number, block in enumerate(self.blocks):
            if number == self.config.feedback_layer:
                x, first = self._feed_back(x)
            x = block(x, angles, mask)
        logits = self.head(x).float()
        return logits, logits if first is None else first

    @staticmethod
    def with_lengths(mask: Tensor, num_frames: Tensor) -> Tensor:
        """A mask (1, 1, T, T) for recordings of different lengths: (B, 1, T, T)."""
        places = torch.arange(mask.shape[-1], device=mask.device)
        is_sound = places < num_frames[:, None]
        # Frames behind the end see themselves: rows of nothing would be no numbers.
        return (mask & is_sound[:, None, None]) | (places[:, None] == places)

    def new_state(self, num_rows: int = 1) -> RecognizerState:
        """What there is before a stream's first chunk."""
        like = self.stem_norm.weight.new_zeros((), dtype=self.dtype)
        return RecognizerState(
            position=0,
            mel_tail=like.new_zeros(num_rows, self.config.num_mel_bins, 2),
            stem_tail=like.new_zeros(num_rows, self.config.n_embd, 1),
            blocks=tuple(block.new_cache(num_rows, like) for block in self._blocks()),
        )

    def step(self, mel: Tensor, state: RecognizerState) -> tuple[Tensor, RecognizerState]:
        """Scores of a stream's next chunk.

        Args:
            mel: (B, M, 2 x chunk); the last one of a stream may be shorter.
            state: after the chunk before.

        Returns:
            Logits (B, T, V) float32, the same as those of `forward` with the config's chunk, and the state.
        """
        padded = torch.cat([state.mel_tail, mel], dim=2)
        x, stem_tail = self._stem(padded, state.stem_tail)
        angles = self._angles(state.position, x)
        num_kept = self.config.chunk * self.config.num_left
        caches = []
        for number, block in enumerate(self._blocks()):
            if number == self.config.feedback_layer:
                x, _ = self._feed_back(x)
            x, cache = block.step(x, angles, state.blocks[number], num_kept)
            caches.append(cache)
        after = RecognizerState(
            position=state.position + x.shape[1],
            mel_tail=padded[..., -2:],
            stem_tail=stem_tail,
            blocks=tuple(caches),
        )
        return self.head(x).float(), after

    def _stem(self, padded: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, M, 2 + F) to (B, T, C), and the last frame in between for the next chunk."""
        inner = F.gelu(self.stem_1(padded))
        inner = F.pad(inner, (1, 0)) if tail is None else torch.cat([tail, inner], dim=2)
        x = F.gelu(self.stem_2(inner)).transpose(1, 2)
        return self.dropout(self.stem_norm(x)), inner[..., -1:]

    def _blocks(self) -> list[ConformerBlock]:
        return [block for block in self.blocks if isinstance(block, ConformerBlock)]

    def _angles(self, begin: int, x: Tensor) -> Tensor:
        head_dim = self.config.n_embd // self.config.n_head
        return rotary_angles(begin, x.shape[1], head_dim, like=x)

    def _feed_back(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.head(x).float()
        return x + self.feedback(first.softmax(dim=-1).to(x.dtype)), first
