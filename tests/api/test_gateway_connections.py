"""Connections over a real socket: slow clients, too many of them, bytes that are not HTTP, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from localgpt.server.tls import identity_of
from localgpt.settings import Settings
from localgpt.tasks import Event, Request, TextDelta
from tests.api.fake_service import FakeService
from tests.api.live import SOON_S, Live, close, live

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
HOST = "host: 127.0.0.1\r\n"


def request_of(body: dict[str, Any]) -> str:
    data = json.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}content-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n{data}"


def error_of(reply: str) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(reply.partition("\r\n\r\n")[2])["error"]
    return error


async def begin(server: Live) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream whose first piece is there."""
    reader, writer = await server.connect()
    writer.write(request_of({**HELLO, "stream": True}).encode())
    await reader.readuntil(b'"Hello"')
    return reader, writer


@pytest.mark.parametrize("sent", ["", "GET /health HT", f"GET /health HTTP/1.1\r\n{HOST}x: "])
async def test_headers_that_do_not_come_end_the_connection(service: FakeService, sent: str) -> None:
    async with live(Settings(read_timeout_s=SOON_S), service) as server:
        reply = await server.ask(sent)
    assert reply.startswith("HTTP/1.1 408 ") and error_of(reply)["code"] == "request_timeout"


async def test_a_second_request_is_on_the_clock_too(service: FakeService) -> None:
    async with live(Settings(read_timeout_s=SOON_S), service) as server:
        reader, writer = await server.connect()
        writer.write(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
        await reader.readuntil(b'"status":"ok"')
        writer.write(b"GET /health HT")
        assert b"408" in await reader.read()
        await close(writer)


async def test_a_body_that_does_not_come_is_a_408(service: FakeService) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}content-type: application/json\r\n"
    async with live(Settings(read_timeout_s=SOON_S), service) as server:
        for length in ("content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"):
            reply = await server.ask(head + length)
            assert reply.startswith("HTTP/1.1 408 ") and "did not arrive in time" in reply


@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01\x02\r\n\r\n",
        "GET\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HOST}content-length: 1\r\ncontent-length: 2\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HOST}content-length: -1\r\n\r\n",
        f"POST / HTTP/1.1\r\n{HOST}transfer-encoding: chunked, identity\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HOST}bad name: 1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_400_with_our_body(service: FakeService, text: str) -> None:
    async with live(Settings(), service) as server:
        reply = await server.ask(text)
    assert reply.startswith("HTTP/1.1 400 ") and error_of(reply)["code"] == "invalid_http"


async def test_headers_without_end_are_cut(service: FakeService) -> None:
    async with live(Settings(), service) as server:
        with contextlib.suppress(ConnectionError):  # what was not read may make the system reset
            await server.ask(f"GET / HTTP/1.1\r\n{HOST}x: " + "y" * 2_000_000)
        while server.server.server_state.connections:
            await asyncio.sleep(0)
        whole = f"GET /health HTTP/1.1\r\n{HOST}connection: close\r\nx: {'y' * 40_000}\r\n\r\n"
        assert (await server.ask(whole)).startswith("HTTP/1.1 431 ")


async def test_too_many_connections(service: FakeService) -> None:
    async with live(Settings(max_connections=1), service) as server:
        _, first = await server.connect()
        reply = await server.ask(f"GET /health HTTP/1.1\r\n{HOST}\r\n")
        assert reply.startswith("HTTP/1.1 503 ") and "retry-after: " in reply
        assert error_of(reply)["code"] == "overloaded"
        await close(first)
        while server.server.server_state.connections:
            await asyncio.sleep(0)
        reader, writer = await server.connect()
        writer.write(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
        assert b" 200 " in await reader.readline()
        await close(writer)


async def test_many_at_once_are_told_and_a_flood_is_cut(service: FakeService) -> None:
    """A burst of clients gets a refusal each; what goes far beyond it is ended without a word."""
    async with live(Settings(max_connections=1), service) as server:
        made = server.server.server_state.connections
        opened = [await server.connect() for _ in range(8)]
        while len(made) < 8:
            await asyncio.sleep(0)
        flood, writer = await server.connect()
        with contextlib.suppress(ConnectionResetError):
            assert await flood.read() == b""
        await close(writer)
        for number, (reader, writer) in enumerate(opened):
            writer.write(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
            assert f" {503 if number else 200} ".encode() in await reader.readline()
            await close(writer)


@dataclass
class Endless(FakeService):
    """Says more than anybody reads."""

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        try:
            while True:
                yield TextDelta(text="x" * 50_000)
        finally:
            self.num_cancelled += 1


async def test_a_client_that_reads_nothing_is_cut() -> None:
    service = Endless()
    async with live(Settings(write_timeout_s=0.1), service) as server:
        _, writer = await server.connect(read_limit=1)
        writer.write(request_of({**HELLO, "stream": True}).encode())
        while not service.num_cancelled:
            await asyncio.sleep(0.01)
        assert server.app.state.gateway.turns.idle.is_set()
        await close(writer)


async def test_disconnects_leave_nothing(service: FakeService) -> None:
    service.gate = asyncio.Event()
    async with live(Settings(), service) as server:
        before = len(asyncio.all_tasks())
        for _ in range(3):
            writers = [(await begin(server))[1] for _ in range(4)]
            for writer in writers:
                await close(writer)
            await server.app.state.gateway.turns.idle.wait()
            while server.server.server_state.tasks or server.server.server_state.connections:
                await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before
    assert service.num_cancelled == 12


@pytest.mark.parametrize(("proxies", "scheme"), [((), "http"), (("127.0.0.1",), "https")])
async def test_forwarded_headers_are_believed_of_named_proxies_alone(
    service: FakeService, proxies: tuple[str, ...], scheme: str
) -> None:
    spoofed = (
        f"GET /v1/status HTTP/1.1\r\n{HOST}"
        "x-forwarded-host: evil.example\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n"
        "authorization: Bearer a-long-key\r\nconnection: close\r\n\r\n"
    )
    async with live(Settings(trusted_proxies=proxies, api_keys=("a-long-key",)), service) as server:
        seen: list[str] = []
        answer = server.app.middleware_stack
        assert answer is not None

        async def spy(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["scheme"])
            await answer(scope, receive, send)

        server.app.middleware_stack = spy
        assert " 200 " in await server.ask(spoofed)
        assert seen == [scheme]
        server.app.middleware_stack = answer


# ---- the end ----


async def test_a_stop_lets_answers_finish(service: FakeService) -> None:
    service.gate = asyncio.Event()
    async with live(Settings(drain_s=60), service) as server:
        reader, writer = await begin(server)
        server.server.stop()
        while not server.app.state.gateway.turns.is_closed:
            await asyncio.sleep(0.01)
        reply = await server.ask(f"GET /ready HTTP/1.1\r\n{HOST}connection: close\r\n\r\n")
        assert reply.startswith("HTTP/1.1 503 ") and '"stopping"' in reply
        service.gate.set()
        assert b"[DONE]" in await reader.read()
        await server.task
        await close(writer)
    assert service.num_cancelled == 0 and service.is_closed


async def test_a_stop_ends_answers_that_take_too_long(service: FakeService) -> None:
    service.gate = asyncio.Event()
    async with live(Settings(drain_s=0.05), service) as server:
        reader, writer = await begin(server)
        server.server.stop()
        assert b"the server is stopping" in await reader.read()
        await server.task
        await close(writer)
    assert service.num_cancelled == 1


async def test_the_second_signal_ends_the_wait(service: FakeService) -> None:
    service.gate = asyncio.Event()
    async with live(Settings(drain_s=3600), service) as server:
        _, writer = await begin(server)
        server.server.handle_exit(signal.SIGTERM, None)
        while not server.app.state.gateway.turns.is_closed:
            await asyncio.sleep(0.01)
        server.server.handle_exit(signal.SIGTERM, None)
        assert server.server.force_exit
        server.server._captured_signals.clear()  # else it would be raised again in the tests' process
        await server.task
        await close(writer)
    assert service.num_cancelled == 1


async def test_ctrl_c_does_not_wait(service: FakeService) -> None:
    service.gate = asyncio.Event()
    async with live(Settings(drain_s=3600), service) as server:
        reader, writer = await begin(server)
        server.server.handle_exit(signal.SIGINT, None)
        server.server._captured_signals.clear()
        assert b"the server is stopping" in await reader.read()
        await server.task
        await close(writer)


# ---- TLS ----


async def test_tls_with_our_own_certificate(service: FakeService, tmp_path: Path) -> None:
    settings = Settings(tls_self_signed=True, data_dir=tmp_path)
    identity = identity_of(settings)
    assert identity is not None
    trust = ssl.create_default_context(cafile=identity.cert)
    async with live(settings, service, identity) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust)
        writer.write(f"GET /health HTTP/1.1\r\n{HOST}connection: close\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        await reader.read()
        await close(writer)
        with socket.create_connection(("127.0.0.1", server.port)) as plain:  # not TLS: no answer, no harm
            plain.close()


@pytest.mark.parametrize("ticks", range(5))
async def test_a_stop_leaves_no_connection_behind(service: FakeService, ticks: int) -> None:
    """However far a new connection has come when the end begins: waiting, accepted, or made."""
    async with live(Settings(drain_s=0.0), service) as server:
        made = server.server.server_state.connections
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            for _ in range(ticks):
                await asyncio.sleep(0)
            await server.server.shutdown([])
            assert not made
            client.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


async def test_a_connection_made_too_late_is_broken_off(service: FakeService) -> None:
    async with live(Settings(drain_s=0.0), service) as server:
        made = server.server.server_state.connections
        reader, writer = await server.connect()
        while not made:
            await asyncio.sleep(0)
        next(iter(made)).shutdown = lambda: None  # type: ignore[method-assign]  # it never heard of the end
        await server.server.shutdown([])
        assert not made
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await close(writer)
