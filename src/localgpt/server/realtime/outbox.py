"""What a call still has to send: bounded, in order, and with the sound of an interrupted answer taken out.

Whoever speaks waits for room; whoever answers the client does not. One task writes, so that a client that
reads slowly holds up the sound and nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from localgpt.errors import CapacityError
from localgpt.server.realtime.items import new_id
from localgpt.units import KIB, MIB

__all__ = ["Outbox"]

_ROOM_BYTES: Final = 64 * KIB  # of sound that waits to be written; about a second
_MAX_BYTES: Final = 32 * MIB  # of everything; a client that asks and does not read reaches it


@dataclass(slots=True)
class _Letter:
    text: str
    response_id: str | None  # of sound


class Outbox:
    """The way out of one call.

    Args:
        send: writes one text to the client.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._letters: deque[_Letter] = deque()
        self._num_bytes = 0
        self._num_sound = 0
        self._has_letters = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def put(self, kind: str, **fields: Any) -> None:
        """Send an event.

        Raises:
            CapacityError: the client has not read for so long that there is no room.
        """
        self._add(kind, fields, None)

    async def put_sound(self, kind: str, response_id: str, **fields: Any) -> None:
        """Send an event that holds sound, once there is room.

        Args:
            kind: of the event.
            response_id: of the answer it belongs to.
            fields: of the event.
        """
        await self._has_room.wait()
        self._add(kind, {"response_id": response_id, **fields}, response_id)

    def drop_sound(self, response_id: str) -> None:
        """Take out the sound of an answer that was interrupted."""
        kept = [letter for letter in self._letters if letter.response_id != response_id]
        dropped = len(self._letters) - len(kept)
        if dropped:
            self._letters = deque(kept)
            self._num_bytes = sum(len(letter.text) for letter in kept)
            self._num_sound = sum(len(letter.text) for letter in kept if letter.response_id)
            self._settle()

    async def flush(self) -> None:
        """Wait until everything has been written."""
        await self._is_empty.wait()

    async def write(self) -> None:
        """Write what comes, until cancelled or the client is gone."""
        while True:
            await self._has_letters.wait()
            letter = self._letters.popleft()
            self._num_bytes -= len(letter.text)
            self._num_sound -= len(letter.text) if letter.response_id else 0
            if not self._letters:
                self._has_letters.clear()
            await self._send(letter.text)
            self._settle()

    def _add(self, kind: str, fields: dict[str, Any], response_id: str | None) -> None:
        event = {"type": kind, "event_id": new_id("event"), **fields}
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        if not _is_writable(text):
            text = json.dumps(event, separators=(",", ":"))
        if self._num_bytes + len(text) > _MAX_BYTES:
            raise CapacityError("the client does not read what it is sent; the call is ended")
        self._letters.append(_Letter(text, response_id))
        self._num_bytes += len(text)
        self._num_sound += len(text) if response_id else 0
        self._settle()

    def _settle(self) -> None:
        for event, holds in (
            (self._has_letters, bool(self._letters)),
            (self._is_empty, not self._letters),
            (self._has_room, self._num_sound < _ROOM_BYTES),
        ):
            if holds:
                event.set()
            else:
                event.clear()


def _is_writable(text: str) -> bool:
    """Whether there is UTF-8 of it: what a client sent comes back to it, and may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
