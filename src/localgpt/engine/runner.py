"""Runs the decoder for the engine: pieces of prompts, and batches of single tokens, over one static cache.

Shape legend: T new tokens, N image tokens, C width, B sequences, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Ids
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from localgpt.engine.exactness import RowPlan, is_same_in_company
from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.runner_protocol import CachedDecoder, SlotCache
from localgpt.engine.sequence import Sequence
from localgpt.engine.static_steps import DRAFT_TOKENS, SlotWork, StaticSteps
from localgpt.errors import ConfigError
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.models.decoder import Decoder
from localgpt.nn.kv_cache import KVCache

__all__ = ["CachedDecoder", "ModelRunner", "Rows", "SlotCache", "one_slot", "piece_tokens"]

IMAGE_MODALITY = 1
PIECE_TOKENS = 256
_MOST_ROWS: Final = 32  # beyond, attention takes what the weights are read less often
_NUM_TRIED: Final = 70  # positions of the prompt on which batches are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What follows 1 + D tokens of one sequence; the last two are None where the caller has to look."""

    logits: Tensor  # (1 + D, V)
    likeliest: Ids[int] | None = None  # of the tokens its request does not ban
    is_sound: Ids[bool] | None = None  # whether all logits are numbers


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
        is_static: make single tokens in fixed shapes; see `static_steps`. None: where graphs can be captured.

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
        is_static: bool | None = None,
    ) -> None:
        self.decoder = decoder
        self.prefill_tokens = prefill_tokens
        is_static = is_graph_worthy(decoder) if is_static is None else is_static
        self.cache = _new_cache(decoder, num_slots, is_static=is_static)
        self._prefixes = prefixes
        if prefixes is not None:
            self._check_prefixes()
        self.device, self.dtype = decoder.device, self.cache.dtype
        self._most_cached = [0] * num_slots
        self._num_filled = [0] * num_slots  # positions of the slot's sequence, or of the one before
        self.row_plan: RowPlan | None = None
        self._steps = self._new_steps(has_drafts=checks_drafts) if is_static else None
        if checks_drafts:
            self.row_plan = self._plan_rows()
            if self.row_plan is None and is_static:
                self._steps = self._new_steps(has_drafts=False)

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
        if self._steps is not None:
            self._steps.expect_change(sequence.slot)
        began_s = time.monotonic()
        if sequence.num_cached == 0 and self._prefixes is not None:
            assert isinstance(self.cache, KVCache)
            sequence.num_reused, known = self._prefixes.fill(sequence, self.cache)
            self.advance(sequence, sequence.num_reused)
            if known is not None:
                sequence.prefill_s += time.monotonic() - began_s
                return known
        start = sequence.num_cached
        end = min(start + self.prefill_tokens, sequence.num_prompt_tokens)
        embeddings, modality = self._inputs(sequence, start, end)
        logits = self.decoder.prefill(embeddings, modality, self.cache, slot=sequence.slot, start=start)
        self.advance(sequence, end - start)
        sequence.prefill_s += time.monotonic() - began_s
        return logits if end == sequence.num_prompt_tokens else None

    def keep_prompt(self, sequence: Sequence, slot: int, logits: Tensor) -> None:
        """Keep a prompt that was read to its end, into a slot, and the logits after it, for those like it."""
        if self._prefixes is not None:
            assert isinstance(self.cache, KVCache)
            self._prefixes.publish(sequence, self.cache, slot, logits)

    def decode(self, sequences: Many[Sequence], drafts: Many[Ids[int]] | None = None) -> list[Rows]:
        """Read the latest token of each sequence, and the first tokens of a draft of what comes next.

        Args:
            sequences: those to go on with.
            drafts: of each, tokens that may follow its latest one; None for none.

        Returns:
            Of each sequence what follows its latest token, and what follows each of D drafted ones. `advance`
            tells how many of them count.
        """
        return self._compute(
            [
                SlotWork(
                    slot=_slot_of(sequence),
                    position=sequence.num_cached,
                    token_ids=(sequence.last_token_id, *draft),
                    banned=sequence.request.banned,
                    is_chain=sequence.is_chain and not sequence.draft.is_left,
                )
                for sequence, draft in zip(sequences, drafts or [()] * len(sequences), strict=True)
            ]
        )

    def _compute(self, works: Many[SlotWork]) -> list[Rows]:
        """The next tokens of some slots."""
        if self._steps is not None:
            return [
                Rows(logits=result.logits, likeliest=result.likeliest, is_sound=result.is_sound)
                for result in self._steps.run(works, self._num_filled)
            ]
        rows = [
            (token_id, work.slot, work.position + number)
            for work in works
            for number, token_id in enumerate(work.token_ids)
        ]
        most = len(rows) if self.row_plan is None else self.row_plan.most_rows
        parts = [self._decode_rows(rows[start : start + most]) for start in range(0, len(rows), most)]
        logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        return [Rows(logits=part) for part in torch.split(logits, [len(work.token_ids) for work in works])]

    @torch.inference_mode()
    def _decode_rows(self, rows: list[tuple[int, int, int]]) -> Tensor:
        """(B, V) logits after B tokens at (slot, position) each."""
        num_rows = len(rows)
        if self.row_plan is not None and self.row_plan.is_fixed:  # the last one again: writes the same again
            rows = rows + [rows[-1]] * (self.row_plan.most_rows - num_rows)
        token_ids, slots, positions = (torch.tensor(column) for column in zip(*rows, strict=True))
        logits = self.decoder.decode_step(token_ids.to(self.device), self.cache, slots, positions)
        return logits[:num_rows]

    def wipe(self, sequence: Sequence) -> None:
        """Leave nothing in a sequence's slot that could spoil who gets it next."""
        if self._steps is not None and sequence.slot is not None:
            self._steps.wipe(sequence.slot)

    @torch.inference_mode()
    def _plan_rows(self) -> RowPlan | None:
        """In which batches drafts can be checked; see `exactness`. Writes to the first slot."""
        if getattr(self.decoder, "has_exact_rows", False):
            return RowPlan(most_rows=_MOST_ROWS)
        num_before = min(_NUM_TRIED, self.context_len - DRAFT_TOKENS)
        if num_before < 1:
            return None
        vocab_size = self.decoder.config.vocab_size
        spread = vocab_size // (num_before + DRAFT_TOKENS) or 1
        token_ids = [number * spread % vocab_size for number in range(num_before + DRAFT_TOKENS)]
        embeddings = self.decoder.embed(torch.tensor([token_ids[:num_before]], device=self.device))[0]
        self.decoder.prefill(embeddings, None, self.cache, slot=0, start=0)
        tried = [RowPlan(most_rows=DRAFT_TOKENS, is_fixed=is_fixed) for is_fixed in (False, True)]
        if self._steps is not None:
            tried = [RowPlan(most_rows=DRAFT_TOKENS, is_fixed=True, is_each=True)]

        def compute(token_ids: Ids[int], position: int) -> Tensor:
            return self._compute([SlotWork(slot=0, position=position, token_ids=token_ids)])[0].logits

        for self.row_plan in tried:
            if is_same_in_company(compute, token_ids[num_before:], num_before):
                return self.row_plan
        return None

    def _new_steps(self, *, has_drafts: bool) -> StaticSteps:
        if not isinstance(self.decoder, Decoder) or not isinstance(self.cache, KVCache):
            raise ConfigError(
                f"a {type(self.decoder).__name__} has no fixed shapes, expected a Decoder; leave is_static"
            )
        return StaticSteps(self.decoder, self.cache, has_drafts=has_drafts)

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
        self._num_filled[sequence.slot] = sequence.num_cached
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


def is_graph_worthy(decoder: CachedDecoder) -> bool:
    """Whether single tokens are launched as graphs: CUDA, and ROCm, which torch calls the same."""
    return isinstance(decoder, Decoder) and decoder.device.type == "cuda"


def one_slot(decoder: CachedDecoder) -> SlotCache:
    """The cache of one sequence, to see how large it is before more of it are made."""
    return _new_cache(decoder, 1, is_static=is_graph_worthy(decoder))


@torch.inference_mode()
def _new_cache(decoder: CachedDecoder, num_slots: int, *, is_static: bool) -> SlotCache:
    probe = decoder.embed(torch.zeros(1, 1, dtype=torch.int64, device=decoder.device))
    if is_static and isinstance(decoder, Decoder):
        return decoder.new_cache(num_slots, dtype=probe.dtype, device=probe.device, num_spare=DRAFT_TOKENS)
    return decoder.new_cache(num_slots, dtype=probe.dtype, device=probe.device)


def _slot_of(sequence: Sequence) -> int:
    assert sequence.slot is not None
    return sequence.slot
