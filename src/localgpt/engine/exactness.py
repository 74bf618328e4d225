"""How many positions a decoder computes at once without changing a bit of any of them.

A draft of an answer is checked many tokens at a time, and tokens are chosen on numbers that may lie as close
to each other as they like. So a draft is only of use where a row of a batch comes out the same, to the last
bit, whatever runs beside it. Three cases:

* The decoder says so of itself (`CachedDecoder.has_exact_rows`): sums of whole numbers.
* It is so in batches of one fixed number of rows. Which kernel runs, and in which order it adds, is decided
  by shapes and not by values; so every batch is filled up to that number, and tokens are computed alike with
  drafts and without.
* Neither: drafts are not used, and whoever asked for them is told.

The second case is tried out, on the decoder itself, before the first request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from localgpt.engine.runner_protocol import CachedDecoder, SlotCache

__all__ = ["RowPlan", "plan_rows"]

_MOST_ROWS: Final = 32  # beyond, attention takes what the weights are read less often
_FIXED_ROWS: Final = 8
_NUM_BEFORE: Final = 70  # positions of the prompt that is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """In which batches tokens are computed."""

    most_rows: int
    is_fixed: bool = False  # each batch is filled up to that number


def plan_rows(decoder: CachedDecoder, cache: SlotCache) -> RowPlan | None:
    """The batches in which drafts change nothing; None where there are none.

    Writes to the cache's first slot, so nothing may run yet.
    """
    if getattr(decoder, "has_exact_rows", False):
        return RowPlan(most_rows=_MOST_ROWS)
    return (
        RowPlan(most_rows=_FIXED_ROWS, is_fixed=True) if _is_exact_in_fixed_batches(decoder, cache) else None
    )


@torch.inference_mode()
def _is_exact_in_fixed_batches(decoder: CachedDecoder, cache: SlotCache) -> bool:
    """Whether each row of a full batch comes out as in a batch that holds it alone, again and again."""
    num_before = min(_NUM_BEFORE, cache.context_len - _FIXED_ROWS)
    if num_before < 1:
        return False
    spread = decoder.config.vocab_size // (num_before + _FIXED_ROWS) or 1
    token_ids = torch.arange(num_before + _FIXED_ROWS) * spread % decoder.config.vocab_size
    embeddings = decoder.embed(token_ids[None, :num_before].to(decoder.device))[0]
    decoder.prefill(embeddings, None, cache, slot=0, start=0)
    positions = torch.arange(num_before, num_before + _FIXED_ROWS)

    def run(rows: Tensor) -> Tensor:
        return decoder.decode_step(
            token_ids[rows].to(decoder.device), cache, torch.zeros(_FIXED_ROWS, dtype=torch.int64), rows
        )

    alone = [run(position.repeat(_FIXED_ROWS)) for position in positions]
    is_same_everywhere = all(bool((logits == logits[0]).all()) for logits in alone)
    together = run(positions)
    return is_same_everywhere and torch.equal(together, torch.stack([logits[0] for logits in alone]))
