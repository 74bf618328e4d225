"""Model work tied to its caller: it ends when the client goes away or the server stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from localgpt.errors import CancelledRequestError, LocalGPTError
from localgpt.server.errors import WireError, describe_error
from localgpt.server.events import close_source
from localgpt.server.gateway import Gateway

__all__ = ["EventStream", "FileStream", "StreamWire", "run_for_client"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_STOPPING = "the server is stopping"


async def run_for_client(request: Request, gateway: Gateway, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancel it when the client disconnects or the server stops.

    Args:
        request: the request being answered; its body must have been read.
        gateway: says when the server stops.
        work: what to do for the client.

    Returns:
        What `work` returns.

    Raises:
        CancelledRequestError: the client went away, or the server is stopping.
    """
    task = asyncio.ensure_future(work)
    watchers = _watchers(request.receive, gateway)
    try:
        await asyncio.wait({task, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise CancelledRequestError(_STOPPING if gateway.stopping.is_set() else "the client went away")
    finally:
        await _cancel(task, *watchers)


class StreamWire:
    """How a stream is written; this one is that of chat and text completions.

    `data: <json>` for each body, an event with an `error` object for a failure after the first one, and
    `data: [DONE]` at the end.
    """

    last = "data: [DONE]\n\n"

    def event(self, body: str) -> str:
        """One event."""
        return f"data: {body}\n\n"

    def failure(self, error: LocalGPTError | WireError) -> str:
        """The event that tells what went wrong, however far the stream had come."""
        return self.event(json.dumps(describe_error(error)[1].model_dump()))


class EventStream(Response):
    """Server-sent events, kept alive by a comment line whenever nothing was sent for a while.

    The status goes out with the first body, so that what fails at the door is a status and an error body. A
    request that waits longer than `settings.heartbeat_s` gets its status and the first heartbeat then; what
    fails later is an event.

    A reader who is slower than the model holds the stream back: at most one event waits here, and the
    listener breaks the connection of one who does not read at all (`settings.write_timeout_s`).

    Args:
        bodies: the JSON texts to send; closed when the stream ends for whatever reason.
        gateway: says when the server stops, and how often a silent stream is kept alive.
        headers: further response headers; a function is asked when the status goes out.
        wire: how events, failures and the end are written.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        bodies: AsyncIterator[Any],
        gateway: Gateway,
        *,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        wire: StreamWire | None = None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.bodies = bodies
        self.gateway = gateway
        self.wire = wire or StreamWire()
        self._late_headers = headers

    def written(self, body: Any) -> bytes:
        """A body as it is sent."""
        return self.wire.event(body).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end, the client goes away or the server stops.

        Raises:
            LocalGPTError, WireError: the work failed before anything was sent.
        """
        writer = _Writer(self, send)
        pump = asyncio.ensure_future(self._pump(writer))
        heart = asyncio.ensure_future(self.keep_alive(writer))
        watchers = _watchers(receive, self.gateway)
        for watcher in watchers:  # without a detour: each step of the event loop may be a token
            watcher.add_done_callback(lambda _: _cancel_once(pump))
        try:
            await asyncio.wait({pump, *watchers}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done() and not pump.cancelled():
                pump.result()
                return
        finally:
            await _cancel(pump, heart, *watchers)
            await close_source(self.bodies)
        if self.gateway.stopping.is_set():
            await writer.fail(CancelledRequestError(_STOPPING))

    async def keep_alive(self, writer: _Writer) -> None:
        """Write something that says nothing, whenever nothing was written for a while."""
        await writer.beat(self.gateway.settings.heartbeat_s)

    async def fail(self, writer: _Writer, error: LocalGPTError | WireError) -> None:
        """Tell what went wrong after the status was sent."""
        await writer.write((self.wire.failure(error) + self.wire.last).encode(), is_last=True)

    def begin(self) -> Message:
        """The message that sends the status and the headers."""
        late = self._late_headers() if callable(self._late_headers) else self._late_headers
        self.headers.update(late or {})
        return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}

    async def _pump(self, writer: _Writer) -> None:
        try:
            async for body in self.bodies:
                await writer.write(self.written(body))
                await asyncio.sleep(0)  # a burst of bodies must not keep a disconnect from being seen
        except (LocalGPTError, WireError) as error:
            await writer.fail(error)
            return
        await writer.write(self.wire.last.encode(), is_last=True)


class FileStream(EventStream):
    """A file as it is made.

    Nothing can be told in it: what fails after its first bytes breaks the connection off, so that nobody
    takes what has come for the whole.

    Args:
        pieces: the bytes to send; closed when the stream ends for whatever reason.
        gateway: says when the server stops.
        media_type: of the file.
        headers: as those of `EventStream`.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        gateway: Gateway,
        *,
        media_type: str,
        headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        wire = StreamWire()
        wire.last = ""
        super().__init__(pieces, gateway, headers=headers, wire=wire)
        self.headers["content-type"] = media_type

    def written(self, body: Any) -> bytes:
        """The bytes themselves."""
        return bytes(body)

    async def keep_alive(self, writer: _Writer) -> None:
        """There is nothing to write in a file that says nothing."""

    async def fail(self, writer: _Writer, error: LocalGPTError | WireError) -> None:
        """Leave the file without its end; the listener closes the connection."""
        logger.warning("an answer was broken off: %s", error)


class _Writer:
    """Writes one stream: the status before the first text, one text at a time, heartbeats in between."""

    def __init__(self, stream: EventStream, send: Send) -> None:
        self._stream = stream
        self._send = send
        self._lock = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._quiet_since = self._clock()
        self._has_begun = False

    async def write(self, data: bytes, *, is_last: bool = False) -> None:
        async with self._lock:
            if not self._has_begun:
                self._has_begun = True
                await self._send(self._stream.begin())
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._quiet_since = self._clock()

    async def fail(self, error: LocalGPTError | WireError) -> None:
        """Tell a failure: as the response's own status while there is none yet, else as an event."""
        if not self._has_begun:
            raise error
        await self._stream.fail(self, error)

    async def beat(self, interval_s: float) -> None:
        """Write a comment, which clients skip, whenever nothing was written for `interval_s`."""
        while True:
            await asyncio.sleep(self._quiet_since + interval_s - self._clock())
            if self._clock() >= self._quiet_since + interval_s:
                await self.write(b": ping\n\n")


def _watchers(receive: Receive, gateway: Gateway) -> list[asyncio.Future[Any]]:
    return [asyncio.ensure_future(_until_gone(receive)), asyncio.ensure_future(gateway.stopping.wait())]


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cancel_once(task: asyncio.Future[Any]) -> None:
    """Cancel a task, but do not interrupt what a first cancellation made it put away."""
    if not (isinstance(task, asyncio.Task) and task.cancelling()):
        task.cancel()


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        _cancel_once(task)
    await asyncio.gather(*tasks, return_exceptions=True)
