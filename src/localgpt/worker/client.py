"""`WorkerService`: the TaskService whose models run in a process of their own.

Rules told to the caller:

* Requests wait while models are loaded, first or again, up to their deadline.
* A process that ends takes the requests it was answering along: each fails with one error that says how it
  ended. Another one is started, at once the first time, and after pauses that grow when it ends again soon.
  During such a pause requests are refused.
* A first process that loads nothing is not started again: `failure` says why, as that of a service in this
  process does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Final

from localgpt.errors import DeadlineError, InputError
from localgpt.tasks import Channel, Event, Request, Result, Status, TextDelta
from localgpt.tasks.wire import decode_event, decode_result, decode_status, encode_request
from localgpt.units import format_bytes
from localgpt.worker.calls import Call, Item, RemoteChannel
from localgpt.worker.frames import MAX_BODY_BYTES, BrokenFrameError, Frame, Kind
from localgpt.worker.keeper import Keeper
from localgpt.worker.link import Link
from localgpt.worker.messages import Plan, copy_error, decode_error
from localgpt.worker.process import ModelProcess

__all__ = ["WorkerService"]

_STATUS_S: Final = 1.0  # then the last known status is told
_FRESH_S: Final = 0.05  # a status is not asked for again so soon


class WorkerService:
    """Runs a family of models in a child process; implements `tasks.TaskService`.

    Of the one event loop in which `start` is called. The first process begins to load with this object.

    Args:
        launch: starts a process.
        pause_s: before the second start in a row; doubled for each one after it.
    """

    def __init__(self, launch: Callable[[], ModelProcess], *, pause_s: float = 1.0) -> None:
        self._calls: dict[int, Call] = {}
        self._numbers = count(1)
        self._status: Status | None = None  # of the process that answers
        self._is_fresh_until = 0.0  # the event loop's time
        self._asking: asyncio.Future[Status] | None = None
        self._keeper = Keeper(
            launch, on_frame=self._take, on_loaded=self._keep, on_end=self._end_all, pause_s=pause_s
        )

    @property
    def plan(self) -> Plan:
        """What is loaded where; blocks the first time, until the process has settled that.

        Raises:
            LocalGPTError: the model or the device cannot be used.
        """
        return self._keeper.plan

    @property
    def failure(self) -> BaseException | None:
        """Why the first process loaded nothing, once that is so."""
        return self._keeper.failure

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._keeper.pid

    def start(self, *, on_failure: Callable[[], None] | None = None) -> None:
        """Take part in the running event loop, once.

        Args:
            on_failure: called when the first process has loaded nothing.
        """
        self._keeper.start(on_failure)

    async def run(self, request: Request) -> Result:
        """Run one request to its end.

        Raises:
            BackendError: the process ended meanwhile.
            LocalGPTError: the request was refused, failed, or met its deadline.
        """
        async with self._called(Kind.RUN, request) as call:
            return await call.result()

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Run one request for an answer and yield its events; errors as those of `run`."""
        async with self._called(Kind.STREAM, request) as call, aclosing(call.events()) as events:
            async for event in events:
                yield event

    async def open(self, request: Request) -> Channel:
        """Open a channel; errors as those of `run`."""
        call = await self._begin(Kind.OPEN, request)
        try:
            await call.opened()
        except BaseException:
            self._end(call)
            raise
        return RemoteChannel(call, self._end)

    async def status(self) -> Status:
        """Status of the process; before it has loaded, and after its end, "not ready", at once."""
        link, loop = self._keeper.loaded, asyncio.get_running_loop()
        if link is None or self._status is None:
            return self._not_ready()
        if loop.time() < self._is_fresh_until:
            return self._status
        if self._asking is None:
            self._asking = loop.create_future()
            link.send(Kind.STATUS)
        asking = self._asking
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_S):
                return await asyncio.shield(asking)
        if self._asking is asking:  # else somebody has asked again
            self._asking = None  # the next one asks again
        return self._status or self._not_ready()

    async def close(self) -> None:
        """End what runs, refuse what comes, and end the process; may be called twice."""
        await self._keeper.close()

    def kill(self) -> None:
        """End the process at once; also where the event loop is gone."""
        self._keeper.kill()

    @asynccontextmanager
    async def _called(self, kind: Kind, request: Request) -> AsyncIterator[Call]:
        call = await self._begin(kind, request)
        try:
            yield call
        finally:
            self._end(call)

    async def _begin(self, kind: Kind, request: Request) -> Call:
        link = self._keeper.loaded
        if link is None:
            link, request = await self._waited(request)
        body = encode_request(request)
        if len(body) > MAX_BODY_BYTES:
            raise InputError(
                f"the request has {format_bytes(len(body))} with its pictures, expected at most "
                f"{format_bytes(MAX_BODY_BYTES)}; send fewer or smaller ones"
            )
        call = Call(link, next(self._numbers))
        self._calls[call.number] = call
        link.send(kind, call.number, body)
        return call

    async def _waited(self, request: Request) -> tuple[Link, Request]:
        """A process that answers, and the request with the time that is left for it."""
        if request.deadline_s is None:
            return await self._keeper.link(), request
        clock = asyncio.get_running_loop().time
        deadline = clock() + request.deadline_s
        try:
            async with asyncio.timeout_at(deadline):
                link = await self._keeper.link()
        except TimeoutError as error:
            raise DeadlineError("the request was not finished before its deadline") from error
        return link, replace(request, deadline_s=max(0.0, deadline - clock()))

    def _end(self, call: Call) -> None:
        """Forget a call, and give it up where it is not over."""
        if self._calls.pop(call.number, None) is not None and not call.is_over:
            call.link.send(Kind.CANCEL, call.number)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.STATE:
            self._keep(decode_status(frame.body))
        elif (call := self._calls.get(frame.number)) is not None:  # else it was given up meanwhile
            call.put(_item(frame))

    def _keep(self, status: Status) -> None:
        self._status = status
        self._is_fresh_until = asyncio.get_running_loop().time() + _FRESH_S
        self._answer_askers(status)

    def _end_all(self, reason: BaseException) -> None:
        """The process has ended: tell everybody who waits for it."""
        self._status = None
        self._answer_askers(self._not_ready())
        for call in self._calls.values():
            call.put(copy_error(reason))

    def _answer_askers(self, status: Status) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and not asking.done():
            asking.set_result(status)

    def _not_ready(self) -> Status:
        plan = self._keeper.plan
        return Status(
            ready=False,
            device=plan.device,
            dtype="",
            models=(),
            resident_bytes=0,
            num_running=0,
            num_waiting=0,
            max_batch_size=plan.max_batch_size,
            notices=plan.notices,
        )


def _item(frame: Frame) -> Item:
    """What a frame says to the one who waits for it."""
    match frame.kind:
        case Kind.TEXT:
            return TextDelta(text=_text_of(frame.body))
        case Kind.EVENT:
            return decode_event(frame.body)
        case Kind.RESULT:
            return decode_result(frame.body)
        case Kind.ERROR:
            return decode_error(frame.body)
        case Kind.OPENED | Kind.ENDED:
            return None
    raise BrokenFrameError(f"a frame {frame.kind.name} came from the models, who do not send such")


def _text_of(body: bytes) -> str:
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise BrokenFrameError("a text came from the models that is no UTF-8") from None
