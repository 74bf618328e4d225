"""ALiBi attention for training on packed rows, through torch's flex_attention.

Each row may hold several documents, and a document may hold several branches that share a prefix (many
questions about one picture): a token attends to earlier tokens of its own document that are in the shared
prefix (branch 0) or in its own branch. Distances are taken from `positions`, so a branch sees its prefix as
near as if it stood alone. `PackedAttend` is the fast path; `packed_bias` is the plain one that the parity
test compares with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

__all__ = ["PackedAttend", "PackedLayout", "packed_bias"]


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where each token of a packed row belongs; all (B, T) int32."""

    documents: Tensor
    branches: Tensor
    positions: Tensor

    @classmethod
    def of_documents(cls, documents: Tensor) -> PackedLayout:
        """Layout of rows of plain documents: one branch, positions as they stand."""
        positions = torch.arange(documents.shape[1], device=documents.device, dtype=torch.int32)
        return cls(documents, torch.zeros_like(documents), positions.expand_as(documents).contiguous())

    def block_mask(self, block_size: int = 128) -> BlockMask:
        """Which blocks of the score matrix need computing.

        Worked out from each block's first and last document (documents are numbered upwards along a row), so
        no mask of the size of the scores is ever made. A block that all may see is full, and skips the mask.
        """
        documents, branches = self.documents, self.branches

        def may_attend(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
            same_document = documents[b, q] == documents[b, kv]
            same_branch = (branches[b, kv] == 0) | (branches[b, kv] == branches[b, q])
            return (kv <= q) & same_document & same_branch

        first, last = documents[:, ::block_size], documents[:, block_size - 1 :: block_size]
        is_shared = (branches.unflatten(1, (-1, block_size)) == 0).all(dim=2)  # (B, blocks)
        num_blocks = first.shape[1]
        place = torch.arange(num_blocks, device=documents.device)
        is_before, is_same = place[:, None] > place[None, :], place[:, None] == place[None, :]
        meets = (last[:, None, :] >= first[:, :, None]) & (is_before | is_same)  # (B, q, kv)
        is_full = (first == last)[:, None, :] & (last[:, :, None] == first[:, None, :]) & is_before
        is_full = is_full & is_shared[:, None, :]
        partial, full = _listed(meets & ~is_full), _listed(is_full)
        return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=block_size, mask_mod=may_attend)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(B, q, kv) bool to how many blocks each query block needs (B, 1, q) and which (B, 1, q, kv), int32."""
    counts = blocks.sum(dim=2, dtype=torch.int32)
    order = blocks.to(torch.int8).argsort(dim=2, descending=True, stable=True).to(torch.int32)
    return counts[:, None].contiguous(), order[:, None].contiguous()


class PackedAttend:
    """Flex attention over one batch of packed rows.

    Args:
        slopes: (H,) float32 ALiBi slopes.
        positions: (B, T) int32.
        block_mask: from `PackedLayout.block_mask`.
    """

    def __init__(self, slopes: Tensor, positions: Tensor, block_mask: BlockMask) -> None:
        self.slopes, self.positions, self.block_mask = slopes, positions, block_mask

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, T, D) queries, keys and values to (B, H, T, D)."""
        slopes, positions = self.slopes, self.positions

        def add_alibi(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            return score - slopes[h] * (positions[b, q_idx] - positions[b, kv_idx])

        return flex_attention(q, k, v, score_mod=add_alibi, block_mask=self.block_mask)


def packed_bias(slopes: Tensor, layout: PackedLayout) -> Tensor:
    """The same attention as an additive bias, (B, H, T, T) float32: the oracle of `PackedAttend`."""
    documents, branches, positions = layout.documents, layout.branches, layout.positions
    row_len = documents.shape[1]
    causal = torch.ones(row_len, row_len, dtype=torch.bool, device=documents.device).tril()
    same_document = documents[:, :, None] == documents[:, None, :]
    same_branch = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    distance = (positions[:, :, None] - positions[:, None, :]).float()
    bias = -slopes[None, :, None, None] * distance[:, None]
    return bias.masked_fill(~(causal & same_document & same_branch)[:, None], float("-inf"))
