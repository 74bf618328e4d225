"""One request whose work is done in the process of the models, and what comes back for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import cast

from localgpt.tasks import Event, Result
from localgpt.worker.frames import Kind
from localgpt.worker.link import Link

__all__ = ["Call", "Item", "RemoteChannel"]

Item = Event | Result | BaseException | None
"""What comes back; None says that the channel is there, or that no event comes any more."""


class Call:
    """What comes back for one request, in order.

    Args:
        link: to the process that works on it.
        number: of its frames.
    """

    def __init__(self, link: Link, number: int) -> None:
        self.link = link
        self.number = number
        self.is_over = False  # the other side has said the last about it
        self._items: asyncio.Queue[Item] = asyncio.Queue()

    def put(self, item: Item) -> None:
        """Something has come back."""
        self._items.put_nowait(item)

    async def result(self) -> Result:
        """The answer to RUN.

        Raises:
            LocalGPTError, RemoteError: it failed.
        """
        result = cast("Result", await self._next())
        self.is_over = True
        return result

    async def opened(self) -> None:
        """Wait for the answer to OPEN; errors as those of `result`."""
        await self._next()

    async def events(self) -> AsyncGenerator[Event]:
        """The events of STREAM or of a channel; errors as those of `result`."""
        while (item := await self._next()) is not None:
            yield cast("Event", item)
        self.is_over = True

    async def _next(self) -> Item:
        item = await self._items.get()
        if isinstance(item, BaseException):
            self.is_over = True
            raise item
        return item


class RemoteChannel:
    """A `Channel` of the other process.

    Args:
        call: answered with OPENED.
        end: forgets the call, and gives it up where it is not over.
    """

    def __init__(self, call: Call, end: Callable[[Call], None]) -> None:
        self._call = call
        self._end = end

    async def send(self, data: bytes) -> None:
        """Hand over the next input bytes."""
        self._call.link.send(Kind.SEND, self._call.number, data)

    def events(self) -> AsyncIterator[Event]:
        """Events as they happen."""
        return self._call.events()

    async def close(self) -> None:
        """End the conversation, its events too, and free what it holds; may be called twice."""
        self._end(self._call)
        self._call.put(None)
