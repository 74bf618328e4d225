"""The memory ledger of one device: who holds what, who may start, and what has to make room.

Use::

    ledger.hold("decoder", kind="weights", pieces=holder.pieces, holder=holder)
    async with ledger.reserve(need) as reservation:
        ...  # work of reservation.size; its peak is measured when it is alone

Who waits is served in the order of arrival. Somebody behind may go first when that takes nothing away from
the device and it fits beside what is reserved, but at most `MAX_PASSED` times past the same one: nobody
starves, and work for what is loaded already need not wait for a swap.

Threads and event loops: every method may be called from any thread, and `reserve` from any event loop; one
lock guards the state, and it is never held while something is moved or awaited. Moving is done by one thread
of the ledger's own, one plan after another; meanwhile nobody else is let in. Cancelling a `reserve` at any
point leaves nothing reserved; a plan that is being carried out is carried out to its end.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from localgpt.compute.memory.device import Device, Holder
from localgpt.compute.memory.peaks import PeakBook, PeakKey
from localgpt.compute.memory.planning import Plan, Step, TooLarge, Wait, make_plan
from localgpt.compute.memory.state import Held, Kind, Need, Piece, Resident, Size, Speeds, State
from localgpt.compute.memory.waiting import Reservation, Waiter, Waiting
from localgpt.errors import BackendError, CancelledRequestError, CapacityError, ConfigError
from localgpt.units import format_bytes

__all__ = ["MAX_PASSED", "Budget", "Ledger"]

logger = logging.getLogger(__name__)
MAX_PASSED: Final = 8  # times that others may go first
POLL_S: Final = 0.25  # how often memory that other programs took is looked at again
PATIENCE_S: Final = 5.0  # how long it is waited for, where nothing of our own could make room
_KEPT: Final = 20  # last plans and notices that are shown
_SPEED_SHARE: Final = 0.3  # of the latest move in the measured speed
_LEAST_TIMED_BYTES: Final = 1 << 20  # smaller moves tell nothing about speed
_LOOK_AHEAD: Final = 32  # of those who wait, who may be let in past the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bytes that may be used on the device, and of pinned memory beside it."""

    nbytes: int
    host_bytes: int = 0


class Ledger:
    """Shares out one device's memory.

    Args:
        device: measured and acted on.
        budget: what may be used.
        peaks: what work took before.
        clock: seconds, never going back.
        mover: runs the moves, one at a time; None for a thread that starts with the first one.
    """

    def __init__(
        self,
        device: Device,
        budget: Budget,
        *,
        peaks: PeakBook | None = None,
        clock: Callable[[], float] = time.monotonic,
        mover: Executor | None = None,
    ) -> None:
        self.device, self.budget = device, budget
        self.peaks = PeakBook() if peaks is None else peaks
        self._clock = clock
        self._lock = threading.RLock()
        self._residents: dict[str, Resident] = {}
        self._holders: dict[str, Holder | None] = {}
        self._held: dict[int, Reservation] = {}
        self._waiting: list[Waiter] = []
        self._ids = itertools.count(1)
        self._speeds = Speeds()
        self._mover = mover
        self._is_moving = False
        self._is_closed = False
        self._plans: deque[Plan] = deque(maxlen=_KEPT)
        self._notices: deque[str] = deque(maxlen=_KEPT)

    # What is held.

    def hold(
        self,
        name: str,
        *,
        kind: Kind = "weights",
        pieces: Iterable[Piece],
        holder: Holder | None = None,
        remake_s: float = 0.0,
        is_partial: bool = False,
    ) -> None:
        """Register something, or say that it has changed; without a holder it stays where it is.

        Args:
            name: unique on this device.
            kind: whether it is moved or dropped.
            pieces: its parts, and where they are.
            holder: moves or drops them.
            remake_s: of a cache, how long it took to make.
            is_partial: its pieces may be streamed while it works.
        """
        with self._lock:
            self._residents[name] = Resident(
                name=name,
                kind=kind,
                pieces=tuple(pieces),
                last_used_s=self._clock(),
                remake_s=remake_s,
                is_fixed=holder is None,
                is_partial=is_partial,
            )
            self._holders[name] = holder
        self.look_again()

    def let_go(self, name: str, *, unless_moving: bool = False) -> bool:
        """Take out what its owner has freed, or frees where this is True; unknown names are ignored."""
        with self._lock:
            if unless_moving and self._is_moving:
                return False
            self._residents.pop(name, None)
            self._holders.pop(name, None)
        self.look_again()
        return True

    # What is reserved.

    @asynccontextmanager
    async def reserve(self, need: Need) -> AsyncGenerator[Reservation]:
        """Memory for a piece of work, once it is there; given back when the block ends.

        Raises:
            CapacityError: it never fits; says by how much, and what would fit.
            BackendError: something could not be moved.
            CancelledRequestError: the ledger is closed.
        """
        reservation = await self._admitted(need)
        try:
            yield reservation
        except BaseException:
            reservation.meter = None  # work that was not finished tells nothing
            raise
        finally:
            self._give_back(reservation)

    async def _admitted(self, need: Need) -> Reservation:
        waiter = Waiter(need, self._clock())
        with self._lock:
            self._check(need)
            self._waiting.append(waiter)
        self.look_again()
        try:
            while waiter.result is None:
                await waiter.woken(POLL_S if self.device.is_shared_out else None)
                if waiter.result is None:
                    self.look_again()
        except BaseException:  # cancelled: whatever was or will be reserved goes back
            with self._lock:
                waiter.is_cancelled = True
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                result = waiter.result
            if isinstance(result, Reservation):
                result.meter = None
                self._give_back(result)
            self.look_again()
            raise
        if isinstance(waiter.result, Exception):
            raise waiter.result
        return waiter.result

    def _check(self, need: Need) -> None:
        if self._is_closed:
            raise _closing()
        if unknown := [name for name in need.residents if name not in self._residents]:
            raise ConfigError(
                f"{need.name} needs {', '.join(unknown)}, which is not registered; load it first"
            )
        if not need.sizes:
            raise ConfigError(f"{need.name} names no size; expected at least one")

    def _give_back(self, reservation: Reservation) -> None:
        with self._lock:
            if self._held.pop(reservation.held.id, None) is None:
                return
            need, now_s = reservation.held.need, self._clock()
            for name in need.residents:
                if name in self._residents:
                    self._residents[name] = replace(self._residents[name], last_used_s=now_s)
            meter, reservation.meter = reservation.meter, None
        if meter is not None:
            measured = meter.peak()
            own = max(0, measured.nbytes - reservation.not_own_bytes)
            self.peaks.learn(self._key(need, reservation.size), own, is_bound=measured.is_bound)
            if self.peaks.is_worth_saving:
                self._in_background(self.peaks.save)
        self.look_again()

    def _in_background(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._mover is None:
                self._mover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="localgpt-memory")
            self._mover.submit(work)

    # Who is next.

    def look_again(self) -> None:
        """Let in whoever fits now. Called whenever something changed; anybody may call it."""
        with self._lock:
            while not self._is_moving and self._let_one_in():
                pass

    def _let_one_in(self) -> bool:
        """Settle one waiter; False when nobody can be."""
        for waiter in self._waiting[:_LOOK_AHEAD]:
            before = self._waiting[: self._waiting.index(waiter)]
            if any(other.num_passed >= MAX_PASSED for other in before):
                return False
            plan = self._plan(waiter)
            if isinstance(plan, Wait) or (before and isinstance(plan, Plan) and plan.steps):
                continue  # past others only what takes nothing away
            self._waiting.remove(waiter)
            if isinstance(plan, TooLarge):
                waiter.settle(self._too_large(waiter.need, plan))
                return True
            for other in before:
                other.num_passed += 1
            self._start(waiter, plan)
            return True
        return False

    def _plan(self, waiter: Waiter) -> Plan | Wait | TooLarge:
        need = waiter.need
        sizes = tuple(
            replace(size, nbytes=self.peaks.estimate(self._key(need, size), size.nbytes))
            for size in need.sizes
        )
        is_patient = bool(self._held) or self._clock() - waiter.since_s < PATIENCE_S
        return make_plan(self.state(), replace(need, sizes=sizes), waits_for_others=is_patient)

    def _start(self, waiter: Waiter, plan: Plan) -> None:
        held = Held(id=next(self._ids), need=plan.need, size=plan.size, nbytes=plan.reserved_bytes)
        reservation = Reservation(held, plan)
        for other in self._held.values():
            other.meter = None  # two at a time cannot be told apart
        self._held[held.id] = reservation
        self._notices.extend(reservation.notices)
        if not plan.steps:
            self._hand_over(waiter, reservation)
            return
        self._plans.append(plan)
        self._is_moving = True
        self._in_background(partial(self._carry_out, waiter, reservation))

    def _hand_over(self, waiter: Waiter, reservation: Reservation) -> None:
        if len(self._held) == 1:
            reservation.meter = self.device.measure()
        if waiter.is_cancelled or not waiter.settle(reservation):
            self._held.pop(reservation.held.id, None)

    def _carry_out(self, waiter: Waiter, reservation: Reservation) -> None:
        """Move what the plan says; in the ledger's thread."""
        failure: Exception | None = None
        try:
            for step in reservation.plan.steps:
                self._move(step)
        except Exception as error:  # noqa: BLE001 - the boundary between holders and the ledger
            logger.warning("memory could not be moved: %s", error)
            failure = error
        with self._lock:
            self._is_moving = False
            if failure is None:
                self._hand_over(waiter, reservation)
            else:
                self._held.pop(reservation.held.id, None)
                waiter.settle(failure)
        self.look_again()

    def _move(self, step: Step) -> None:
        holder, resident = self._holders.get(step.resident), self._residents.get(step.resident)
        if holder is None or resident is None:
            raise BackendError(f"{step.resident} went away while it was to be moved; try again")
        pieces = resident.pieces
        if step.is_drop:
            self.device.drop(holder, step.piece)
            took_s = 0.0
        else:
            took_s = self.device.move(holder, step.piece, step.source, step.target)
        with self._lock:
            resident = self._residents.get(step.resident)
            if resident is not None and not (step.is_drop and resident.pieces is not pieces):  # filled anew
                self._residents[step.resident] = replace(resident, pieces=_moved(resident, step))
            self._learn_speed(step, took_s)

    def _learn_speed(self, step: Step, took_s: float) -> None:
        if step.target != "device" or took_s <= 0 or step.nbytes < _LEAST_TIMED_BYTES:
            return
        latest, old = step.nbytes / took_s, self._speeds
        if step.source == "host":
            self._speeds = replace(old, host=old.host + _SPEED_SHARE * (latest - old.host))
        else:
            self._speeds = replace(old, disk=old.disk + _SPEED_SHARE * (latest - old.disk))

    def _too_large(self, need: Need, plan: TooLarge) -> CapacityError:
        least = f" ({format_bytes(plan.least_bytes)} at the least)" if len(need.sizes) > 1 else ""
        return CapacityError(
            f"{need.name} needs {format_bytes(plan.wanted_bytes)} on {self.device.id}{least}, which is "
            f"{format_bytes(plan.short_bytes)} more than the {format_bytes(plan.room_bytes)} that can be "
            "made free; ask for less, choose a smaller model, or raise --memory-budget"
        )

    def _key(self, need: Need, size: Size) -> PeakKey:
        return PeakKey(model=need.model, shape=size.shape, dtype=need.dtype, device=self.device.name)

    # What others see.

    def state(self) -> State:
        """Everything at this moment, as values."""
        with self._lock:
            state = State(
                budget_bytes=self.budget.nbytes,
                host_budget_bytes=self.budget.host_bytes,
                granularity=self.device.granularity,
                now_s=self._clock(),
                speeds=self._speeds,
                residents=tuple(self._residents.values()),
                held=tuple(one.held for one in self._held.values()),
            )
            if not self.device.is_shared_out:
                return state
            # Work under way may not have allocated yet, so only what is missing beyond all of it is foreign.
            foreign = state.free_bytes - self.device.free_bytes()
            return replace(state, foreign_bytes=max(0, foreign))

    def waiting(self) -> tuple[Waiting, ...]:
        """Who waits, the longest first."""
        with self._lock:
            now_s = self._clock()
            return tuple(
                Waiting(
                    name=waiter.need.name,
                    nbytes=waiter.need.sizes[0].nbytes,
                    waited_s=now_s - waiter.since_s,
                )
                for waiter in self._waiting
            )

    def plans(self) -> tuple[Plan, ...]:
        """The last plans that moved something, the latest last."""
        with self._lock:
            return tuple(self._plans)

    def notices(self) -> tuple[str, ...]:
        """What was made smaller lately, and what is wrong with the file of peaks."""
        with self._lock:
            return (*self.peaks.notices, *self._notices)

    def close(self) -> None:
        """Let nobody in any more, tell those who wait, and keep what was learned. May be called twice."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
            mover, self._mover = self._mover, None
        for waiter in waiting:
            waiter.settle(_closing())
        if mover is not None:
            mover.shutdown(wait=True)
        if self.peaks.is_worth_saving:
            self.peaks.save()


def _closing() -> CancelledRequestError:
    return CancelledRequestError("LocalGPT is closing; the work was not started")


def _moved(resident: Resident, step: Step) -> tuple[Piece, ...]:
    """The pieces after a step; a dropped one is gone."""
    if step.is_drop:
        return tuple(piece for piece in resident.pieces if piece.name != step.piece)
    return tuple(
        replace(piece, place=step.target) if piece.name == step.piece else piece for piece in resident.pieces
    )
