"""Both ends of a `WorkerService` in the test's own event loop: everything but the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from localgpt.settings import Settings
from localgpt.tasks import TaskService
from localgpt.worker import WorkerService
from localgpt.worker.frames import Frame, Kind, encode_frame
from localgpt.worker.host import Host
from localgpt.worker.messages import Plan, encode_settings

PLAN = Plan(device="cpu", notices=("a notice",), max_batch_size=4)
RESIDENT_BYTES = 7


class NearProcess:
    """Stands for a `ModelProcess`; `service` answers as soon as somebody listens."""

    pid = 1

    def __init__(self, service: TaskService) -> None:
        self.socket, self._theirs = socket.socketpair()
        self.socket.sendall(encode_frame(Frame(Kind.SETTINGS, 0, encode_settings(Settings()))))
        self.host: Host | None = None
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def wait_for_plan(self) -> Plan:
        return PLAN

    async def listen_to_log(self) -> tuple[Any, Any]:
        self._task = asyncio.ensure_future(self._serve())
        return self, self

    async def over(self) -> None:
        """As a log's end."""

    def close(self) -> None:
        """As a pipe's transport."""

    def end(self, *, grace_s: float = 0.0) -> str:
        self.socket.close()
        if self._task is None:
            self._theirs.close()
        return "was ended by the test"

    async def _serve(self) -> None:
        self.host = Host(lambda: RESIDENT_BYTES)
        await self.host.link.connect(self._theirs)
        answering = asyncio.ensure_future(self._answer(self.host))
        gone = asyncio.ensure_future(self.host.link.ended())
        await asyncio.wait([gone, answering], return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        gone.cancel()
        await self.host.close()

    async def _answer(self, host: Host) -> None:
        await host.settings()
        await host.serve(self._service)
        await host.closing.wait()

    async def ended(self) -> None:
        """Wait until this side has put everything away."""
        if self._task is not None:
            await self._task


class Near:
    """A worker service and the processes it has started."""

    def __init__(self, make_service: Callable[[], TaskService], *, pause_s: float = 1.0) -> None:
        self._make_service = make_service
        self.processes: list[NearProcess] = []
        self.service = WorkerService(self._launch, pause_s=pause_s)  # type: ignore[arg-type]

    @property
    def host(self) -> Host:
        """The present other end."""
        host = self.processes[-1].host
        assert host is not None
        return host

    def _launch(self) -> NearProcess:
        self.processes.append(NearProcess(self._make_service()))
        return self.processes[-1]

    async def ready(self) -> None:
        """Wait until requests are answered at once."""
        await self.service._keeper.link()

    async def rest(self) -> None:
        """Wait until this end has nothing to send, and the other one nothing to do."""
        await self.service.status()
        while self.host.num_tasks:
            await asyncio.sleep(0)


@asynccontextmanager
async def near(make_service: Callable[[], TaskService], *, pause_s: float = 1.0) -> AsyncIterator[Near]:
    """Serve while the block runs."""
    pair = Near(make_service, pause_s=pause_s)
    pair.service.start()
    try:
        await pair.ready()
        yield pair
    finally:
        await pair.service.close()
        for process in pair.processes:
            await process.ended()
