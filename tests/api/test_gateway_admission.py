"""Admission and streams as a client meets them: queues, limits, deadlines, heartbeats, slow readers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from localgpt.errors import InputError
from localgpt.server import create_app
from localgpt.server.turns import Limits
from localgpt.settings import Settings
from localgpt.tasks import Event, Request, TextDelta
from tests.api.conftest import BASE_URL
from tests.api.fake_service import FakeService
from tests.api.wire import Wire

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
SMALL = Settings(max_batch_size=1, max_queue=1)  # three run (two are spare), one waits


@dataclass
class OneLimit:
    """The same limits for everybody."""

    limits: Limits

    def limits_of(self, owner: str) -> Limits:
        return self.limits


def app_of(service: FakeService, settings: Settings = SMALL) -> FastAPI:
    return create_app(settings, service)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)


async def fill(app: FastAPI, service: FakeService, num: int = 3) -> list[Wire]:
    """Streams that have begun and do not end."""
    service.gate = service.gate or asyncio.Event()
    wires = [Wire(app, {**HELLO, "stream": True}) for _ in range(num)]
    for wire in wires:
        await wire.until(b'"Hello"')
    return wires


def pass_time(seconds: float) -> None:
    """Let the event loop believe that so much time has passed."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


async def settle(app: FastAPI, num_waiting: int) -> None:
    while app.state.gateway.turns.num_waiting != num_waiting:
        await asyncio.sleep(0)


async def leave(*wires: Wire) -> None:
    for wire in wires:
        wire.disconnect()
    await asyncio.gather(*(wire.task for wire in wires))


async def read_all(wire: Wire) -> bytes:
    """What is left of an answer."""
    await wire.task
    text = b""
    while not wire.outbox.empty():
        text += await wire.next()
    return text


async def test_a_full_queue_is_a_503_with_a_time(service: FakeService) -> None:
    app = app_of(service)
    wires = [*await fill(app, service), Wire(app, HELLO)]
    await settle(app, 1)
    async with client_of(app) as client:
        status = (await client.get("/v1/status")).json()
        assert status["num_running"] + status["num_waiting"] == 4
        for stream in (True, False):
            reply = await client.post("/v1/chat/completions", json={**HELLO, "stream": stream})
            assert reply.status_code == 503 and reply.json()["error"]["code"] == "overloaded"
            assert int(reply.headers["retry-after"]) >= 1
    await leave(*wires)
    assert app.state.gateway.turns.idle.is_set()


@pytest.mark.parametrize("limits", [Limits(max_parallel=2), Limits(requests_per_minute=2)])
async def test_a_key_over_its_limit_is_a_429(service: FakeService, limits: Limits) -> None:
    app = app_of(service)
    app.state.gateway.turns.limits = OneLimit(limits)
    wires = await fill(app, service, num=2)
    async with client_of(app) as client:
        reply = await client.post("/v1/chat/completions", json=HELLO)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (429, "rate_limit_exceeded")
        assert int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/v1/models")).status_code == 200  # limits are of model work
    await leave(*wires)


async def test_who_waits_is_served_when_a_slot_is_free(service: FakeService) -> None:
    app = app_of(service)
    wires = await fill(app, service)
    waiting = Wire(app, {**HELLO, "stream": True})
    await settle(app, 1)
    assert len(service.requests) == 3
    await leave(wires[0])
    await waiting.until(b'"Hello"')
    assert waiting.status == 200
    await leave(waiting, *wires[1:])


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_while_waiting_leaves_nothing(service: FakeService, stream: bool) -> None:
    app = app_of(service)
    wires = await fill(app, service)
    waiting = Wire(app, {**HELLO, "stream": stream})
    await settle(app, 1)
    await leave(waiting)
    assert app.state.gateway.turns.num_waiting == 0 and len(service.requests) == 3
    await leave(*wires)
    assert service.num_cancelled == 3


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelled_at_any_point_nothing_is_left(service: FakeService, stream: bool) -> None:
    app = app_of(service)
    service.gate = asyncio.Event()
    before = asyncio.all_tasks()
    for num_steps in range(60):
        wire = Wire(app, {**HELLO, "stream": stream})
        for _ in range(num_steps):
            await asyncio.sleep(0)
        wire.disconnect()
        await wire.task
        assert app.state.gateway.turns.idle.is_set(), num_steps
        assert asyncio.all_tasks() == before, num_steps
    assert len(service.requests) == service.num_cancelled > 0


async def test_a_deadline_passes_while_waiting(service: FakeService) -> None:
    app = app_of(service)
    wires = await fill(app, service)
    app.state.gateway.service._timeout_s = 0.01
    async with client_of(app) as client:
        reply = await client.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline_exceeded")
    assert len(service.requests) == 3
    await leave(*wires)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_passes_while_running(service: FakeService, stream: bool) -> None:
    service.gate = asyncio.Event()
    app = app_of(service, Settings(request_timeout_s=60))
    wire = Wire(app, {**HELLO, "stream": stream})
    while not service.requests:
        await asyncio.sleep(0)
    pass_time(60)
    text = await read_all(wire)
    assert b"deadline_exceeded" in text and wire.status == (200 if stream else 503)
    assert service.num_cancelled == 1
    deadline_s = service.requests[0].deadline_s
    assert deadline_s is not None and 0 < deadline_s <= 60


# ---- streams ----


async def test_a_waiting_stream_is_kept_alive(service: FakeService) -> None:
    app = app_of(service, Settings(max_batch_size=1, heartbeat_s=0.01))
    wires = await fill(app, service)
    waiting = Wire(app, {**HELLO, "stream": True})
    for _ in range(3):
        await waiting.until(b": ping\n\n")
    assert waiting.status == 200 and waiting.headers["content-type"].startswith("text/event-stream")
    assert len(service.requests) == 3
    assert service.gate is not None
    service.gate.set()
    await waiting.until(b'"Hello"')
    await waiting.until(b"[DONE]")
    await asyncio.gather(waiting.task, *(wire.task for wire in wires))


async def test_what_fails_late_is_an_event_and_what_fails_at_once_a_status(service: FakeService) -> None:
    service.error = InputError("no such thing", param="messages")
    reply = Wire(app_of(service), {**HELLO, "stream": True})
    assert b"no such thing" in await read_all(reply) and reply.status == 400

    class Slow(FakeService):
        async def stream(self, request: Request) -> AsyncIterator[Event]:
            await asyncio.sleep(0.05)
            raise InputError("no such thing", param="messages")
            yield

    reply = Wire(app_of(Slow(), Settings(heartbeat_s=0.01)), {**HELLO, "stream": True})
    text = await read_all(reply)
    assert reply.status == 200 and text.startswith(b": ping\n\n")
    error, last = [line for line in text.decode().split("\n\n") if line.startswith("data: ")]
    assert json.loads(error.removeprefix("data: "))["error"]["param"] == "messages"
    assert last == "data: [DONE]"


@dataclass
class Counting(FakeService):
    """Counts the pieces that were asked of it."""

    num_pieces: int = 0

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        for _ in range(10_000):
            self.num_pieces += 1
            yield TextDelta(text="x" * 1000)


async def test_a_slow_reader_holds_the_model_back() -> None:
    service = Counting()
    wire = Wire(app_of(service), {**HELLO, "stream": True}, max_unread=2)
    for _ in range(500):
        await asyncio.sleep(0)
    assert service.num_pieces <= 5
    await leave(wire)
    assert service.num_pieces <= 5


async def test_work_ends_within_two_tokens_of_a_disconnect() -> None:
    service = Counting()
    wire = Wire(app_of(service), {**HELLO, "stream": True})
    for _ in range(10):
        await wire.until(b"xxx")
    wire.disconnect()
    before = service.num_pieces
    await wire.task
    assert service.num_pieces <= before + 2


async def test_draining_lets_nobody_in_and_finishes_what_runs(service: FakeService) -> None:
    app = app_of(service)
    (wire,) = await fill(app, service, num=1)
    app.state.gateway.turns.is_closed = True
    async with client_of(app) as client:
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        assert (await client.get("/health")).status_code == 200
        reply = await client.post("/v1/chat/completions", json=HELLO)
        assert reply.status_code == 503 and "stopping" in reply.json()["error"]["message"]
    assert service.gate is not None
    service.gate.set()
    await wire.until(b"[DONE]")
    await wire.task
