"""Runs the decoder for the engine: pieces of prompts, and batches of single tokens, over one static cache.

Shape legend: T new tokens, N image tokens, C width, B sequences, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Many
from typing import Any, Protocol

import torch
from torch import Tensor

from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.sequence import Sequence
from localgpt.errors import ConfigError
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.models.decoder import DecoderConfig
from localgpt.nn.kv_cache import KVCache

__all__ = ["CachedDecoder", "ModelRunner", "SlotCache", "one_slot", "piece_tokens"]

IMAGE_MODALITY = 1
PIECE_TOKENS = 256


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

    def embed(self, token_ids: Tensor) -> Tensor:
        """(B, T) int64 to (B, T, C)."""
        ...

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: Any, *, slot: int, start: int
    ) -> Tensor:
        """(T, C) into positions start, start + 1, ... of a slot; (V,) logits after the last."""
        ...

    def decode_step(self, token_ids: Tensor, cache: Any, slots: Tensor, lengths: Tensor) -> Tensor:
        """(B,) latest tokens to (B, V) logits."""
        ...

    def new_cache(self, num_slots: int, *, dtype: torch.dtype, device: torch.device | str) -> SlotCache:
        """An empty cache."""
        ...


class ModelRunner:
    """The decoder and its key/value cache.

    Device and dtype of the cache are those of the decoder's embeddings.

    Args:
        decoder: in eval mode, where it shall run.
        num_slots: sequences at once.
        prefill_tokens: the longest piece of a prompt read in one go. Small pieces keep other answers flowing,
            large ones use the matrix units better.
        prefixes: what is kept of prompts; None keeps nothing. With it, pieces must be whole blocks of it, and
            one block each where a row's result depends on how many are computed beside it, so that a prompt
            whose beginning is known is computed as it would be otherwise.

    Raises:
        ConfigError: the cache, or the length of pieces, does not go with `prefixes`.
    """

    def __init__(
        self,
        decoder: CachedDecoder,
        *,
        num_slots: int,
        prefill_tokens: int = PIECE_TOKENS,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.decoder = decoder
        self.prefill_tokens = prefill_tokens
        self.cache = _new_cache(decoder, num_slots)
        self._prefixes = prefixes
        if prefixes is not None:
            self._check_prefixes()
        self.device, self.dtype = decoder.device, self.cache.dtype
        self._most_cached = [0] * num_slots

    @property
    def context_len(self) -> int:
        """Most positions of a sequence, prompt and answer together."""
        return self.cache.context_len

    @property
    def touched_bytes(self) -> int:
        """Bytes of the cache that were ever written: what it really occupies on a CPU."""
        per_position = self.cache.nbytes // (self.cache.num_slots * self.cache.context_len)
        return sum(self._most_cached) * per_position

    @torch.inference_mode()
    def prefill(self, sequence: Sequence) -> Tensor | None:
        """Read the next piece of a sequence's prompt.

        Returns:
            (V,) logits after the last token of the prompt, or None when pieces are left.
        """
        assert sequence.slot is not None
        began_s = time.monotonic()
        if sequence.num_cached == 0 and self._prefixes is not None:
            assert isinstance(self.cache, KVCache)
            sequence.num_reused = self._prefixes.fill(sequence, self.cache)
            self._advance(sequence, sequence.num_reused)
        start = sequence.num_cached
        end = min(start + self.prefill_tokens, sequence.num_prompt_tokens)
        embeddings, modality = self._inputs(sequence, start, end)
        logits = self.decoder.prefill(embeddings, modality, self.cache, slot=sequence.slot, start=start)
        self._advance(sequence, end - start)
        sequence.prefill_s += time.monotonic() - began_s
        return logits if end == sequence.num_prompt_tokens else None

    def keep_prompt(self, sequence: Sequence) -> None:
        """Keep a prompt that was read to its end for others that begin with it."""
        if self._prefixes is not None:
            assert isinstance(self.cache, KVCache)
            self._prefixes.publish(sequence, self.cache)

    @torch.inference_mode()
    def decode(self, sequences: Many[Sequence]) -> Tensor:
        """Read the latest token of each of B sequences; (B, V) logits of their next ones."""
        token_ids = torch.tensor([s.last_token_id for s in sequences], device=self.device)
        slots = torch.tensor([s.slot for s in sequences])
        lengths = torch.tensor([s.num_cached for s in sequences])
        logits = self.decoder.decode_step(token_ids, self.cache, slots, lengths)
        for sequence in sequences:
            self._advance(sequence, 1)
        return logits

    def _check_prefixes(self) -> None:
        if not isinstance(self.cache, KVCache):
            raise ConfigError(
                f"prompts cannot be kept in a {type(self.cache).__name__}, expected a KVCache; keep none"
            )
        is_exact = getattr(self.decoder, "has_exact_rows", False)
        if self.prefill_tokens % BLOCK_LEN or (self.prefill_tokens != BLOCK_LEN and not is_exact):
            raise ConfigError(
                f"prefill_tokens is {self.prefill_tokens}, expected {BLOCK_LEN}"
                f"{' or a multiple of it' if is_exact else ''}, since prompts are kept in such blocks"
            )

    def _advance(self, sequence: Sequence, num_tokens: int) -> None:
        assert sequence.slot is not None
        sequence.num_cached += num_tokens
        self._most_cached[sequence.slot] = max(self._most_cached[sequence.slot], sequence.num_cached)

    def _inputs(self, sequence: Sequence, start: int, end: int) -> tuple[Tensor, Tensor | None]:
        """Embeddings (T, C) and modality (T,) of prompt[start:end]; no modality when it is all text."""
        all_ids = sequence.request.token_ids
        token_ids = torch.tensor(all_ids[start:end], dtype=torch.int64)
        is_image = token_ids == IMAGE_ID
        embeddings = self.decoder.embed(token_ids[None].to(self.device))[0]
        image_tokens = sequence.request.image_tokens
        if image_tokens is None or not bool(is_image.any()):
            return embeddings, None
        first = sum(token_id == IMAGE_ID for token_id in all_ids[:start])
        is_image = is_image.to(self.device)
        new_tokens = image_tokens[first : first + int(is_image.sum())]  # (N, C)
        embeddings = embeddings.clone()
        embeddings[is_image] = new_tokens.to(embeddings)
        return embeddings, is_image.long() * IMAGE_MODALITY


def piece_tokens(decoder: CachedDecoder, *, keeps_prompts: bool) -> int:
    """How long the pieces of a prompt should be; see `ModelRunner`."""
    is_exact = getattr(decoder, "has_exact_rows", False)
    return BLOCK_LEN if keeps_prompts and not is_exact else PIECE_TOKENS


def one_slot(decoder: CachedDecoder) -> SlotCache:
    """The cache of one sequence, to see how large it is before more of it are made."""
    return _new_cache(decoder, 1)


@torch.inference_mode()
def _new_cache(decoder: CachedDecoder, num_slots: int) -> SlotCache:
    probe = decoder.embed(torch.zeros(1, 1, dtype=torch.int64, device=decoder.device))
    return decoder.new_cache(num_slots, dtype=probe.dtype, device=probe.device)
