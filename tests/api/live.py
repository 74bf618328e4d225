"""A real listener in the test's own event loop, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from localgpt.server import create_app
from localgpt.server.running import Server, bind
from localgpt.server.tls import Identity
from localgpt.settings import Settings
from localgpt.tasks import TaskService

PATIENCE_S = 60  # of a busy machine; a hang fails the test
SOON_S = 0.5  # a time limit to be passed, yet long enough for what a busy machine has to read before


class Live:
    """A server that listens on a free port."""

    def __init__(self, settings: Settings, service: TaskService, identity: Identity | None = None) -> None:
        self.listening = asyncio.Event()
        self.app = create_app(settings, service)
        self.server = Server(self.app, identity=identity, on_listening=self.listening.set)
        self._listener = bind("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.task = asyncio.ensure_future(self.server.serve(sockets=[self._listener]))

    async def connect(self, *, read_limit: int = 2**16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection that has sent nothing."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=read_limit)

    async def ask(self, text: str) -> str:
        """Everything that comes back for a request, up to the end of the connection."""
        reader, writer = await self.connect()
        writer.write(text.encode("latin-1"))
        try:
            return (await reader.read()).decode()
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """End a connection, which may be broken already."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def live(
    settings: Settings, service: TaskService, identity: Identity | None = None
) -> AsyncIterator[Live]:
    """Serve while the block runs."""
    running = Live(settings, service, identity)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await running.listening.wait()
            yield running
    finally:
        running.server.should_exit = running.server.force_exit = True
        await running.task
