"""Admission: the task service that every route uses, around the one that does the work.

It lets in as many requests as the models can take, keeps the others waiting in a fair queue (see `turns`),
gives every request its deadline, and counts. A request that is cancelled, at whatever point, leaves no slot,
no place in the queue and no task behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from localgpt.errors import CancelledRequestError, CapacityError, DeadlineError, RateLimitError
from localgpt.server.metrics import AnswerMeter, Metrics
from localgpt.server.turns import Turns
from localgpt.tasks import (
    Channel,
    Event,
    Finished,
    ListenRequest,
    Request,
    Result,
    SpeakRequest,
    Status,
    TaskService,
    TextDelta,
    ToolCallDelta,
    split_upstream,
    usage_of,
)

__all__ = ["SPARE_SLOTS", "Admission"]

SPARE_SLOTS = 2  # let in beyond the batch, so that prompts are ready when a slot of the engine is
T = TypeVar("T")


@dataclass(slots=True)
class _Admitted:
    request: Request  # with the deadline that is left
    deadline: float  # the running event loop's time
    meter: AnswerMeter

    async def within(self, awaitable: Awaitable[T]) -> T:
        """Await up to the deadline; the service may notice it first, in its own words."""
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(self.deadline) as limit:
                return await awaitable
        except (TimeoutError, CancelledRequestError) as error:
            if not limit.expired() and clock() < self.deadline:
                raise
            raise DeadlineError(
                "the answer was not finished in the time it was given; ask for fewer tokens, or try again "
                "when less is going on"
            ) from error


class Admission:
    """A `TaskService` with a door.

    Args:
        service: does the work.
        turns: decides who is next.
        metrics: what is counted.
        timeout_s: a request's whole time, waiting included, where it does not bring a shorter deadline.
    """

    def __init__(self, service: TaskService, turns: Turns, metrics: Metrics, *, timeout_s: float) -> None:
        self.turns = turns
        self._service = service
        self._metrics = metrics
        self._timeout_s = timeout_s
        self.asked: Counter[str] = Counter()  # requests that are here, by the model that they name

    async def run(self, request: Request) -> Result:
        """Run one request when it is its turn.

        Raises:
            RateLimitError, CapacityError: it was not let in.
            DeadlineError: it was not finished in time.
            LocalGPTError: it failed.
        """
        async with self._admitted(request) as admitted:
            result = await admitted.within(self._service.run(admitted.request))
            admitted.meter.finished(usage_of(result))
            return result

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Run one request when it is its turn, and yield its events; errors as those of `run`.

        A recording or a text to speak may be hours long: such a request has its whole time from each of its
        events to the next, unless it brings a deadline.
        """
        goes_on = isinstance(request, ListenRequest | SpeakRequest) and request.deadline_s is None
        async with self._admitted(request) as admitted:
            asked = replace(admitted.request, deadline_s=None) if goes_on else admitted.request
            events = cast("AsyncGenerator[Event]", self._service.stream(asked))
            async with aclosing(events):
                while (event := await admitted.within(anext(events, None))) is not None:
                    if isinstance(event, Finished):
                        admitted.meter.finished(usage_of(event.result))
                    elif isinstance(event, TextDelta | ToolCallDelta) and not goes_on:
                        admitted.meter.piece()
                    yield event
                    if goes_on:
                        admitted.deadline = asyncio.get_running_loop().time() + self._timeout_s

    async def open(self, request: Request) -> Channel:
        """Open a channel; conversations that listen are not queued."""
        return await self._service.open(request)

    async def status(self) -> Status:
        """The service's status, with everybody who waits here counted too."""
        status = await self._service.status()
        num_running = min(self.turns.num_running, status.max_batch_size)
        num_waiting = self.turns.num_running - num_running + self.turns.num_waiting
        return replace(status, num_running=num_running + self.turns.num_elsewhere, num_waiting=num_waiting)

    async def close(self) -> None:
        """Let nobody in and close the service."""
        self.turns.is_closed = True
        await self._service.close()

    @asynccontextmanager
    async def _admitted(self, request: Request) -> AsyncIterator[_Admitted]:
        clock = asyncio.get_running_loop().time
        arrived = clock()
        timeout_s = min(self._timeout_s, request.deadline_s or self._timeout_s)
        try:
            is_elsewhere = split_upstream(request.model) is not None
            place = self.turns.enter(request.owner, is_elsewhere=is_elsewhere)
        except CapacityError as error:
            self._metrics.refused(_reason(error, is_stopping=self.turns.is_closed))
            raise
        self.asked[request.model] += 1
        try:
            meter = self._metrics.answer(arrived)
            await self._turn(place.turn(), arrived + timeout_s)
            meter.started()
            left_s = max(arrived + timeout_s - clock(), 0.001)
            yield _Admitted(replace(request, deadline_s=left_s), arrived + timeout_s, meter)
        finally:
            self.asked[request.model] -= 1
            self.asked += Counter()  # forget those at zero
            self.turns.leave(place)

    async def _turn(self, turn: Awaitable[None], deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except CapacityError:
            self._metrics.refused("gave_way")
            raise
        except TimeoutError:
            self._metrics.refused("deadline")
            raise DeadlineError(
                "the request waited for its turn until its time was over; try again when less is going on"
            ) from None


def _reason(error: CapacityError, *, is_stopping: bool) -> str:
    if is_stopping:
        return "stopping"
    return "own_limit" if isinstance(error, RateLimitError) else "queue_full"
