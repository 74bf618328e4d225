"""What is read of a request and from whom: sizes, shapes, hosts and origins."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from localgpt.server import create_app
from localgpt.server.bodies import MAX_JSON_DEPTH, JsonShape
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
Connect = Callable[..., httpx.AsyncClient]


# ---- shapes of JSON ----


def depth_of(value: Any) -> int:
    """The plain way: how deep a parsed value is."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


VALUES = st.recursive(
    st.text(st.sampled_from('[]{}"\\a'), max_size=6) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\[{a', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(VALUES, st.lists(st.integers(1, 9), max_size=20), st.integers(0, 4))
def test_depth_is_that_of_the_parsed_value(value: Any, cuts: list[int], extra: int) -> None:
    """However the text is cut into parts, it is refused exactly when it is deeper than the limit."""
    wrap = MAX_JSON_DEPTH - 2 + extra
    data = b"[" * wrap + json.dumps(value).encode() + b"]" * wrap
    shape, is_fine, place = JsonShape(), True, 0
    for length in [wrap, *cuts, len(data)]:
        is_fine = is_fine and shape.feed(data[place : place + length])
        place += length
    assert is_fine == (wrap + depth_of(value) <= MAX_JSON_DEPTH)


@pytest.mark.parametrize(
    "field", ["tools", "metadata", "response_format", "messages", "logit_bias", "tool_choice", "unknown"]
)
async def test_deep_json_is_a_400(http: httpx.AsyncClient, field: str) -> None:
    for mark, end in (("[", "]"), ('{"a":', "}")):
        deep = mark * 900 + "1" + end * 900
        body = json.dumps(HELLO)[:-1] + f',"{field}":{deep}}}'
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            reply = await http.post(path, content=body, headers={"content-type": "application/json"})
            assert reply.status_code == 400 and "deep" in reply.json()["error"]["message"]


async def test_endless_pieces_are_a_400(http: httpx.AsyncClient) -> None:
    body = '{"messages":[' + '"",' * 1_100_000 + '""]}'
    reply = await http.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400 and "brackets and quotes" in reply.json()["error"]["message"]


# ---- headers ----


async def test_headers_too_many_or_too_large(http: httpx.AsyncClient) -> None:
    for headers in ([("x", "y" * 40_000)], [(f"x-{number}", "y") for number in range(101)]):
        reply = await http.get("/health", headers=headers)
        assert reply.status_code == 431 and reply.headers["connection"] == "close"


async def test_compressed_bodies_are_refused(http: httpx.AsyncClient, service: FakeService) -> None:
    reply = await http.post("/v1/chat/completions", json=HELLO, headers={"content-encoding": "gzip"})
    assert reply.status_code == 415 and not service.requests
    plain = await http.post("/v1/chat/completions", json=HELLO, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


async def test_body_limit_of_the_settings(service: FakeService, connect: Connect) -> None:
    client = connect(create_app(Settings(max_body_mib=1), service))
    long = {"messages": [{"role": "user", "content": "x" * 2**20}]}
    assert (await client.post("/v1/chat/completions", json=long)).status_code == 413


# ---- hosts and origins ----


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "0.0.0.0", "0.0.0.0:8000",
        "192.168.1.5:8000", "[::]:8000", "[fe80::1]:8000", "[::ffff:7f00:1]evil.example", "2130706433",
        "0x7f.0.0.1", "017700000001", "127.1", "127.0.0.1@evil.example", "evil.example#localhost",
        "localhost evil.example", "xn--lcalhost-n2a", "localh\u00f6st", "::1", "", "[", "]",
        "notlocalhost", "localhost.", "evil.localhost.example",
    ],
)  # fmt: skip
async def test_foreign_names_are_not_answered(http: httpx.AsyncClient, host: str) -> None:
    for path in ("/", "/health", "/metrics", "/openapi.json", "/v1/models", "/assets/x.js", "/none"):
        reply = await http.get(path, headers={"host": host.encode()})
        assert reply.status_code == 403, (host, path)
        assert reply.json()["error"]["code"] == "host_not_allowed"


async def test_further_names_of_the_settings(service: FakeService, connect: Connect) -> None:
    settings = Settings(allowed_hosts=("Chat.example",), api_keys=("a-long-key",))
    client = connect(create_app(settings, service), headers={"authorization": "Bearer a-long-key"})
    for host in ("chat.example", "CHAT.example:443"):
        assert (await client.get("/v1/models", headers={"host": host})).status_code == 200
    assert (await client.get("/v1/models", headers={"host": "other.example"})).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost"},  # another port is another site
        {"origin": "http://127.0.0.1:8000.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_no_route_but_the_page_is_for_other_sites(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    schema = (await http.get("/openapi.json")).json()
    for path in [*schema["paths"], "/openapi.json", "/none"]:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            reply = await http.request(method, path, headers=headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")
            assert not [name for name in reply.headers if name.startswith("access-control-")]


async def test_no_answer_opens_itself_to_other_sites(http: httpx.AsyncClient) -> None:
    same = {"origin": "http://127.0.0.1:8000", "access-control-request-method": "POST"}
    for method, path in (("OPTIONS", "/v1/models"), ("GET", "/v1/models"), ("GET", "/")):
        reply = await http.request(method, path, headers=same)
        assert reply.status_code != 403
        assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, True),
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "127.0.0.1:8000", "origin": "https://evil.example"}, False),
        ({"host": "evil.example", "origin": "https://evil.example"}, False),
    ],
)
async def test_sockets_of_other_sites_are_closed(
    service: FakeService, headers: dict[str, str], is_let_in: bool
) -> None:
    app, sent = create_app(Settings(), service), []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "path": "/none", "raw_path": b"/none",
        "scheme": "ws", "query_string": b"", "root_path": "", "subprotocols": [],
        "client": None, "server": None,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    reasons = [message.get("reason") or "" for message in sent]
    assert [message["type"] for message in sent] == ["websocket.close"]  # there is no such route either
    assert any("not answered" in reason or "answers to" in reason for reason in reasons) is not is_let_in
