"""Model work tied to its caller: it ends when the client goes away or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from localgpt.errors import CancelledRequestError, LocalGPTError
from localgpt.server.errors import WireError, describe_error
from localgpt.server.gateway import Gateway

__all__ = ["EventStream", "StreamWire", "run_for_client"]

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
    """Server-sent events.

    Args:
        bodies: the JSON texts to send; closed when the stream ends for whatever reason.
        gateway: says when the server stops.
        headers: further response headers.
        wire: how events, failures and the end are written.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        bodies: AsyncIterator[str],
        gateway: Gateway,
        *,
        headers: Mapping[str, str] | None = None,
        wire: StreamWire | None = None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self.bodies = bodies
        self.gateway = gateway
        self.wire = wire or StreamWire()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end, the client goes away or the server stops."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pump = asyncio.ensure_future(self._pump(send))
        watchers = _watchers(receive, self.gateway)
        try:
            await asyncio.wait({pump, *watchers}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
                return
        finally:
            await _cancel(pump, *watchers)
            await _close(self.bodies)
        if self.gateway.stopping.is_set():
            await _send_text(send, self.wire.failure(CancelledRequestError(_STOPPING)))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        try:
            async for body in self.bodies:
                await _send_text(send, self.wire.event(body))
        except (LocalGPTError, WireError) as error:
            await _send_text(send, self.wire.failure(error))
        await _send_text(send, self.wire.last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_text(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _watchers(receive: Receive, gateway: Gateway) -> list[asyncio.Future[Any]]:
    return [asyncio.ensure_future(_until_gone(receive)), asyncio.ensure_future(gateway.stopping.wait())]


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(iterator: AsyncIterator[Any]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        with contextlib.suppress(LocalGPTError):
            await close()
