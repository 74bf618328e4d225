"""The other end: answers the frames of a gateway with a service of this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, cast

from localgpt.errors import LocalGPTError
from localgpt.settings import Settings
from localgpt.tasks import Channel, Event, TaskService, TextDelta
from localgpt.tasks.wire import decode_request, encode_event, encode_result, encode_status
from localgpt.worker.frames import BrokenFrameError, Frame, Kind
from localgpt.worker.link import Link
from localgpt.worker.messages import decode_settings, encode_error

__all__ = ["Host"]

logger = logging.getLogger(__name__)
_CLOSE_S: Final = 0.45  # less than the gateway waits


class Host:
    """Takes frames from its link, and works on each request in a task of its own.

    Args:
        resident_bytes: memory of this process now; told with the status.
    """

    def __init__(self, resident_bytes: Callable[[], int]) -> None:
        self.link = Link(self._take)
        self.closing = asyncio.Event()  # the gateway wants an end, or is gone
        self._resident_bytes = resident_bytes
        self._settings: asyncio.Future[Settings] = asyncio.get_running_loop().create_future()
        self._service: TaskService | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()  # of the status
        self._inputs: dict[int, asyncio.Queue[bytes]] = {}  # for channels

    @property
    def num_tasks(self) -> int:
        """Requests and channels that are worked on."""
        return len(self._tasks)

    async def settings(self) -> Settings:
        """Wait for what the gateway wants to be loaded."""
        return await self._settings

    async def serve(self, service: TaskService) -> None:
        """Begin to answer with a service that has loaded."""
        self._service = service
        self.link.send(Kind.LOADED, 0, await self._state())

    async def close(self) -> None:
        """Close the service, tell those who were waiting, and end the link."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                if self._service is not None:
                    await self._service.close()
                if tasks := {*self._tasks.values(), *self._telling}:
                    await asyncio.wait(tasks)
        self.link.close()

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.RUN | Kind.STREAM | Kind.OPEN:
                self._begin(frame.number, self._answer(frame))
            case Kind.SEND if frame.number in self._inputs:
                self._inputs[frame.number].put_nowait(frame.body)
            case Kind.CANCEL if frame.number in self._tasks:
                self._tasks[frame.number].cancel()
            case Kind.SEND | Kind.CANCEL:
                pass  # it was over before this came
            case Kind.STATUS:
                task = asyncio.get_running_loop().create_task(self._tell_state())
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
            case Kind.SETTINGS if not self._settings.done():
                self._settings.set_result(decode_settings(frame.body))
            case Kind.CLOSE:
                self.closing.set()
            case _:
                raise BrokenFrameError(f"a frame {frame.kind.name} came from the gateway, out of its order")

    def _begin(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, frame: Frame) -> None:
        number = frame.number
        try:
            await self._work(frame)
        except LocalGPTError as error:
            self.link.send(Kind.ERROR, number, encode_error(error))
        except Exception as error:  # the boundary between the processes
            logger.exception("a request failed")
            self.link.send(Kind.ERROR, number, encode_error(error))

    async def _work(self, frame: Frame) -> None:
        assert self._service is not None  # the gateway asks once it was told LOADED
        request, number = decode_request(frame.body), frame.number
        if frame.kind is Kind.RUN:
            self.link.send(Kind.RESULT, number, encode_result(await self._service.run(request)))
        elif frame.kind is Kind.STREAM:
            await self._pass_on(number, cast("AsyncGenerator[Event]", self._service.stream(request)))
        else:
            await self._converse(number, await self._service.open(request))

    async def _pass_on(self, number: int, source: AsyncGenerator[Event]) -> None:
        send = self.link.send
        async with aclosing(source) as events:
            async for event in events:
                if type(event) is TextDelta and not event.logprobs:  # nearly all; see `Kind`
                    send(Kind.TEXT, number, event.text.encode("utf-8", "surrogatepass"))
                else:
                    send(Kind.EVENT, number, encode_event(event))
        send(Kind.ENDED, number)

    async def _converse(self, number: int, channel: Channel) -> None:
        inputs = self._inputs[number] = asyncio.Queue[bytes]()

        async def hear() -> None:
            while True:
                await channel.send(await inputs.get())

        try:
            self.link.send(Kind.OPENED, number)
            hearing = asyncio.ensure_future(hear())
            telling = asyncio.ensure_future(
                self._pass_on(number, cast("AsyncGenerator[Event]", channel.events()))
            )
            await _first_end(hearing, telling)
        finally:
            del self._inputs[number]
            await channel.close()

    async def _tell_state(self) -> None:
        try:
            self.link.send(Kind.STATE, 0, await self._state())
        except Exception:  # the boundary between the processes; the gateway tells the last one it knows
            logger.exception("the status cannot be told")

    async def _state(self) -> bytes:
        assert self._service is not None
        status = await self._service.status()
        return encode_status(replace(status, model_process_bytes=self._resident_bytes()))


async def _first_end(*tasks: asyncio.Future[None]) -> None:
    """Wait until one has ended, end the others, and raise what it failed with."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
