"""How many positions a decoder computes at once without changing a bit of any of them.

A draft of an answer is checked many tokens at a time, and tokens are chosen on numbers that may lie as close
to each other as they like. So a draft is only of use where a row of a batch comes out the same, to the last
bit, whatever runs beside it. Four cases:

* The decoder says so of itself (`CachedDecoder.has_exact_rows`): sums of whole numbers.
* It is so in batches of up to eight rows, as kernels are that give each row to threads of its own.
* It is so in batches of one fixed number of rows. Which kernel runs, and in which order it adds, is decided
  by shapes and not by values; so every batch is filled up to that number, and tokens are computed alike with
  drafts and without.
* Neither: drafts are not used, and whoever asked for them is told.

The second and third case are tried out, on the decoder itself, before the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RowPlan", "is_same_in_company"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """In which batches tokens are computed."""

    most_rows: int
    is_fixed: bool = False  # each batch is filled up to that number
    is_each: bool = False  # it is the number of each slot, not of all together

    def room_for_draft(self, num_sequences: int, num_drafted: int) -> int:
        """How many tokens of its draft each drafted sequence may have in one step."""
        if self.is_each:
            return self.most_rows - 1
        return (self.most_rows - num_sequences) // max(1, num_drafted)


def is_same_in_company(
    compute: Callable[[Sequence[int], int], Tensor], token_ids: Sequence[int], position: int
) -> bool:
    """Whether tokens computed one by one have the bits of the same tokens computed together, in any number.

    Args:
        compute: (T, V) logits after T tokens from a position on, of a sequence that holds all before it.
        token_ids: as many as are computed together.
        position: of the first.
    """
    alone = [compute([token_id], position + number)[0].clone() for number, token_id in enumerate(token_ids)]
    expected = torch.stack(alone)
    return all(
        torch.equal(expected[:number], compute(token_ids[:number], position))
        for number in range(len(token_ids), 1, -1)
    )
