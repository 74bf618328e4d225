"""A decoder that says what it is told to, token by token: the real service over a model without a will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from localgpt.media.text.vocabulary import END_ID, VOCAB_SIZE
from localgpt.nn.kv_cache import KVCache
from tests import tiny


class SpokenDecoder(nn.Module):
    """Wants to say `script`, then the end; where it may not, it goes on with its script all the same."""

    def __init__(self, script: Sequence[int], *, context_len: int = 1024) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=VOCAB_SIZE)
        self.script = [*script, END_ID]
        self.context_len = context_len
        self.prompts: list[list[int]] = []
        self.before_step: Callable[[], object] = lambda: None
        self.device = torch.device("cpu")
        self._starts: dict[int, int] = {}  # slot to the length of its prompt

    def embed(self, token_ids: Tensor) -> Tensor:
        return token_ids[..., None].float()

    def new_cache(self, num_slots: int, *, dtype: torch.dtype, device: torch.device) -> KVCache:
        return KVCache((1, num_slots, 1, self.context_len, 1), dtype=dtype, device=device)

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: KVCache, *, slot: int, start: int
    ) -> Tensor:
        piece = embeddings[:, 0].long().tolist()
        self.prompts = [*self.prompts, piece] if not start else [*self.prompts[:-1], self.prompts[-1] + piece]
        self._starts[slot] = start + len(piece)
        return self._logits(0)

    def decode_step(self, token_ids: Tensor, cache: KVCache, slots: Tensor, lengths: Tensor) -> Tensor:
        self.before_step()
        places = [
            length + 1 - self._starts[slot]
            for slot, length in zip(slots.tolist(), lengths.tolist(), strict=True)
        ]
        return torch.stack([self._logits(place) for place in places])

    def _logits(self, place: int) -> Tensor:
        logits = torch.zeros(VOCAB_SIZE)
        logits[self.script[min(place, len(self.script) - 1)]] = 30.0
        return logits


def make_family(*script: int | str, context_len: int = 1024) -> Any:
    """A family that wants to say the given reserved tokens and texts."""
    tokenizer = tiny.make_tokenizer()
    token_ids = [
        token_id
        for part in script
        for token_id in ([part] if isinstance(part, int) else tokenizer.encode(part))
    ]
    return SimpleNamespace(
        tokenizer=tokenizer,
        decoder=SpokenDecoder(token_ids, context_len=context_len),
        encoder=None,
        projector=None,
        info=SimpleNamespace(id="local/spoken", licence="Apache-2.0", created=0),
    )
