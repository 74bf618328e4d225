"""Bodies: who may send one, in which encoding, in how many pieces, and what becomes of those nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from localgpt.server import access, create_app
from localgpt.server.bodies import MAX_JSON_MARKS, BodyRoom
from localgpt.settings import Settings
from localgpt.units import KIB, MIB
from tests.api.fake_service import FakeService
from tests.api.live import SOON_S, close, live
from tests.api.wire import Wire

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
HOST = "host: 127.0.0.1\r\n"
KEY = "a-key-of-the-test"
Connect = Callable[..., httpx.AsyncClient]


# ---- pieces and encodings ----


async def test_endless_commas_are_a_400(http: httpx.AsyncClient, service: FakeService) -> None:
    body = '{"messages":[' + "0," * MAX_JSON_MARKS + "0]}"
    reply = await http.post(CHAT, content=body, headers=JSON)
    assert reply.status_code == 400 and "commas" in reply.json()["error"]["message"]
    said = {"messages": [{"role": "user", "content": ",[}" * MAX_JSON_MARKS}]}
    assert (await http.post(CHAT, json=said)).status_code == 200, "marks within a text are text"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
async def test_other_encodings_are_refused(http: httpx.AsyncClient, encoding: str) -> None:
    for text in (json.dumps(HELLO), "[[]]"):
        reply = await http.post(CHAT, content=text.encode(encoding), headers=JSON)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (400, "invalid_json") and "UTF-8" in error["message"]


# ---- how much ----


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/session"),
        ("POST", "/api/keys"),
        ("PUT", "/api/settings"),
        ("POST", "/api/conversations"),
        ("PATCH", "/api/conversations/a"),
        ("POST", "/api/conversations/a/answer"),
    ],
)
async def test_small_routes_take_small_bodies(http: httpx.AsyncClient, method: str, path: str) -> None:
    async def pieces() -> Any:
        for _ in range(5):
            yield b" " * (64 * KIB)

    for content in (b" " * (257 * KIB), pieces()):
        reply = await http.request(method, path, content=content, headers=JSON)
        assert reply.status_code == 413, path
    messages = await http.post("/api/conversations/a/messages", content=b" " * MIB, headers=JSON)
    assert messages.status_code != 413


async def test_bodies_of_all_requests_have_room_for_a_few(service: FakeService, connect: Connect) -> None:
    service.gate = asyncio.Event()
    app = create_app(Settings(max_body_mib=1, max_batch_size=8), service)
    large = {"messages": [{"role": "user", "content": "x" * (MIB - 100)}]}
    wires = [Wire(app, {**large, "stream": True}) for _ in range(4)]
    for wire in wires:
        await wire.until(b'"Hello"')
    client = connect(app)
    full = await client.post(CHAT, json=large)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
    assert int(full.headers["retry-after"]) >= 1
    for wire in wires:
        wire.disconnect()
    await asyncio.gather(*(wire.task for wire in wires))
    service.gate.set()
    assert (await client.post(CHAT, json=large)).status_code == 200


def test_room_that_was_given_back_is_there() -> None:
    room = BodyRoom(10)
    room.take(10)
    room.num_bytes -= 10
    room.take(10)


# ---- who ----


async def test_the_key_is_looked_at_before_the_body(service: FakeService) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\n{HOST}content-type: application/json\r\ncontent-length: 1000\r\n"
    async with live(Settings(api_keys=(KEY,), read_timeout_s=SOON_S), service) as server:
        for sent in (f"{head}\r\n", f"{head}authorization: Bearer wrong\r\n\r\n" + "{"):
            reply = await server.ask(sent)
            assert reply.startswith("HTTP/1.1 401 ") and "connection: close" in reply
        waiting = await server.ask(f"{head}expect: 100-continue\r\n\r\n")
        assert waiting.startswith("HTTP/1.1 401 "), "the body was not asked for"
        known = await server.ask(f"{head}authorization: Bearer {KEY}\r\n\r\n" + "{")
        assert known.startswith("HTTP/1.1 408 ")


async def test_nothing_of_a_body_without_a_key_is_parsed(service: FakeService, connect: Connect) -> None:
    client = connect(create_app(Settings(api_keys=(KEY,)), service))
    assert (await client.post(CHAT, content=b"[" * 1000, headers=JSON)).status_code == 401
    assert (await client.request("GET", "/health", content=b"x")).status_code == 200
    signing_in = await client.post("/api/session", json={"key": KEY})
    assert signing_in.status_code == 503, "there is no store; a key was not asked for"


async def test_who_asks_is_found_out_once(
    service: FakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify, asked = access.identify, []

    async def count(request: Any) -> Any:
        asked.append(request)
        return await identify(request)

    monkeypatch.setattr(access, "identify", count)
    client = connect(
        create_app(Settings(api_keys=(KEY,)), service), headers={"authorization": f"Bearer {KEY}"}
    )
    assert (await client.post(CHAT, json=HELLO)).status_code == 200
    assert len(asked) == 1
    assert (await client.get("/v1/models")).status_code == 200
    assert len(asked) == 2


# ---- bodies that nobody reads ----


@pytest.mark.parametrize("path", ["/nothing", "/v1/vision/scene"])
async def test_an_early_answer_does_not_keep_the_connection(service: FakeService, path: str) -> None:
    async with live(Settings(read_timeout_s=SOON_S), service) as server:
        reply = await server.ask(f"POST {path} HTTP/1.1\r\n{HOST}content-length: 1000\r\n\r\nx")
        assert "connection: close" in reply and '"error"' in reply
        while server.server.server_state.connections:
            await asyncio.sleep(0)


async def test_an_answer_is_seen_by_who_still_sends(service: FakeService) -> None:
    """A body that arrives is thrown away, and the connection goes on."""
    data = b"x" * MIB
    head = f"POST /v1/vision/scene HTTP/1.1\r\n{HOST}content-length: {len(data)}\r\n\r\n"
    async with live(Settings(), service) as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(head.encode() + data)
            reply = await reader.readuntil(b"\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 501 ") and b"connection: close" not in reply
            length = next(line for line in reply.split(b"\r\n") if line.startswith(b"content-length: "))
            await reader.readexactly(int(length.partition(b": ")[2]))
        await close(writer)


async def test_an_endless_body_that_nobody_reads_is_cut(service: FakeService) -> None:
    async with live(Settings(), service) as server:
        reader, writer = await server.connect()
        writer.write(f"POST /nothing HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while server.server.server_state.connections or not reader.at_eof():
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        await close(writer)
