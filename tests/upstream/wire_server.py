"""A small server of the OpenAI wire on this machine, which a test can make slow, broken, absent or a liar."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 60  # of a busy machine; a hang fails the test


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Script = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class WireServer:
    """Answers every request with `script`, and remembers what it was asked."""

    script: Script
    asked: list[Asked] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # a client has closed its connection
    port: int = 0
    at_work: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer in a task of its own, which `close` ends."""
        task = asyncio.ensure_future(self.serve(reader, writer))
        self.at_work.add(task)
        task.add_done_callback(self.at_work.discard)

    async def close(self) -> None:
        for task in list(self.at_work):
            task.cancel()
        await asyncio.gather(*self.at_work, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                asked = await read_request(reader)
                self.asked.append(asked)
                watch = asyncio.ensure_future(self.watch(reader))
                try:
                    await self.script(asked, writer)
                    await writer.drain()
                finally:
                    watch.cancel()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def watch(self, reader: asyncio.StreamReader) -> None:
        """Tell when the client goes away."""
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.gone.set()


async def read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    data = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, json.loads(data) if data else None)


@asynccontextmanager
async def wire_server(script: Script) -> AsyncIterator[WireServer]:
    server = WireServer(script)
    listener = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield server
    finally:
        listener.close()
        await server.close()


def head(status: int = 200, kind: str = "text/event-stream", **headers: str) -> bytes:
    """The beginning of an answer, whose body ends with the connection."""
    given = {"content-type": kind, "connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason} | more]}


def text_chunks(*texts: str, reason: str = "stop") -> list[dict[str, Any]]:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(texts)}}
    return [
        chunk({"role": "assistant"}),
        *(chunk({"content": text}) for text in texts),
        chunk({}, reason),
        usage,
    ]


def streams(*chunks: Any, done: bool = True) -> Script:
    """A script that streams chunks, each as it is."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head() + b"".join(map(event, chunks)) + (event(b"[DONE]") if done else b""))

    return script


def says(body: Any, status: int = 200, **headers: str) -> Script:
    """A script that answers with one JSON body, or with bytes as they are."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        writer.write(head(status, "application/json", **headers) + data)

    return script


def sends(data: bytes) -> Script:
    """A script that sends raw bytes and hangs up."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script
