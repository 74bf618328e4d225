"""Reading a request's body: how much, how fast, and how deep its JSON may be.

Covered: bodies too large, declared or in chunks; bodies that trickle; JSON nested so deep, or made of so many
pieces, that reading it would hold up everybody.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

__all__ = ["MAX_JSON_DEPTH", "BodyReader", "JsonShape", "too_large"]

MIN_BYTES_PER_S = 1024  # what a body must arrive at, after its first `read_timeout_s`
MAX_JSON_DEPTH = 100
MAX_JSON_MARKS = 2_000_000  # brackets and quotes; a long conversation has some thousand
_OTHERS = bytes(set(range(256)) - set(b'[]{}"\\'))
_CLOSE = {"connection": "close"}  # the rest of the body is not waited for


class BodyReader:
    """An ASGI `receive` that reads at most so much, and waits at most so long.

    It raises `HTTPException`, the one class that FastAPI lets through while it reads a body.

    Args:
        receive: the connection's own.
        max_bytes: of the whole body.
        read_timeout_s: that the body may take, and a second more for each KiB of it.
        is_json: look at the shape of it too.
    """

    def __init__(self, receive: Receive, *, max_bytes: int, read_timeout_s: float, is_json: bool) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._read_timeout_s = read_timeout_s
        self._shape = JsonShape() if is_json else None
        self._started: float | None = None
        self._num_bytes = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        """The next message."""
        if self._is_whole:  # what comes now is a disconnect
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline()):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time; send it faster", _CLOSE) from None
        body = message.get("body", b"")
        self._is_whole = not message.get("more_body", False)
        self._num_bytes += len(body)
        if self._num_bytes > self._max_bytes:
            raise HTTPException(413, too_large(self._max_bytes), _CLOSE)
        if self._shape is not None and not self._shape.feed(body):
            raise HTTPException(
                400,
                f"the body's JSON is nested more than {MAX_JSON_DEPTH} deep or has more than "
                f"{MAX_JSON_MARKS:,} brackets and quotes; send less",
                _CLOSE,
            )
        return message

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
        marks = data.translate(None, _OTHERS).replace(b"\\", b"")
        self._num_marks += len(marks)
        if self._num_marks > MAX_JSON_MARKS:
            return False
        # Between two quotes stands a text or what is outside of texts, in turn.
        for piece in marks.split(b'"'):
            if not self._in_text:
                for mark in piece:
                    self._depth += 1 if mark in b"[{" else -1
                    if self._depth > MAX_JSON_DEPTH:
                        return False
            self._in_text = not self._in_text
        self._in_text = not self._in_text  # the last piece goes on in the next part
        return True


def too_large(max_bytes: int) -> str:
    """What the caller is told."""
    return f"the body is too large; at most {max_bytes} bytes are read"
