"""From a prompt to what the painter reads, and which of its words have a place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from localgpt.media.text.prompts import clean_prompt, token_spans
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.encoder import TextEncoder
from localgpt.models.painter import Painter
from localgpt.sampling.diffusion.binding import Bound
from localgpt.sampling.diffusion.flow import Words
from localgpt.sampling.diffusion.places import Placed, read_places

__all__ = ["Prompt", "nothing", "read_ids", "read_prompt"]

_WORD: Final = re.compile(r"[一-鿿]+|[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+")
_REST: Final = 1  # words that stand before those of the prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that was read.

    Args:
        text: in the form that is read; see `clean_prompt`.
        words: for the painter, of one picture.
        spans: characters of `text` that each token stands for.
        num_left_out: tokens beyond what the painter reads.
    """

    text: str
    words: Words
    spans: tuple[tuple[int, int], ...]
    num_left_out: int

    def places(self) -> list[Placed]:
        """Things whose place the prompt tells, as far as they were read."""
        return [placed for placed in read_places(self.text) if self.tokens(placed.start, placed.end)]

    def bound(self) -> list[Bound]:
        """The same by the numbers of their words."""
        return [Bound(self.tokens(one.start, one.end), one.box) for one in self.places()]

    def tokens(self, start: int, end: int) -> tuple[int, ...]:
        """Numbers of the words, the resting one counted, that lie between two characters."""
        found = (number for number, (a, b) in enumerate(self.spans, _REST) if a < end and b > start and a < b)
        return tuple(found)

    def named(self) -> list[tuple[str, tuple[int, ...]]]:
        """The written words in order, with the numbers of theirs."""
        spelled = [(found.group(), self.tokens(*found.span())) for found in _WORD.finditer(self.text)]
        return [(word, tokens) for word, tokens in spelled if tokens]


@torch.no_grad()
def read_prompt(painter: Painter, tower: TextEncoder, tokenizer: Tokenizer, text: str) -> Prompt:
    """Read a prompt; an empty one gives no words."""
    cleaned = clean_prompt(text)
    ids = tokenizer.encode(cleaned) if cleaned else []
    kept = ids[: min(painter.config.text_len, tower.context_len)]
    spans = token_spans([tokenizer.piece(token) for token in kept], cleaned)
    if not kept:
        return Prompt(text="", words=nothing(painter), spans=(), num_left_out=0)
    device = painter.device
    words = read_ids(
        painter, tower, torch.tensor([kept], device=device), torch.tensor([len(kept)], device=device)
    )
    return Prompt(text=cleaned, words=words, spans=tuple(spans), num_left_out=len(ids) - len(kept))


def read_ids(
    painter: Painter, tower: TextEncoder, ids: Tensor, lengths: Tensor, *, is_kept: Tensor | None = None
) -> Words:
    """Read token ids.

    Args:
        painter: whose reader learns; the tower does not.
        tower: of the joint encoder.
        ids: (B, T) int64 padded on the right.
        lengths: (B,) int64.
        is_kept: (B,) bool; the words of the others are left out.
    """
    with torch.no_grad():
        features = tower.token_features(ids, lengths)
    is_word = torch.arange(features.shape[1], device=ids.device) < lengths[:, None]
    if is_kept is not None:
        is_word = is_word & is_kept[:, None]
    return Words(*painter.read(features, is_word))


@torch.no_grad()
def nothing(painter: Painter) -> Words:
    """No words, of one picture."""
    features = torch.zeros(1, 0, painter.config.n_feature, device=painter.device, dtype=painter.dtype)
    return Words(*painter.read(features, torch.zeros(1, 0, dtype=torch.bool, device=painter.device)))
