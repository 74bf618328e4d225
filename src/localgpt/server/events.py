"""The events of one or more tasks as one stream: merged, watched, and closed in one place.

Every streaming route is built on this: `Events` starts the tasks with its first `anext`, and
`EventBodies`, the same events written as JSON, goes to `work.EventStream`. Closing either at any point
cancels the tasks and tells the watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Protocol

from localgpt.errors import CancelledRequestError, LocalGPTError, RateLimitError
from localgpt.server.gateway import Gateway
from localgpt.tasks import Event, Finished, Notice, Request, Result

__all__ = ["EventBodies", "Events", "Watcher", "check_places", "close_source", "news_of", "run_tasks"]


class Watcher(Protocol):
    """Sees the events of an answer while they are sent, and its end."""

    def on_event(self, event: Event) -> None:
        """Each event, in order, before it is sent."""

    async def on_end(self, error: BaseException | None) -> None:
        """Called once, however the answer ends.

        Args:
            error: None after the last event; `CancelledRequestError` itself (`DeadlineError` is another) when
                the client went away or the server stops before it; else what went wrong.
        """


class Events:
    """The events of tasks as they come, each with its task's index.

    Args:
        gateway: runs the tasks.
        tasks: at least one.
        watcher: sees them all, and their end.
    """

    def __init__(self, gateway: Gateway, tasks: Sequence[Request], watcher: Watcher | None = None) -> None:
        self._streams = {index: gateway.service.stream(task) for index, task in enumerate(tasks)}
        self._coming: dict[int, asyncio.Future[Event]] = {}
        self._num_unfinished = len(tasks)
        self._watcher = watcher

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        try:
            index, event = await self._next()
        except StopAsyncIteration:
            await self.aclose()
            raise
        except BaseException as error:
            await self._end(error)
            raise
        self._num_unfinished -= isinstance(event, Finished)
        if self._watcher is not None:
            self._watcher.on_event(event)
        return index, event

    async def aclose(self) -> None:
        """Cancel what still runs; may be called twice."""
        await self._end(asyncio.CancelledError())

    async def _next(self) -> tuple[int, Event]:
        while self._streams:
            index = next(iter(self._streams)) if len(self._streams) == 1 else await self._first_done()
            coming = self._coming.pop(index, None)
            try:
                return index, await (anext(self._streams[index]) if coming is None else coming)
            except StopAsyncIteration:
                del self._streams[index]
        raise StopAsyncIteration

    async def _first_done(self) -> int:
        """The stream whose next event is there; waits for all of them at once."""
        for index in self._streams.keys() - self._coming.keys():
            self._coming[index] = asyncio.ensure_future(_next_of(self._streams[index]))
        await asyncio.wait(self._coming.values(), return_when=asyncio.FIRST_COMPLETED)
        return min(index for index, coming in self._coming.items() if coming.done())

    async def _end(self, error: BaseException) -> None:
        streams, self._streams = self._streams, {}
        coming, self._coming = self._coming, {}
        watcher, self._watcher = self._watcher, None
        for future in coming.values():
            future.cancel()
        await asyncio.gather(*coming.values(), return_exceptions=True)
        for stream in streams.values():
            await close_source(stream)
        if watcher is None:
            return
        if isinstance(error, asyncio.CancelledError):
            error = CancelledRequestError("the answer was not read to its end")
        # Shielded, so that whoever keeps the answer can do so even when this is cancelled once more.
        await asyncio.shield(asyncio.ensure_future(watcher.on_end(error if self._num_unfinished else None)))


def news_of(events: Events, notices: list[str]) -> AsyncIterator[tuple[int, Event, list[str]]]:
    """Events with the notices that each is the first to bring.

    Args:
        events: from their beginning.
        notices: known before; those that come before the first piece are added, and their events are not
            handed out, so that they can be told together with the first piece.
    """
    return _News(events, notices)


class _News:
    """No generator: one that is dropped half read is ended by a task of its own, after all the others."""

    def __init__(self, events: Events, notices: list[str]) -> None:
        self._events = events
        self._notices = notices
        self._told = set(notices)
        self._has_begun = False

    def __aiter__(self) -> _News:
        return self

    async def __anext__(self) -> tuple[int, Event, list[str]]:
        while True:
            index, event = await anext(self._events)
            texts: tuple[str, ...] = (event.text,) if isinstance(event, Notice) else ()
            if isinstance(event, Finished):
                texts = event.result.notices
            untold = [text for text in dict.fromkeys(texts) if text not in self._told]
            self._told.update(untold)
            if isinstance(event, Notice) and not self._has_begun:
                self._notices.extend(untold)
                continue
            self._has_begun = True
            return index, event, untold


class EventBodies:
    """What is sent of events; closing it closes the events, even before the first was asked for.

    Args:
        texts: written from `events`: JSON, or bytes of a file.
        events: where they come from.
    """

    def __init__(self, texts: AsyncGenerator[Any], events: Events) -> None:
        self._texts = texts
        self._events = events

    def __aiter__(self) -> EventBodies:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._texts)

    async def aclose(self) -> None:
        """Cancel what still runs; may be called twice."""
        await self._texts.aclose()
        await self._events.aclose()


def check_places(gateway: Gateway, tasks: Sequence[Request], *, param: str) -> None:
    """Refuse tasks of one request that their owner's own limits do not let in together; see `Turns.check`.

    Raises:
        InputError, RateLimitError: never, or not now.
    """
    if len(tasks) == 1:
        return
    try:
        gateway.turns.check(tasks[0].owner, len(tasks), param=param)
    except RateLimitError:
        gateway.metrics.refused("own_limit")
        raise


async def run_tasks(gateway: Gateway, tasks: Sequence[Request]) -> list[Result]:
    """Run tasks side by side; where one fails, the others are cancelled.

    Raises:
        LocalGPTError: what the first one failed with.
    """
    running = [asyncio.ensure_future(gateway.service.run(task)) for task in tasks]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _next_of(stream: AsyncIterator[Event]) -> Event:
    return await anext(stream)


async def close_source(iterator: AsyncIterator[Any]) -> None:
    """Close what events come from, if it can be closed; what it fails with was told before, or to nobody."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        with contextlib.suppress(LocalGPTError):
            await close()
