"""uvicorn's HTTP/1.1 connection with deadlines, a limit on their number, and our error body.

uvicorn bounds how long a connection may be idle between requests and how large its headers may be, but not
how long the headers may take, nor how long a client may leave an answer unread. Both would let a client that
does nothing hold a connection, and a slot of the model, for ever.

Covered: headers that trickle or never come, answers that are not read, too many connections, and bytes that
are not HTTP; WebSockets whose other end reads nothing, or has gone without a word. Bodies that trickle are
`bodies.BodyReader`'s. Not covered: slow TLS handshakes, which Python ends after a minute.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import h11
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from localgpt.errors import CapacityError
from localgpt.server.bodies import BodyReader
from localgpt.server.errors import WireError, describe_error

__all__ = ["ConnectionLimits", "GuardedProtocol", "GuardedSocket"]

_TOLD_SURPLUS = 7  # connections too many that are still told so, for each that is allowed
_UNREAD_BYTES = 64 * 1024  # of a body that is read only so that its sender sees the refusal
_UNREAD_S = 1.0
_INVALID = WireError(
    400,
    "the request is not HTTP/1.1, or its headers are too large; nothing of it was read",
    code="invalid_http",
)
_SLOW = WireError(408, "the request's headers did not arrive in time", code="request_timeout")
_NO_ROOM = CapacityError("too many connections are open; close some, or try again later")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one server grants its connections."""

    max_connections: int
    read_timeout_s: float  # for the headers, from their first byte; for the first ones from the connection
    write_timeout_s: float  # during which a client reads nothing at all


class _Watched(asyncio.Protocol):
    """A connection that ends when its client leaves what is written unread.

    Args:
        limits: see `ConnectionLimits`.
        options: those of uvicorn.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(self, *, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._write_timer = _Timer(self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._write_timer.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More is written than the client reads: it has so long to read something."""
        super().pause_writing()
        self._write_timer.start(self._limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        self._write_timer.stop()
        super().resume_writing()


class GuardedProtocol(_Watched, H11Protocol):
    """One connection; the arguments are those of `_Watched`."""

    def __init__(self, *, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(limits=limits, **options)
        self._head_timer = _Timer(self.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast("asyncio.Transport", transport))
        _give_up_unread(transport, self._limits.write_timeout_s)
        surplus = len(self.connections) - self._limits.max_connections
        if surplus > _TOLD_SURPLUS * self._limits.max_connections:  # a flood: no longer told why
            self.transport.abort()
            return
        if surplus > 0:
            self.app = _refuse
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._head_timer.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; headers that are not whole yet are on the clock from their first byte."""
        super().data_received(data)
        self._watch_head()

    def shutdown(self) -> None:
        """The server stops: let an answer end, but do not wait for a request that is not whole yet."""
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; `msg` is uvicorn's word for it."""
        self._refuse(_INVALID)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for nothing where this one's body is not read to its end."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def _should_upgrade_to_ws(self) -> bool:
        """Whether a request for a WebSocket becomes one; a connection too many is answered as all of them."""
        return self.app is not _refuse

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the route says that there is no room, or no such protocol."""

    def _watch_head(self) -> None:
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._head_timer.stop()
        else:
            self._head_timer.start(self._limits.read_timeout_s, lambda: self._refuse(_SLOW))

    def _refuse(self, error: WireError) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status, body, _ = describe_error(error)
            data = body.model_dump_json().encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(data)).encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=data),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class GuardedSocket(_Watched, WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket."""


class _Timer:
    """Calls back once after a while, unless it is stopped before; starting it again changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._handle is None:
            self._handle = self._loop.call_later(seconds, callback)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """The application of a connection too many."""
    reader = BodyReader(receive, max_bytes=_UNREAD_BYTES, read_timeout_s=_UNREAD_S, is_json=False)
    await reader.drain(_UNREAD_BYTES)
    status, body, headers = describe_error(_NO_ROOM)
    headers["connection"] = "close"
    await JSONResponse(body.model_dump(), status_code=status, headers=headers)(scope, receive, send)


def _give_up_unread(transport: asyncio.BaseTransport, timeout_s: float) -> None:
    """Let the system break a connection whose last bytes are not taken, where it knows how to (Linux)."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, int(1000 * timeout_s))
