"""One end of the socket between gateway and models, in an event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from localgpt.errors import LocalGPTError
from localgpt.worker.frames import BrokenFrameError, Frame, FrameReader, Kind, encode_frame

__all__ = ["Link"]


class Link(asyncio.Protocol):
    """Hands over the frames that come, and sends others.

    Frames that are sent in one turn of the event loop leave together and arrive together, so that a step of
    the models wakes the other side once, however many answers it went on with.

    Args:
        on_frame: called with each frame, in order; a LocalGPTError it raises ends the link.
    """

    def __init__(self, on_frame: Callable[[Frame], None]) -> None:
        self._on_frame = on_frame
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._is_lost = asyncio.Event()
        self.failure: LocalGPTError | None = None  # what was wrong with what came

    async def connect(self, sock: socket.socket) -> None:
        """Take the socket over; it is closed with this link."""
        sock.setblocking(False)
        await self._loop.connect_accepted_socket(lambda: self, sock)

    def send(self, kind: Kind, number: int = 0, body: bytes = b"") -> None:
        """Send a frame at the end of this turn of the event loop; nothing, once the other side is gone.

        Raises:
            BrokenFrameError: the body is too long.
        """
        frame = encode_frame(Frame(kind, number, body))
        if self._transport is None or self._transport.is_closing():
            return
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)

    async def ended(self) -> None:
        """Wait until nothing comes and goes any more."""
        await self._is_lost.wait()

    def close(self) -> None:
        """End it, with what was sent on its way."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self._outgoing.clear()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except LocalGPTError as error:
            self.failure = error
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        if self._reader.is_mid_frame and self.failure is None:
            self.failure = BrokenFrameError("the last frame between gateway and models was not whole")
        self._is_lost.set()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
