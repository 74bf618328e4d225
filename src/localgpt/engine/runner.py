"""Runs the decoder for the engine: pieces of prompts, and batches of single tokens, over one static cache.

Shape legend: T new tokens, N image tokens, C width, B sequences, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Ids
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from localgpt.engine.exactness import RowPlan, plan_rows
from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.runner_protocol import CachedDecoder, SlotCache
from localgpt.engine.sequence import Sequence
from localgpt.errors import ConfigError
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.nn.kv_cache import KVCache

__all__ = ["CachedDecoder", "ModelRunner", "SlotCache", "one_slot", "piece_tokens"]

IMAGE_MODALITY = 1
PIECE_TOKENS = 256


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
        checks_drafts: find out in which batches drafts can be checked, and keep to them; see `exactness`.

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
        checks_drafts: bool = False,
    ) -> None:
        self.decoder = decoder
        self.prefill_tokens = prefill_tokens
        self.cache = _new_cache(decoder, num_slots)
        self._prefixes = prefixes
        if prefixes is not None:
            self._check_prefixes()
        self.device, self.dtype = decoder.device, self.cache.dtype
        self._most_cached = [0] * num_slots
        self.row_plan: RowPlan | None = plan_rows(decoder, self.cache) if checks_drafts else None

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
            self.advance(sequence, sequence.num_reused)
        start = sequence.num_cached
        end = min(start + self.prefill_tokens, sequence.num_prompt_tokens)
        embeddings, modality = self._inputs(sequence, start, end)
        logits = self.decoder.prefill(embeddings, modality, self.cache, slot=sequence.slot, start=start)
        self.advance(sequence, end - start)
        sequence.prefill_s += time.monotonic() - began_s
        return logits if end == sequence.num_prompt_tokens else None

    def keep_prompt(self, sequence: Sequence) -> None:
        """Keep a prompt that was read to its end for others that begin with it."""
        if self._prefixes is not None:
            assert isinstance(self.cache, KVCache)
            self._prefixes.publish(sequence, self.cache)

    @torch.inference_mode()
    def decode(self, sequences: Many[Sequence], drafts: Many[Ids[int]] | None = None) -> list[Tensor]:
        """Read the latest token of each sequence, and the first tokens of a draft of what comes next.

        Args:
            sequences: those to go on with.
            drafts: of each, tokens that may follow its latest one; None for none.

        Returns:
            Of each sequence (1 + D, V) logits: of its next token, and of that after each of D drafted ones.
            `advance` tells how many of them count.
        """
        drafts = drafts or [()] * len(sequences)
        rows = [
            (token_id, sequence.slot, sequence.num_cached + number)
            for sequence, draft in zip(sequences, drafts, strict=True)
            for number, token_id in enumerate((sequence.last_token_id, *draft))
        ]
        most = len(rows) if self.row_plan is None else self.row_plan.most_rows
        parts = [self._decode_rows(rows[start : start + most]) for start in range(0, len(rows), most)]
        logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        return list(torch.split(logits, [1 + len(draft) for draft in drafts]))

    def _decode_rows(self, rows: list[tuple[int, int | None, int]]) -> Tensor:
        """(B, V) logits after B tokens at (slot, position) each."""
        num_rows = len(rows)
        if self.row_plan is not None and self.row_plan.is_fixed:  # the last one again: writes the same again
            rows = rows + [rows[-1]] * (self.row_plan.most_rows - num_rows)
        token_ids, slots, positions = (torch.tensor(column) for column in zip(*rows, strict=True))
        logits = self.decoder.decode_step(token_ids.to(self.device), self.cache, slots, positions)
        return logits[:num_rows]

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

    def advance(self, sequence: Sequence, num_tokens: int) -> None:
        """Count so many more positions of a sequence as filled."""
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
