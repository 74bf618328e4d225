"""Listening to its end: the one way in which routes have a recording written down."""

from __future__ import annotations

from contextlib import aclosing
from typing import cast

from localgpt.server.gateway import Gateway
from localgpt.tasks import Finished, ListenRequest, ListenResult

__all__ = ["hear"]


async def hear(gateway: Gateway, task: ListenRequest) -> ListenResult:
    """Run a request to listen, however long the recording is.

    Its events are asked for, since each of them is a sign of progress that gives it time for the next.

    Raises:
        LocalGPTError: it was refused or failed.
    """
    async with aclosing(gateway.service.stream(task)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return cast("ListenResult", event.result)
    raise AssertionError("listening ended without its last event")
