"""Reading a request's body: how much, how fast, how deep its JSON may be, and how much of all together.

Covered: bodies too large, declared or in chunks; bodies that trickle; many large bodies at once; JSON nested
so deep, or made of so many pieces, that reading it would hold up everybody, and encodings that hide that.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from localgpt.errors import CapacityError
from localgpt.server.errors import WireError, describe_error
from localgpt.units import MIB

__all__ = ["MAX_JSON_DEPTH", "BodyReader", "BodyRoom", "JsonShape", "too_large"]

MIN_BYTES_PER_S = 1024  # what a body must arrive at, after its first `read_timeout_s`
MAX_JSON_DEPTH = 100
MAX_JSON_MARKS = 1_000_000  # quotes; brackets and commas outside of texts. Conversations have some thousand
_OTHERS = bytes(set(range(256)) - set(b'[]{}",\\'))
_CLOSE = {"connection": "close"}  # the rest of the body is not waited for
_DRAIN_S = 1.0


class BodyRoom:
    """How many bytes of bodies all requests may hold at once."""

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = 0
        self.max_bytes = max_bytes

    def take(self, num_bytes: int) -> None:
        """Take what must be given back by adding to `num_bytes`, also after an error.

        Raises:
            CapacityError: there is no room.
        """
        self.num_bytes += num_bytes
        if self.num_bytes > self.max_bytes:
            raise CapacityError("the bodies of other requests fill the memory for them; try again soon")


class BodyReader:
    """An ASGI `receive` that reads at most so much, and waits at most so long.

    It raises `HTTPException`, the one class that FastAPI lets through while it reads a body; what it was
    raised from says it all.

    Args:
        receive: the connection's own.
        max_bytes: of the whole body.
        read_timeout_s: that the body may take, and a second more for each KiB of it.
        is_json: look at the shape of it too.
        room: shared with other bodies; None is without limit. What this body takes of it, `close` gives back.
        is_kept: the body stays in memory until then; else whoever reads it holds what it keeps of it.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        max_bytes: int,
        read_timeout_s: float,
        is_json: bool,
        room: BodyRoom | None = None,
        is_kept: bool = True,
    ) -> None:
        self.is_whole = False
        self._receive = receive
        self._max_bytes = max_bytes
        self._read_timeout_s = read_timeout_s
        self._shape = JsonShape() if is_json else None
        self._room = room
        self._is_kept = is_kept
        self._started: float | None = None
        self._num_bytes = 0
        self._num_held = 0  # beside the body

    async def __call__(self) -> Message:
        """The next message."""
        if self.is_whole:  # what comes now is a disconnect
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline()):
                message = await self._receive()
        except TimeoutError:
            slow = WireError(408, "the body did not arrive in time; send it faster", headers=_CLOSE)
            raise _passing(slow) from slow
        self.is_whole = not message.get("more_body", False)
        try:
            self._look_at(message.get("body", b""))
        except (WireError, CapacityError) as error:
            raise _passing(error) from error
        return message

    async def drain(self, max_bytes: int) -> bool:
        """Read on for a moment without keeping anything; whether the body is whole then.

        A connection that is closed over bytes that were not read is reset, and the answer with it.
        """
        num_bytes = 0
        with contextlib.suppress(TimeoutError, HTTPException):
            async with asyncio.timeout(min(_DRAIN_S, self._read_timeout_s)):
                while not self.is_whole and num_bytes < max_bytes:
                    message = await self._receive()
                    num_bytes += len(message.get("body", b""))
                    self.is_whole = not message.get("more_body", False)
        return self.is_whole

    def hold(self, num_bytes: int) -> None:
        """Count what the request reads elsewhere as if it had been sent: it waits for its turn like a body.

        Raises:
            CapacityError: there is no room at the moment.
            WireError: 413, there would not be if it were alone.
        """
        self._num_held += num_bytes
        if self._room is None:
            return
        if self._num_held > self._room.max_bytes:
            self._num_held -= num_bytes
            raise WireError(
                413,
                "what is kept of this conversation, with its pictures, takes more than all requests may hold "
                f"({self._room.max_bytes // MIB} MiB); begin a new one, or let --max-body be larger",
            )
        self._room.take(num_bytes)

    def close(self) -> None:
        """The body is needed no more, nor what was read beside it."""
        if self._room is not None:
            self._room.num_bytes -= self._num_bytes * self._is_kept + self._num_held
        self._num_bytes = self._num_held = 0

    def _look_at(self, data: bytes) -> None:
        is_first = self._num_bytes == 0
        self._num_bytes += len(data)
        if self._room is not None and self._is_kept:
            self._room.take(len(data))
        if self._num_bytes > self._max_bytes:
            raise WireError(413, too_large(self._max_bytes), headers=_CLOSE)
        if self._shape is None:
            return
        # In other encodings the marks would not be found. They begin otherwise than JSON or have NUL in it.
        if b"\0" in data or (is_first and data[:1] > b"\x7f"):
            raise WireError(
                400,
                "the body is not JSON in UTF-8; send it in that encoding, without a byte order mark",
                code="invalid_json",
                headers=_CLOSE,
            )
        if not self._shape.feed(data):
            raise WireError(
                400,
                f"the body's JSON is nested more than {MAX_JSON_DEPTH} deep or has more than "
                f"{MAX_JSON_MARKS:,} commas, brackets and quotes; send less",
                headers=_CLOSE,
            )

    def _deadline(self) -> float:
        if self._started is None:
            self._started = asyncio.get_running_loop().time()
        return self._started + self._read_timeout_s + self._num_bytes / MIN_BYTES_PER_S


class JsonShape:
    """Depth and number of pieces of a JSON text that comes in parts; whether it is JSON is not looked at."""

    def __init__(self) -> None:
        self._depth = 0
        self._num_marks = 0
        self._in_text = False
        self._is_escaped = False

    def feed(self, data: bytes) -> bool:
        """Look at the next part; False when the text is too deep or has too many pieces."""
        if self._is_escaped:  # the last part ended with a backslash
            data, self._is_escaped = data[1:], not data
        # Only pairs of a backslash and what follows it can hide a quote; of the rest only the marks count.
        if b"\\" in data:
            data = data.replace(b"\\\\", b"")
            self._is_escaped = data.endswith(b"\\")
            data = data.replace(b'\\"', b"")
        # Between two quotes stands a text or what is outside of texts, in turn.
        pieces = data.translate(None, _OTHERS).replace(b"\\", b"").split(b'"')
        marks = b"".join(pieces[self._in_text :: 2])
        num_quotes = len(pieces) - 1
        self._in_text ^= num_quotes % 2 == 1  # the last piece goes on in the next part
        self._num_marks += len(marks) + num_quotes
        if self._num_marks > MAX_JSON_MARKS:
            return False
        for mark in marks.replace(b",", b""):
            self._depth += 1 if mark in b"[{" else -1
            if self._depth > MAX_JSON_DEPTH:
                return False
        return True


def _passing(error: WireError | CapacityError) -> HTTPException:
    status, body, headers = describe_error(error)
    return HTTPException(status, body.error.message, headers)


def too_large(max_bytes: int) -> str:
    """What the caller is told."""
    return f"the body is too large; at most {max_bytes} bytes are read"
