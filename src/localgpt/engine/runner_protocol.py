"""What the engine asks of a decoder and of its key/value cache, wherever they run.

Shape legend: T new tokens, C width, B rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from localgpt.models.decoder import DecoderConfig

__all__ = ["CachedDecoder", "SlotCache"]


class SlotCache(Protocol):
    """What the engine knows of a cache: its sizes."""

    @property
    def num_slots(self) -> int:
        """Sequences at once."""
        ...

    @property
    def context_len(self) -> int:
        """Positions of each."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        ...


class CachedDecoder(Protocol):
    """What the engine asks of a decoder: `models.decoder.Decoder`, or one of another backend.

    A decoder is only ever given caches that it made itself.
    """

    @property
    def config(self) -> DecoderConfig:
        """Its shape."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its embeddings and logits are."""
        ...

    @property
    def has_exact_rows(self) -> bool:
        """Whether a row of `decode_step` comes out the same, to the last bit, however many run beside it."""
        ...

    def embed(self, token_ids: Tensor) -> Tensor:
        """(B, T) int64 to (B, T, C)."""
        ...

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: Any, *, slot: int, start: int
    ) -> Tensor:
        """(T, C) into positions start, start + 1, ... of a slot; (V,) logits after the last."""
        ...

    def decode_step(self, token_ids: Tensor, cache: Any, slots: Tensor, lengths: Tensor) -> Tensor:
        """(B,) latest tokens to (B, V) logits.

        Rows may follow each other in one slot, at consecutive positions: each sees those before it.
        """
        ...

    def new_cache(self, num_slots: int, *, dtype: torch.dtype, device: torch.device | str) -> SlotCache:
        """An empty cache."""
        ...
