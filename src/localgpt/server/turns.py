"""Whose turn it is: a fixed number of slots, a bounded queue for each owner, and limits of their own.

A freed slot goes to the waiting owner who has the fewest running, and among equals to the one who was served
longest ago; within one owner the first who came is first. When the queue is full, an owner who has few
requests waiting takes the place of the newest request of the owner who has the most: a flood holds up
itself, not the others.

Work that another server does takes no slot: one that hangs must not keep the models here idle. It has a
number of its own, and counts for the limits of its owner.

Covered: floods and long jobs of one owner. Not covered: one person with many keys.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from localgpt.errors import CapacityError, InputError, LocalGPTError, RateLimitError

__all__ = ["LimitSource", "Limits", "NoLimits", "Place", "Turns"]

_MINUTE_S = 60.0
_FIRST_GUESS_S = 2.0  # of how long one request takes, until some have been seen
_MEMORY = 0.2  # weight of the newest request in the mean of how long one takes
_MAX_RETRY_AFTER_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one owner may use; None is no limit."""

    requests_per_minute: int | None = None
    max_parallel: int | None = None  # running and waiting together


class LimitSource(Protocol):
    """Knows the limits of every owner."""

    def limits_of(self, owner: str) -> Limits:
        """The limits that hold now; asked once for every request."""


class NoLimits:
    """A `LimitSource` where nobody has a limit."""

    def limits_of(self, owner: str) -> Limits:
        """No limit."""
        return Limits()


@dataclass(slots=True, eq=False)
class Place:
    """One request's place: waiting, then running, or refused while it waited."""

    owner: str
    is_elsewhere: bool = False  # another server does the work: it takes no slot here
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # it runs now, or was refused
    started_at: float | None = None
    refusal: LocalGPTError | None = None

    async def turn(self) -> None:
        """Wait until it is this place's turn.

        Raises:
            CapacityError: it had to make room for another owner.
        """
        await self.settled.wait()
        if self.refusal is not None:
            raise self.refusal


class Turns:
    """Slots and queues. Not thread-safe: of one event loop.

    Args:
        num_slots: requests that run at once.
        num_elsewhere: requests that other servers may be at work on beside them.
        max_waiting: requests that may wait, of all owners together.
        limits: asked for the owner's limits at every `enter`.
        clock: seconds from any start.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        num_elsewhere: int = 64,
        max_waiting: int,
        limits: LimitSource | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits: LimitSource = limits or NoLimits()
        self.is_closed = False  # nobody new is let in
        self.idle = asyncio.Event()  # nothing runs and nobody waits
        self.idle.set()
        self._num_slots = num_slots
        self._num_elsewhere = num_elsewhere
        self._elsewhere: Counter[str] = Counter()
        self._max_waiting = max_waiting
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Place]] = {}  # the owner served longest ago stands first
        self._arrivals: dict[str, deque[float]] = {}  # of the last minute, of owners with such a limit
        self._mean_s = _FIRST_GUESS_S

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return self._running.total()

    @property
    def num_elsewhere(self) -> int:
        """Requests that other servers are at work on."""
        return self._elsewhere.total()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for one."""
        return sum(map(len, self._waiting.values()))

    def enter(self, owner: str, *, is_elsewhere: bool = False) -> Place:
        """Take a slot or a place in the queue; `leave` must follow, whatever happens.

        Args:
            owner: whose request it is.
            is_elsewhere: another server does the work.

        Raises:
            RateLimitError: the owner has used up a limit of their own.
            CapacityError: the queue is full, or nobody is let in any more.
        """
        if self.is_closed:
            raise CapacityError("the server is stopping; try again soon", retry_after_s=_FIRST_GUESS_S)
        limits = self.limits.limits_of(owner)
        self._check_limits(owner, limits, 1)
        if is_elsewhere and self.num_elsewhere >= self._num_elsewhere:
            raise CapacityError(
                f"other servers are at work on {self.num_elsewhere} requests, which is the limit; try again "
                "later",
                retry_after_s=_FIRST_GUESS_S,
            )
        if limits.requests_per_minute is not None:
            self._arrivals[owner].append(self._clock())
        place = Place(owner, is_elsewhere=is_elsewhere)
        if is_elsewhere:
            self._elsewhere[owner] += 1
            place.settled.set()
        elif self.num_running < self._num_slots:
            self._start(place)
        else:
            if self.num_waiting >= self._max_waiting:
                self._make_room(owner)
            self._waiting.setdefault(owner, deque()).append(place)
        self.idle.clear()
        return place

    def refuse_when_full(self, owner: str) -> None:
        """Say before a request is read what `enter` would say after it, if the queue stays as it is.

        Raises:
            CapacityError: the queue is full, and the owner has no claim to a place of somebody else.
        """
        is_full = self.num_running >= self._num_slots and self.num_waiting >= self._max_waiting
        if is_full and not self.is_closed and (full := self._full_for(owner)) is not None:
            raise full

    def check(self, owner: str, number: int, *, param: str) -> None:
        """Look whether there may be places for several requests that belong together.

        They are entered one by one, and without this the first ones would use up what the last one lacks,
        again whenever they are tried again.

        Args:
            owner: whose they are.
            number: how many enter next.
            param: the parameter that says so.

        Raises:
            InputError: there will never be so many places.
            RateLimitError: there are not so many now.
        """
        limits = self.limits.limits_of(owner)
        for limit, what in (
            (self._num_slots + self._max_waiting, "this server takes {} at once"),
            (limits.max_parallel, "this key may have {} under way"),
            (limits.requests_per_minute, "this key may ask {} times a minute"),
        ):
            if limit is not None and number > limit:
                raise InputError(
                    f"{param} makes this {number} requests, but {what.format(limit)}; ask for fewer answers",
                    param=param,
                )
        self._check_limits(owner, limits, number)

    def leave(self, place: Place) -> None:
        """Give back the slot or the place in the queue."""
        if place.is_elsewhere:
            self._elsewhere[place.owner] -= 1
            self._elsewhere += Counter()
        elif place.started_at is not None:
            self._mean_s += _MEMORY * (self._clock() - place.started_at - self._mean_s)
            self._running[place.owner] -= 1
            self._running += Counter()  # forgets owners who run nothing
            self._start_next()
        elif place.refusal is None:
            self._take(place.owner, place)
        if not self._running and not self._waiting and not self._elsewhere:
            self.idle.set()

    def _check_limits(self, owner: str, limits: Limits, number: int) -> None:
        now = self._clock()
        if limits.max_parallel is not None:
            num = self._running[owner] + self._elsewhere[owner] + len(self._waiting.get(owner, ()))
            if num + number > limits.max_parallel:
                raise RateLimitError(
                    f"{num} requests of this key are under way and its limit is {limits.max_parallel}; "
                    "wait for one of them to end",
                    retry_after_s=min(self._mean_s, _MAX_RETRY_AFTER_S),
                )
        if limits.requests_per_minute is None:
            self._arrivals.pop(owner, None)
            return
        arrivals = self._arrivals.setdefault(owner, deque())
        while arrivals and arrivals[0] <= now - _MINUTE_S:
            arrivals.popleft()
        num_surplus = len(arrivals) + number - limits.requests_per_minute
        if num_surplus > 0:
            free_at = (arrivals[num_surplus - 1] if num_surplus <= len(arrivals) else now) + _MINUTE_S
            raise RateLimitError(
                f"this key may ask {limits.requests_per_minute} times a minute and did {len(arrivals)}; "
                "the header Retry-After says when to come back",
                retry_after_s=free_at - now,
            )

    def _make_room(self, owner: str) -> None:
        if (full := self._full_for(owner)) is not None:
            raise full
        longest = self._longest_queue(owner)
        newest = self._waiting[longest][-1]
        self._take(longest, newest)
        newest.refusal = self._full()
        newest.settled.set()

    def _full_for(self, owner: str) -> CapacityError | None:
        """Why nobody can make room for an owner; None where somebody can."""
        longest = self._longest_queue(owner)
        num_own, num_longest = (len(self._waiting.get(name, ())) for name in (owner, longest))
        # After an exchange both would have as many, or worse.
        return self._full() if num_longest < num_own + 2 else None

    def _longest_queue(self, owner: str) -> str:
        return max(self._waiting, key=lambda other: len(self._waiting[other]), default=owner)

    def _full(self) -> CapacityError:
        return CapacityError(
            f"the queue is full: {self.num_running} requests are running and {self.num_waiting} wait; "
            "try again later",
            retry_after_s=min((self.num_waiting + 1) * self._mean_s / self._num_slots, _MAX_RETRY_AFTER_S),
        )

    def _start(self, place: Place) -> None:
        place.started_at = self._clock()
        self._running[place.owner] += 1
        place.settled.set()

    def _start_next(self) -> None:
        if not self._waiting:
            return
        owner = min(self._waiting, key=lambda other: self._running[other])
        place = self._waiting[owner][0]
        self._take(owner, place)
        if owner in self._waiting:
            self._waiting[owner] = self._waiting.pop(owner)  # to the end of the round
        self._start(place)

    def _take(self, owner: str, place: Place) -> None:
        self._waiting[owner].remove(place)
        if not self._waiting[owner]:
            del self._waiting[owner]
