"""A service's own models, and those of other servers beside them.

It stands in the process that has the network: the models themselves may run in one that has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from localgpt.runtime.upstream.address import Upstream, read_upstreams
from localgpt.runtime.upstream.service import UpstreamService
from localgpt.tasks import Channel, Event, Request, Result, Status, TaskService, split_upstream

__all__ = ["WithUpstreams", "beside_upstreams", "read_upstreams"]


def beside_upstreams(own: TaskService, upstreams: Sequence[Upstream]) -> TaskService:
    """A service with upstreams beside it; itself where there are none."""
    return WithUpstreams(own, UpstreamService(upstreams)) if upstreams else own


class WithUpstreams:
    """Asks upstreams for `upstream:NAME/MODEL` and its own for the rest; implements `tasks.TaskService`.

    Args:
        own: runs everything else; readiness, device and memory are its own.
        upstreams: asks other servers.
    """

    def __init__(self, own: TaskService, upstreams: UpstreamService) -> None:
        self._own = own
        self._upstreams = upstreams

    async def run(self, request: Request) -> Result:
        """Run one request to its end."""
        return await self._service(request).run(request)

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request and yield its events; the last one is `Finished`."""
        return self._service(request).stream(request)

    async def open(self, request: Request) -> Channel:
        """Open a channel."""
        return await self._service(request).open(request)

    async def status(self) -> Status:
        """The service's own status, with the upstreams' models and warnings behind."""
        status, others = await asyncio.gather(self._own.status(), self._upstreams.status())
        return replace(
            status,
            models=(*status.models, *others.models),
            num_running=status.num_running + others.num_running,
            notices=(*status.notices, *others.notices),
        )

    async def close(self) -> None:
        """Close both."""
        await self._upstreams.close()
        await self._own.close()

    def _service(self, request: Request) -> TaskService:
        return self._own if split_upstream(request.model) is None else self._upstreams
