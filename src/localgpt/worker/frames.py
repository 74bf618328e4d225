"""Frames: how messages follow one another on the socket between gateway and models.

A frame is the length of its body (4 bytes, big endian), its kind (1 byte), the number of the request it
belongs to (8 bytes; 0 for none), and the body. Numbers are never used twice, so an answer that was on its way
when its request was given up belongs to nobody, and is passed over.

Covered: a kind that is not known, and a length above the limit, end the connection. A length that is
announced takes no memory; bytes that have come do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from localgpt.errors import BackendError
from localgpt.units import GIB, format_bytes

__all__ = [
    "HEADER_BYTES",
    "MAX_BODY_BYTES",
    "BrokenFrameError",
    "Frame",
    "FrameReader",
    "Kind",
    "decode_header",
    "encode_frame",
]

MAX_BODY_BYTES: Final = GIB  # a conversation with all its pictures; far above what the server lets in at once
_HEADER: Final = struct.Struct(">IBQ")
HEADER_BYTES: Final = _HEADER.size


class BrokenFrameError(BackendError):
    """What came over the socket is no frame, or no message of its kind."""


class Kind(IntEnum):
    """What a frame's body is. The first ones go to the models, the others come from them."""

    SETTINGS = 1  # what to load; the first frame
    RUN = 2  # a request
    STREAM = 3  # a request
    OPEN = 4  # a request for a channel
    SEND = 5  # the next bytes for a channel
    CANCEL = 6  # give the request or the channel up; empty
    STATUS = 7  # asks for one; empty
    CLOSE = 8  # end; empty

    PLAN = 16  # what will be loaded where; before anything is read
    LOADED = 17  # a status: requests are answered from now on
    FAILED = 18  # an error: nothing can be loaded, and the process ends
    TEXT = 19  # a TextDelta without log probabilities: its text
    EVENT = 20  # any other event
    RESULT = 21  # the end of RUN
    OPENED = 22  # the channel is there; empty
    ENDED = 23  # no event comes any more; empty
    ERROR = 24  # an error, and with it the end of the request
    STATE = 25  # the status that was asked for


class Frame(NamedTuple):
    """One message. `number` is that of its request."""

    kind: Kind
    number: int
    body: bytes


def encode_frame(frame: Frame) -> bytes:
    """Bytes of a frame.

    Raises:
        BrokenFrameError: the body is longer than `MAX_BODY_BYTES`.
    """
    _check_length(len(frame.body))
    return _HEADER.pack(len(frame.body), frame.kind, frame.number) + frame.body


def decode_header(header: bytes | bytearray, start: int = 0) -> tuple[Kind, int, int]:
    """Kind, number and length of the body of the frame that begins there.

    Raises:
        BrokenFrameError: no kind of frame, or too long.
    """
    length, kind, number = _HEADER.unpack_from(header, start)
    _check_length(length)
    try:
        return Kind(kind), number, length
    except ValueError:
        raise BrokenFrameError(
            f"a frame of the unknown kind {kind} came between gateway and models, expected one of "
            f"{', '.join(map(str, map(int, Kind)))}"
        ) from None


class FrameReader:
    """Frames out of bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_mid_frame(self) -> bool:
        """Whether the last frame is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole with these bytes; take them all before the next call.

        Raises:
            BrokenFrameError: what follows is no frame.
        """
        self._buffer += data
        buffer, start = self._buffer, 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                kind, number, length = decode_header(buffer, start)
                end = start + HEADER_BYTES + length
                if len(buffer) < end:
                    return
                body = bytes(memoryview(buffer)[start + HEADER_BYTES : end])
                start = end
                yield Frame(kind, number, body)
        finally:
            del buffer[:start]


def _check_length(length: int) -> None:
    if length > MAX_BODY_BYTES:
        raise BrokenFrameError(
            f"a frame of {format_bytes(length)} between gateway and models, expected at most "
            f"{format_bytes(MAX_BODY_BYTES)}"
        )
