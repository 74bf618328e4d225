"""Single tokens in fixed shapes, on CUDA and ROCm as graphs: captured once, replayed for a whole token.

Notable:
- Row b is slot b, so nothing is gathered. A step runs the first 1, 2, 4, ... slots, as many as hold the busy
  ones, over the first 256, 512, 1,024, ... positions. Slots in between that have nothing to do are computed
  too; what they write lies behind what they hold and is overwritten before it is ever read.
- Where all that are busy go on with the likeliest token, the next step is launched before anybody has looked
  at this one's, so that the card computes while text is written. It is computed in vain when an answer ends,
  which is as harmless as a slot that waits.
- The likeliest token that is not banned is found in the same graph, and so is whether all numbers are sound.
  Tokens come from pinned memory and the answer goes there, so a greedy token costs one launch.
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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.compute.fused.steps import MAX_SLOTS, FusedSteps, fused_steps
from localgpt.compute.graphs import capture_graph
from localgpt.models.decoder import Decoder
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.launching import may_overlap
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
    is_chain: bool = False  # goes on with `likeliest`, whatever it is, and looks at no logits


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResult:
    """What came out for each token of one slot; the logits are overwritten by the next step.

    A chain has begun that step already.
    """

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

    host: Tensor  # (B, T + 1) int64, pinned: tokens, and the position of the first
    heard: Tensor  # (B, T, 2) int64, pinned: the likeliest token, and whether all is sound
    inputs: Tensor  # of `host`, on the device
    rows: Any  # `host` for numpy, which fills it without launching anything
    told: Any  # the same of `heard`
    logits: Tensor | None = None  # (B, T, V)
    graph: torch.cuda.CUDAGraph | None = None


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A step that was begun before it was asked for."""

    shape: _Shape
    works: Sequence[SlotWork]  # none once it is in vain: it may still run, and is never what is asked for

    def is_of(self, shape: _Shape, works: Sequence[SlotWork]) -> bool:
        """Whether it is the one that is asked for."""
        return (
            shape is self.shape
            and len(works) == len(self.works)
            and all(
                one.slot == other.slot
                and one.position == other.position
                and tuple(one.token_ids) == tuple(other.token_ids)
                and one.banned is other.banned
                for one, other in zip(works, self.works, strict=True)
            )
        )


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
        self._ahead: _Ahead | None = None
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

    def run(self, works: Sequence[SlotWork], filled: Sequence[int]) -> list[SlotResult]:
        """Compute the next tokens of some slots.

        Args:
            works: at least one, each of another slot.
            filled: of every slot, how many positions it holds.
        """
        size = self._shape_for(works)
        ahead, self._ahead = self._ahead, None
        shape = self._shapes.get(size)
        if ahead is None or shape is None or not ahead.is_of(shape, works):
            if ahead is not None:  # it reads what is filled in now
                self._synchronize()
            shape = self._launch(size, works, filled)
        results = self._results(shape, works)
        if shape.graph is not None and all(work.is_chain for work in works):
            self._go_ahead(shape, size, works, results, filled)
        return results

    def expect_change(self, slot: int) -> None:
        """What a slot holds is about to be written by others: a step of it that was begun is in vain."""
        if self._ahead is not None and any(work.slot == slot for work in self._ahead.works):
            self._ahead = replace(self._ahead, works=())

    @torch.inference_mode()
    def wipe(self, slot: int) -> None:
        """Forget what a slot holds: numbers that are not sound would spoil what is masked out."""
        self.expect_change(slot)
        self._cache.k[:, slot].zero_()
        self._cache.v[:, slot].zero_()

    @torch.inference_mode()
    def _launch(self, size: tuple[int, int], works: Sequence[SlotWork], filled: Sequence[int]) -> _Shape:
        """Begin a step of so many slots and positions."""
        num_slots, length = size
        shape = self._shapes.get(size)
        is_new = shape is None
        if shape is None:
            shape = self._shapes[size] = self._new_shape(num_slots)
        shape.rows[:, :-1] = 0
        shape.rows[:, -1] = filled[:num_slots]
        for work in works:
            shape.rows[work.slot, : len(work.token_ids)] = work.token_ids
            shape.rows[work.slot, -1] = work.position
            self._ban(work)
        if self._captures and is_new:
            self._capture(shape, length)
        if not self._replay(shape):
            self._compute(shape, length)
        return shape

    def _go_ahead(
        self,
        shape: _Shape,
        size: tuple[int, int],
        works: Sequence[SlotWork],
        results: Sequence[SlotResult],
        filled: Sequence[int],
    ) -> None:
        """Begin the step that follows, if it has the same shape."""
        if not all(result.is_sound[-1] for result in results):
            return
        follow = [
            replace(work, position=work.position + 1, token_ids=(result.likeliest[-1],))
            for work, result in zip(works, results, strict=True)
        ]
        end = self.num_each + max(work.position for work in follow)  # of what the step writes
        if end <= self._cache.num_positions and self._shape_for(follow) == size:
            self._launch(size, follow, filled)
            self._ahead = _Ahead(shape=shape, works=follow)

    def _synchronize(self) -> None:
        if self._decoder.device.type == "cuda":
            torch.cuda.current_stream(self._decoder.device).synchronize()

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
        inputs = torch.zeros(size, dtype=torch.int64, device=device)
        return _Shape(host=host, heard=heard, inputs=inputs, rows=host.numpy(), told=heard.numpy())

    def _ban(self, work: SlotWork) -> None:
        if work.banned is self._banned_of[work.slot]:
            return
        if work.banned is None:
            self._banned[work.slot] = False
        else:
            self._banned[work.slot] = work.banned
        self._banned_of[work.slot] = work.banned

    def _compute(self, shape: _Shape, length: int) -> None:
        """Compute a step from `host` to `heard`."""
        if self._fused is not None and len(shape.host) <= MAX_SLOTS:
            token_ids, positions = shape.host[:, :-1], shape.host[:, -1:]
            try:
                shape.logits = self._fused.logits(self._decoder, self._cache, token_ids, positions, length)
                self._fused.told(shape.logits, self._banned[: len(token_ids)], out=shape.heard)
                return
            except Exception as error:
                if may_overlap():  # it is tried again without that
                    raise
                logger.warning(
                    "answers are slower from here on: the decoder's fused kernels failed (%s)", error
                )
                self._fused = None
        shape.inputs.copy_(shape.host, non_blocking=True)
        token_ids, positions = shape.inputs[:, :-1], shape.inputs[:, -1:]
        if self.num_each > 1:
            positions = positions + torch.arange(self.num_each, device=positions.device)
        shape.logits = self._logits(self._decoder, self._cache, token_ids, positions, length)
        told = _told(shape.logits, self._banned[: len(token_ids)])
        shape.heard.copy_(told, non_blocking=True)

    def _capture(self, shape: _Shape, length: int) -> None:
        """Capture a step, unless that cannot be. Writing a position twice, to warm up, is harmless."""
        compute = partial(self._compute, shape, length)
        try:
            captured = capture_graph(compute, self._decoder.device, pool=self._pool)
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
        assert shape.logits is not None
        logits = [shape.logits[work.slot, : len(work.token_ids)] for work in works]
        self._synchronize()
        results = []
        for work, made in zip(works, logits, strict=True):
            told = shape.told[work.slot, : len(work.token_ids)].tolist()
            likeliest, is_sound = [token_id for token_id, _ in told], [bool(sound) for _, sound in told]
            results.append(SlotResult(logits=made, likeliest=likeliest, is_sound=is_sound))
        return results

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
