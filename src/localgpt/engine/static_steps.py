"""Single tokens in fixed shapes, on CUDA and ROCm as graphs: captured once, replayed for a whole token.

Notable:
- Row b is slot b, so nothing is gathered. A step runs the first 1, 2, 4, ... slots, as many as hold the busy
  ones, over the first 256, 512, 1,024, ... positions. Slots in between that have nothing to do are computed
  too; what they write lies behind what they hold and is overwritten before it is ever read.
- The likeliest token that is not banned is found in the same graph, and so is whether all numbers are sound:
  a greedy token costs one launch and one copy of a few bytes.
- With drafts a step has one shape only, of several tokens a slot over all slots and positions, so that a
  token comes out the same to the last bit with a draft and without (see `exactness`).
- Single tokens on a card are computed by few kernels of our own (`compute.fused`), where these are as good as
  the plain path; drafts, and more slots than those kernels take, are left to it.
- The shapes run without a graph as well, on any device: the plain path that tests compare, and the way out
  where a graph cannot be captured or replayed.

Shape legend: B slots, T tokens of each, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.compute.fused.steps import MAX_SLOTS, FusedSteps, fused_steps
from localgpt.compute.graphs import capture_graph
from localgpt.models.decoder import Decoder
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.static_attention import StaticAttend

__all__ = ["DRAFT_TOKENS", "SlotResult", "SlotWork", "StaticSteps", "static_logits"]

logger = logging.getLogger(__name__)
DRAFT_TOKENS: Final = 8  # of each slot, where there may be drafts; the cache has as many spare positions
_SHORTEST: Final = 256  # positions

Logits = Callable[[Decoder, KVCache, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotWork:
    """The next tokens of one slot, 1 to T."""

    slot: int
    position: int  # of the first
    token_ids: Sequence[int]
    banned: Tensor | None = None  # (V,) bool, left out of `likeliest`


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResult:
    """What came out for each token of one slot. The logits are overwritten by the next step."""

    logits: Tensor  # (n, V) float32
    likeliest: list[int]
    is_sound: list[bool]  # no infinity, no NaN


def static_logits(
    decoder: Decoder, cache: KVCache, token_ids: Tensor, positions: Tensor, length: int
) -> Tensor:
    """(B, T, V) float32 logits after tokens (B, T) at (B, T) of the first B slots; see `StaticAttend`."""
    attend = StaticAttend(decoder.alibi, cache, positions, length)
    return decoder.logits(decoder.hidden(decoder.embed(token_ids), attend=attend))


@dataclass(slots=True)
class _Shape:
    """Buffers of one shape, and its graph once it is captured."""

    inputs: Tensor  # (B, T + 1) int64: tokens, and the position of the first
    logits: Tensor | None = None  # (B, T, V)
    told: Tensor | None = None  # (B, T, 2) int64: likeliest, and whether all is sound
    graph: torch.cuda.CUDAGraph | None = None
    host: Tensor = field(default_factory=lambda: torch.empty(0))  # inputs, before they are copied
    heard: Tensor = field(default_factory=lambda: torch.empty(0))  # what was told, once it is copied


class StaticSteps:
    """Runs steps of a decoder over a cache.

    Args:
        decoder: in eval mode.
        cache: its own, with at least T spare positions; it is set to zero.
        has_drafts: one shape, T tokens a slot; otherwise one token, and the smallest shape that does.
        captures: replay graphs; None where the device can.
        logits: computes a step; None for `static_logits`, or on a card the fused kernels.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        *,
        has_drafts: bool = False,
        captures: bool | None = None,
        logits: Logits | None = None,
    ) -> None:
        self.num_each = DRAFT_TOKENS if has_drafts else 1
        self._decoder, self._cache = decoder, cache
        self._is_fixed = has_drafts
        self._captures = decoder.device.type == "cuda" if captures is None else captures
        self._logits = logits or static_logits
        self._fused: FusedSteps | None = None
        if logits is None and not has_drafts and decoder.device.type == "cuda":
            self._fused = fused_steps(decoder, cache, static_logits)
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._pool: Any = None  # memory that all graphs share
        self._banned = torch.zeros(
            cache.num_slots, decoder.config.vocab_size, dtype=torch.bool, device=decoder.device
        )
        self._banned_of: list[Tensor | None] = [None] * cache.num_slots
        for slot in range(cache.num_slots):
            self.wipe(slot)

    @property
    def is_fused(self) -> bool:
        """Whether single tokens are computed by the fused kernels."""
        return self._fused is not None

    @property
    def num_shapes(self) -> int:
        """How many were used so far."""
        return len(self._shapes)

    @torch.inference_mode()
    def run(self, works: Sequence[SlotWork], filled: Sequence[int]) -> list[SlotResult]:
        """Compute the next tokens of some slots.

        Args:
            works: at least one, each of another slot.
            filled: of every slot, how many positions it holds.
        """
        num_slots, length = self._shape_for(works)
        shape = self._shapes.get((num_slots, length))
        is_new = shape is None
        if shape is None:
            shape = self._shapes[num_slots, length] = self._new_shape(num_slots)
        rows = shape.host.numpy()  # the same memory, filled without launching anything
        rows[:, :-1] = 0
        rows[:, -1] = filled[:num_slots]
        for work in works:
            rows[work.slot, : len(work.token_ids)] = work.token_ids
            rows[work.slot, -1] = work.position
            self._ban(work)
        shape.inputs.copy_(shape.host, non_blocking=True)
        if self._captures and is_new:
            self._capture(shape, length)
        if not self._replay(shape):
            self._compute(shape, length)
        return self._results(shape, works)

    @torch.inference_mode()
    def wipe(self, slot: int) -> None:
        """Forget what a slot holds: numbers that are not sound would spoil what is masked out."""
        self._cache.k[:, slot].zero_()
        self._cache.v[:, slot].zero_()

    def _shape_for(self, works: Sequence[SlotWork]) -> tuple[int, int]:
        """Slots and positions of the step."""
        num_positions, num_slots = self._cache.num_positions, self._cache.num_slots
        if self._is_fixed:
            return num_slots, num_positions
        least_slots = 1 + max(work.slot for work in works)
        least = 1 + max(work.position for work in works)
        length = _SHORTEST
        while length < least:
            length *= 2
        return min(1 << (least_slots - 1).bit_length(), num_slots), min(length, num_positions)

    def _new_shape(self, num_slots: int) -> _Shape:
        size = num_slots, self.num_each + 1
        device = self._decoder.device
        host, heard = (
            torch.zeros(shape, dtype=torch.int64, pin_memory=device.type == "cuda")
            for shape in (size, (num_slots, self.num_each, 2))
        )
        return _Shape(inputs=torch.zeros(size, dtype=torch.int64, device=device), host=host, heard=heard)

    def _ban(self, work: SlotWork) -> None:
        if work.banned is self._banned_of[work.slot]:
            return
        if work.banned is None:
            self._banned[work.slot] = False
        else:
            self._banned[work.slot] = work.banned
        self._banned_of[work.slot] = work.banned

    def _compute(self, shape: _Shape, length: int) -> None:
        token_ids, positions = shape.inputs[:, :-1], shape.inputs[:, -1:]
        if self.num_each > 1:
            positions = positions + torch.arange(self.num_each, device=positions.device)
        if self._fused is not None and len(token_ids) <= MAX_SLOTS:
            try:
                shape.logits = self._fused.logits(self._decoder, self._cache, token_ids, positions, length)
                shape.told = self._fused.told(shape.logits, self._banned[: len(token_ids)])
                return
            except Exception as error:  # noqa: BLE001 - whatever a compiler and a driver raise
                logger.warning(
                    "answers are slower from here on: the decoder's fused kernels failed (%s)", error
                )
                self._fused = None
        logits = self._logits(self._decoder, self._cache, token_ids, positions, length)
        shape.logits, shape.told = logits, _told(logits, self._banned[: len(logits)])

    def _capture(self, shape: _Shape, length: int) -> None:
        """Capture a step, unless that cannot be. Writing a position twice, to warm up, is harmless."""
        try:
            captured = capture_graph(
                partial(self._compute, shape, length), self._decoder.device, pool=self._pool
            )
        except RuntimeError as error:
            self._go_without(error)
            return
        shape.graph = captured.graph
        self._pool = self._pool or captured.graph.pool()

    def _replay(self, shape: _Shape) -> bool:
        """Compute a step by its graph; False where there is none, or it fails."""
        if shape.graph is None:
            return False
        try:
            shape.graph.replay()
        except RuntimeError as error:
            self._go_without(error)
            return False
        return True

    def _results(self, shape: _Shape, works: Sequence[SlotWork]) -> list[SlotResult]:
        """What came out, as soon as it has."""
        assert shape.logits is not None and shape.told is not None
        shape.heard.copy_(shape.told, non_blocking=True)
        logits = [shape.logits[work.slot, : len(work.token_ids)] for work in works]
        if shape.told.is_cuda:
            torch.cuda.current_stream(shape.told.device).synchronize()
        rows = [shape.heard[work.slot, : len(work.token_ids)].tolist() for work in works]
        return [
            SlotResult(
                logits=made,
                likeliest=[token_id for token_id, _ in told],
                is_sound=[bool(is_sound) for _, is_sound in told],
            )
            for made, told in zip(logits, rows, strict=True)
        ]

    def _go_without(self, error: RuntimeError) -> None:
        logger.warning("single tokens are computed without a graph, and slower (%s)", error)
        self._captures = False
        for shape in self._shapes.values():
            shape.graph = None


def _told(logits: Tensor, banned: Tensor) -> Tensor:
    """(B, T, 2) int64 of each token's logits: the likeliest that is not banned, and whether all are sound."""
    allowed = logits.masked_fill(banned[:, None], float("-inf"))
    is_sound = torch.isfinite(logits.sum(dim=-1))  # of what is no number, a sum is none
    return torch.stack((allowed.argmax(dim=-1), is_sound.long()), dim=-1)
