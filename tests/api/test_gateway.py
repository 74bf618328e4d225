"""Around the routes: keys, foreign origins, error bodies, limits, headers, work that ends with its caller."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai as sdk
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI

from localgpt.errors import ConfigError
from localgpt.server import create_app
from localgpt.server.access import is_loopback
from localgpt.server.middleware import Envelope
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID
from tests.api.fake_service import FakeService
from tests.api.wire import Wire

HELLO = {"messages": [{"role": "user", "content": "a secret question"}]}
Connect = Callable[..., httpx.AsyncClient]


def assert_error(response: httpx.Response, status: int, *, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code
    error: dict[str, Any] = body["error"]
    return error


# ---- models, health, errors ----


async def test_models_lists_the_embedded_family_first(openai: AsyncOpenAI) -> None:
    models = [model async for model in openai.models.list()]
    assert models[0].id == EMBEDDED_MODEL_ID and models[0].created == 1_760_000_000
    assert (await openai.models.retrieve(EMBEDDED_MODEL_ID)).id == EMBEDDED_MODEL_ID
    with pytest.raises(sdk.NotFoundError):
        await openai.models.retrieve("local/other")


async def test_model_id_plain_and_encoded(http: httpx.AsyncClient) -> None:
    for path in ("/v1/models/local/multimodal-base", "/v1/models/local%2Fmultimodal-base"):
        assert (await http.get(path)).json()["id"] == EMBEDDED_MODEL_ID
    assert_error(await http.get("/v1/models/none"), 404, code="model_not_found")


async def test_health_ready_status(http: httpx.AsyncClient, service: FakeService) -> None:
    assert (await http.get("/health")).json()["status"] == "ok"
    assert (await http.get("/ready")).status_code == 200
    status = (await http.get("/v1/status")).json()
    assert status["device"] == "cpu" and status["models"][0]["id"] == EMBEDDED_MODEL_ID
    service.ready = False
    response = await http.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "loading")
    assert (await http.get("/health")).status_code == 200
    assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 200  # waits, is not refused


async def test_unknown_route_method_and_json(http: httpx.AsyncClient) -> None:
    assert_error(await http.get("/v1/nothing"), 404)
    assert_error(await http.get("/nothing"), 404)
    assert "DELETE" in assert_error(await http.delete("/v1/models"), 405)["message"]
    for content in (b"{", b"", b"[1]", b"\xff", b'"text"', b"[" * 100_000):
        response = await http.post(
            "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
        )
        assert_error(
            response, 400, code="invalid_json" if content in (b"{",) else response.json()["error"]["code"]
        )
    assert_error(
        await http.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}), 400
    )


@pytest.mark.parametrize("text", ['"\\ud800"', "1e999", "NaN", "-Infinity", "9" * 5000, "[[[]]]", "{}"])
async def test_strange_values_are_bad_input_not_failures(http: httpx.AsyncClient, text: str) -> None:
    for body in (
        f'{{"messages":[{{"role":"user","content":{text}}}]}}',
        f'{{"messages":[{{"role":"user","content":"x"}}],"temperature":{text}}}',
        f'{{"messages":[{{"role":"user","content":"x"}}],"seed":{text}}}',
        f'{{"messages":{text}}}',
        '{"messages":[{"role":"user","content":"x"}],"\\ud800":1}',
    ):
        response = await http.post(
            "/v1/chat/completions", content=body.encode(), headers={"content-type": "application/json"}
        )
        assert response.status_code == 400, (body[:100], response.text)


async def test_body_limit(service: FakeService, connect: Connect) -> None:
    client = connect(Envelope(create_app(Settings(), service), bound_host="127.0.0.1", max_body_bytes=1000))
    long = json.dumps({"messages": [{"role": "user", "content": "x" * 2000}]}).encode()

    async def pieces() -> Any:
        yield long[:500]
        yield long[500:]

    kind = {"content-type": "application/json"}
    assert_error(await client.post("/v1/chat/completions", content=long, headers=kind), 413)
    assert_error(await client.post("/v1/chat/completions", content=pieces(), headers=kind), 413)
    assert (await client.post("/v1/chat/completions", json=HELLO)).status_code == 200


async def test_a_bug_is_a_500_without_details(service: FakeService, connect: Connect) -> None:
    service.error = RuntimeError("internal detail")  # type: ignore[assignment]
    client = connect(create_app(Settings(), service))
    error = assert_error(await client.post("/v1/chat/completions", json=HELLO), 500)
    assert "internal detail" not in error["message"]


# ---- headers and log ----


async def test_security_headers_and_request_id(http: httpx.AsyncClient) -> None:
    for path in ("/", "/health", "/nothing", "/v1/models", "/assets/none.js"):
        headers = (await http.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"].startswith("req_")
    given = await http.get("/health", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    foul = await http.get("/health", headers={"x-request-id": "a b"})
    assert foul.headers["x-request-id"].startswith("req_")


async def test_log_holds_no_prompt(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="localgpt"):
        await http.post("/v1/chat/completions", json=HELLO | {"user": "secret"})
        await http.post("/v1/chat/completions?secret=1", json=HELLO)
        await http.post("/v1/chat/completions", json={**HELLO, "seed": "a secret question"})
    assert "POST /v1/chat/completions 200" in caplog.text
    assert caplog.text.count("POST /v1/chat/completions 400") == 2
    assert "secret" not in caplog.text


async def test_openapi_lists_every_route(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    expected = {
        "/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/{model}", "/v1/status",
        "/health", "/ready", "/metrics",
    }  # fmt: skip
    assert expected <= set(schema["paths"])


# ---- keys ----


def with_key(service: FakeService, *, host: str = "0.0.0.0") -> FastAPI:
    return create_app(Settings(host=host, api_keys=("first-key", "second-key")), service)


async def test_no_key_on_loopback_accepts_any_header(http: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer whatever"}, {"authorization": "Basic x"}):
        assert (await http.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", "Basic first-key", "first-key", "Bearer first-key2"]
)
async def test_key_required(service: FakeService, connect: Connect, header: str | None) -> None:
    client = connect(with_key(service))
    headers = {} if header is None else {"authorization": header}
    for request in (client.get("/v1/models", headers=headers), client.get("/v1/status", headers=headers)):
        response = await request
        assert_error(response, 401, code="invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
    assert_error(
        await client.post("/v1/chat/completions", json=HELLO, headers=headers), 401, code="invalid_api_key"
    )
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).status_code == 200


async def test_every_key_works_and_names_its_owner(service: FakeService, connect: Connect) -> None:
    client = connect(with_key(service))
    owners = set()
    for key in ("first-key", "second-key"):
        response = await client.post(
            "/v1/chat/completions", json=HELLO, headers={"authorization": f"bearer {key}"}
        )
        assert response.status_code == 200
        owners.add(service.chat.owner)
    assert len(owners) == 2 and not any("first" in owner or "second" in owner for owner in owners)


def test_public_address_without_key_is_an_error(service: FakeService) -> None:
    with pytest.raises(ConfigError, match="key"):
        create_app(Settings(host="0.0.0.0"), service)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("LOCALHOST", True), ("::1", True),
        ("[::1]", True),
        ("app.localhost", True), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False),
        ("example.com", False), ("", False),
        ("localhost.example.com", False),
    ],
)  # fmt: skip
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# ---- other web sites ----


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1234", "[::1]:8000", "localhost"])
async def test_own_hosts(http: httpx.AsyncClient, host: str) -> None:
    assert (await http.get("/v1/models", headers={"host": host})).status_code == 200
    same = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert (await http.post("/v1/chat/completions", json=HELLO, headers=same)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", ""]
)
async def test_rebound_names_are_refused(http: httpx.AsyncClient, host: str) -> None:
    for path in ("/", "/health", "/v1/models"):
        assert_error(await http.get(path, headers={"host": host}), 403, code="host_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_cross_site_requests_are_refused(
    http: httpx.AsyncClient, service: FakeService, headers: dict[str, str]
) -> None:
    response = await http.post("/v1/chat/completions", json=HELLO, headers=headers)
    assert_error(response, 403, code="origin_not_allowed")
    assert service.requests == []


async def test_a_link_may_open_the_page(http: httpx.AsyncClient) -> None:
    assert (await http.get("/", headers={"sec-fetch-site": "cross-site"})).status_code != 403


async def test_a_public_server_answers_to_any_name(service: FakeService, connect: Connect) -> None:
    client = connect(with_key(service), base_url="http://my-machine.lan:8000")
    assert (await client.get("/v1/models", headers={"authorization": "Bearer first-key"})).status_code == 200
    foreign = {"authorization": "Bearer first-key", "origin": "https://evil.example"}
    assert_error(await client.get("/v1/models", headers=foreign), 403, code="origin_not_allowed")


# ---- work ends with its caller ----


@pytest.mark.parametrize("stream", [True, False])
async def test_disconnect_cancels_the_work(service: FakeService, stream: bool) -> None:
    service.gate = asyncio.Event()  # never set: the answer would last for ever
    wire = Wire(create_app(Settings(), service), {**HELLO, "stream": stream})
    if stream:
        await wire.until(b'"Hello"')
    else:
        while not service.requests:
            await asyncio.sleep(0)
    assert service.num_cancelled == 0
    wire.disconnect()
    await wire.task
    assert service.num_cancelled == 1


async def test_stopping_ends_open_streams(service: FakeService) -> None:
    service.gate = asyncio.Event()
    app = create_app(Settings(), service)
    async with app.router.lifespan_context(app):
        wire = Wire(app, {**HELLO, "stream": True})
        await wire.until(b'"Hello"')
    await wire.until(b"the server is stopping")
    await wire.task
    assert service.num_cancelled == 1
    assert service.is_closed


async def test_the_answer_is_sent_while_it_is_made(service: FakeService) -> None:
    service.gate = asyncio.Event()
    wire = Wire(create_app(Settings(), service), {**HELLO, "stream": True})
    await wire.until(b'"Hello"')
    service.gate.set()
    await wire.until(b"[DONE]")
    await wire.task
    assert service.num_cancelled == 0


# ---- page and imports ----


async def test_page_and_assets(service: FakeService, connect: Connect, tmp_path: Path) -> None:
    client = connect(create_app(Settings(), service, static_dir=tmp_path))
    assert "make page" in (await client.get("/")).text
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "assets" / "index-1.js").write_text("1")
    page = await client.get("/")
    assert page.status_code == 200 and page.headers["cache-control"] == "no-cache"
    asset = await client.get("/assets/index-1.js")
    assert asset.headers["content-type"].startswith("text/javascript")
    assert "immutable" in asset.headers["cache-control"]
    assert_error(await client.get("/assets/../index.html"), 404)
    assert_error(await client.get("/assets/%2e%2e/index.html"), 404)
    assert (await client.head("/")).status_code == 200


def test_importing_the_server_loads_no_model_library() -> None:
    code = (
        "import sys, localgpt.server; "
        "print([name for name in ('torch', 'PIL', 'av', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
