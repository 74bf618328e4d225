"""Who runs in the next step: first come first served over a fixed number of cache slots.

Notable: a step reads at most one piece of one prompt and then makes one token for every running sequence,
so a long prompt delays the others by one piece, not by its whole length. Slots are static, so nothing is
ever preempted: a sequence that has a slot can fill its context.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from localgpt.engine.sequence import Sequence, SequenceState
from localgpt.errors import CapacityError

__all__ = ["Batch", "Scheduler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The work of one step."""

    prefill: Sequence | None
    decode: tuple[Sequence, ...]


class Scheduler:
    """Waiting queue and running set.

    Args:
        num_slots: sequences that run at once (`max_batch_size`).
        max_waiting: sequences that may wait; one more is refused.
    """

    def __init__(self, num_slots: int, *, max_waiting: int = 256) -> None:
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in order of arrival
        self._free_slots = list(range(num_slots))
        self._max_waiting = max_waiting

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def unfinished(self) -> tuple[Sequence, ...]:
        """All sequences, running ones first."""
        return (*self._running, *self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            CapacityError: the queue is full.
        """
        if len(self._waiting) >= self._max_waiting:
            raise CapacityError(
                f"{len(self._waiting)} requests are already waiting, expected at most {self._max_waiting}; "
                "try again in a moment"
            )
        self._waiting.append(sequence)

    def schedule(self) -> Batch:
        """Give free slots to those who wait longest, and name the next step's work."""
        while self._waiting and self._free_slots:
            sequence = self._waiting.popleft()
            sequence.slot = heapq.heappop(self._free_slots)  # the first, so that the busy ones are close by
            sequence.state = SequenceState.PREFILL
            self._running.append(sequence)
        prefill = next((s for s in self._running if s.state is SequenceState.PREFILL), None)
        decode = tuple(s for s in self._running if s.state is SequenceState.DECODE)
        return Batch(prefill=prefill, decode=decode)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out and free its slot; a second call does nothing."""
        if sequence.state is SequenceState.FINISHED:
            return
        if sequence.slot is None:
            self._waiting.remove(sequence)
        else:
            self._running.remove(sequence)
            heapq.heappush(self._free_slots, sequence.slot)
        sequence.slot = None
        sequence.state = SequenceState.FINISHED
