"""Keys, sessions, roles, and walls between owners, on every route that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from fastapi import FastAPI, WebSocket

from localgpt.server import create_app
from localgpt.server.access import SESSION_COOKIE, Caller, identify_socket
from localgpt.server.errors import WireError
from localgpt.server.realtime.session import first_session
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 40
ORIGIN = {"origin": "http://127.0.0.1:8000"}
Connect = Callable[..., httpx.AsyncClient]
OPEN_TO_ALL = {
    ("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics"), ("GET", "/openapi.json"),
    ("GET", "/api/session"), ("POST", "/api/session"), ("DELETE", "/api/session"),
}  # fmt: skip


@pytest.fixture
def app(store: Store, service: FakeService) -> FastAPI:
    return create_app(Settings(), service, store=store)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def make_key(client: httpx.AsyncClient, name: str, role: str, by: str | None = None) -> str:
    headers = bearer(by) if by else {}
    made = await client.post("/api/keys", json={"name": name, "role": role}, headers=headers)
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


async def test_the_first_key_closes_the_server_and_signs_its_maker_in(app: FastAPI, connect: Connect) -> None:
    browser, stranger = connect(app), connect(app)
    await browser.post("/api/conversations", json={"id": "c", "title": "from before"})
    assert (await browser.get("/api/session")).json()["needs_key"] is False
    made = await browser.post("/api/keys", json={"name": "me", "role": "admin"})
    cookie = made.headers["set-cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=") and made.json()["key"] not in cookie
    for mark in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=2592000"):
        assert mark in cookie
    assert "Secure" not in cookie
    session = (await browser.get("/api/session")).json()
    assert session | {"version": ""} == {
        "needs_key": True, "signed_in": True, "name": "me", "role": "admin", "encrypted": True, "version": "",
        "voice": True,
    }  # fmt: skip
    assert (await browser.get("/api/conversations/c")).json()["title"] == "from before"
    assert (await browser.get("/v1/models")).status_code == 200
    assert (await stranger.get("/api/conversations")).status_code == 401
    assert (await stranger.get("/api/session")).json()["signed_in"] is False


async def test_a_client_secret_ends_with_the_key_that_made_it(app: FastAPI, store: Store) -> None:
    gateway = app.state.gateway

    def secret_of(caller: Caller) -> WebSocket:
        secret, _ = gateway.secrets.make(caller, first_session(), 60)
        headers = [(b"authorization", f"Bearer {secret}".encode())]
        scope = {"type": "websocket", "headers": headers, "subprotocols": []}
        return WebSocket(scope, receive=AsyncMock(), send=AsyncMock())

    keyless = secret_of(Caller(owner="local", role="admin"))
    assert (await identify_socket(keyless, gateway))[0].owner == "local"
    await store.accounts.create("operator", "admin")
    with pytest.raises(WireError, match="not one of this server's"):
        await identify_socket(keyless, gateway)
    entry, _ = await store.accounts.create("phone", "user")
    phone = secret_of(Caller(owner=entry.owner, role="user", account=entry.id))
    assert (await identify_socket(phone, gateway))[0].owner == entry.owner
    await store.accounts.revoke(entry.id)
    with pytest.raises(WireError, match="not one of this server's"):
        await identify_socket(phone, gateway)


async def test_signing_in_and_out(app: FastAPI, connect: Connect, store: Store) -> None:
    _, key = await store.accounts.create("phone", "user")
    browser = connect(app, "https://127.0.0.1:8000")
    wrong = await browser.post("/api/session", json={"key": "sk-wrong"})
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    signed_in = await browser.post("/api/session", json={"key": f" {key}\n"})
    assert signed_in.json()["name"] == "phone" and "Secure" in signed_in.headers["set-cookie"]
    assert (await browser.get("/api/settings")).status_code == 200
    token = browser.cookies[SESSION_COOKIE]
    assert (await browser.delete("/api/session")).status_code == 204
    assert SESSION_COOKIE not in browser.cookies
    assert (
        await browser.get("/api/settings", headers={"cookie": f"{SESSION_COOKIE}={token}"})
    ).status_code == 401


async def test_a_cookie_alone_does_not_write(app: FastAPI, connect: Connect, store: Store) -> None:
    _, key = await store.accounts.create("phone", "user")
    browser = connect(app)
    await browser.post("/api/session", json={"key": key})

    async def write(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await browser.post("/api/conversations", json={}, headers=named)).status_code

    assert await write() == 403
    assert await write(origin="http://127.0.0.1:8000") == 201
    assert await write(sec_fetch_site="same-origin") == 201
    assert await write(origin="http://evil.example") == 403
    assert await write(sec_fetch_site="cross-site") == 403
    assert (await browser.get("/api/settings")).status_code == 200


async def test_a_wrong_header_is_not_mended_by_a_cookie(app: FastAPI, connect: Connect, store: Store) -> None:
    _, key = await store.accounts.create("phone", "user")
    browser = connect(app)
    await browser.post("/api/session", json={"key": key})
    for value in ("Bearer sk-wrong", f"Basic {key}", key):
        assert (await browser.get("/api/settings", headers={"authorization": value})).status_code == 401


async def test_users_do_not_manage_keys(app: FastAPI, connect: Connect) -> None:
    client = connect(app)
    admin = await make_key(client, "admin", "admin")
    client.cookies.clear()
    user = await make_key(client, "user", "user", by=admin)
    for method, path in (("GET", "/api/keys"), ("POST", "/api/keys"), ("DELETE", "/api/keys/key_x")):
        body = {"json": {"name": "x", "role": "admin"}} if method == "POST" else {}
        refused = await client.request(method, path, headers=bearer(user), **body)  # type: ignore[arg-type]
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "admin_only"
    assert (await client.get("/api/data", headers=bearer(user))).json()["folder"] is None
    entries = (await client.get("/api/keys", headers=bearer(admin))).json()["data"]
    assert [entry["name"] for entry in entries] == ["admin", "user"]
    assert not any("key" in entry or admin in str(entry) for entry in entries)
    assert (await client.delete(f"/api/keys/{entries[1]['id']}", headers=bearer(admin))).status_code == 204
    assert (await client.get("/api/settings", headers=bearer(user))).status_code == 401
    assert (await client.delete("/api/keys/key_x", headers=bearer(admin))).status_code == 404


async def test_keys_of_the_settings_sign_in_too(store: Store, service: FakeService, connect: Connect) -> None:
    settings = Settings(api_keys=("first-key", "second-key"), host="0.0.0.0")
    browser = connect(create_app(settings, service, store=store))
    owners = []
    for key in ("first-key", "second-key"):
        assert (await browser.post("/api/session", json={"key": key})).json()["role"] == "admin"
        answer = {"messages": [{"role": "user", "content": "hi"}]}
        await browser.post("/v1/chat/completions", json=answer, headers=ORIGIN)
        by_cookie = service.chat.owner
        await browser.post("/v1/chat/completions", json=answer, headers=bearer(key))
        assert service.chat.owner == by_cookie
        owners.append(by_cookie)
    assert owners[0] == "local" and owners[1].startswith("key:") and "second" not in owners[1]
    without = connect(
        create_app(settings.model_copy(update={"api_keys": ("first-key",)}), service, store=store)
    )
    cookie = {"cookie": f"{SESSION_COOKIE}={browser.cookies[SESSION_COOKIE]}"}
    assert (await without.get("/api/settings", headers=cookie)).status_code == 401  # its key is gone


async def test_a_public_server_stays_closed_without_any_key(
    store: Store, service: FakeService, connect: Connect
) -> None:
    entry, key = await store.accounts.create("only", "admin")
    client = connect(create_app(Settings(host="0.0.0.0"), service, store=store), "http://192.168.1.5:8000")
    assert (await client.get("/api/settings", headers=bearer(key))).status_code == 200
    await store.accounts.revoke(entry.id)
    assert (await client.get("/api/settings", headers=bearer(key))).status_code == 401
    assert (await client.get("/api/session")).json()["needs_key"] is True


async def test_every_route_asks_for_a_key(app: FastAPI, connect: Connect, store: Store) -> None:
    """Walks the schema: what is not listed as open answers 401 to a caller without a key."""
    await store.accounts.create("me", "admin")
    client = connect(app)
    paths = (await client.get("/openapi.json")).json()["paths"]
    asked = 0
    for path, operations in paths.items():
        for method in operations:
            if (method.upper(), path) in OPEN_TO_ALL:
                continue
            url = path.replace("{", "").replace("}", "")
            response = await client.request(method, url, json={})
            assert response.status_code in (400, 401, 501), (method, path, response.status_code)
            valid = await client.request(method, url, **_valid(path))
            assert valid.status_code == 401, (method, path, valid.text)
            asked += 1
    assert asked >= 20


def _valid(path: str) -> dict[str, Any]:
    """A body that the route takes, so that nothing is refused before the key is asked for."""
    model = {"model": "local/multimodal-base"}
    bodies: dict[str, Any] = {
        "/v1/chat/completions": model | {"messages": [{"role": "user", "content": "hi"}]},
        "/v1/completions": model | {"prompt": "hi"},
        "/v1/embeddings": model | {"input": "hi"},
        "/v1/responses": model | {"input": "hi"},
        "/api/conversations/{conversation_id}/messages": {"id": "m", "parent_id": None, "text": "x"},
        "/api/conversations/{conversation_id}/answer": {"id": "a", "parent_id": "m"},
        "/api/keys": {"name": "x", "role": "admin"},
        **{f"/api/models/{what}": {"model": "maker/tiny"} for what in ("pull", "verify", "cancel")},
    }
    return {"json": bodies.get(path, {})}


async def test_another_owners_things_are_404(app: FastAPI, connect: Connect) -> None:
    client = connect(app)
    admin = await make_key(client, "admin", "admin")
    client.cookies.clear()
    mine, theirs = bearer(await make_key(client, "me", "user", by=admin)), bearer(admin)
    assert (await client.post("/api/conversations", json={"id": "c"}, headers=mine)).status_code == 201
    ref = (await client.post("/api/attachments", content=PNG, headers=mine)).json()["id"]
    said = {"id": "m", "parent_id": None, "text": "private", "attachments": [ref]}
    assert (await client.post("/api/conversations/c/messages", json=said, headers=mine)).status_code == 201
    attempts: list[tuple[str, str, Any]] = [
        ("GET", "/api/conversations/c", None),
        ("PATCH", "/api/conversations/c", {"title": "x"}),
        ("GET", "/api/conversations/c/export", None),
        ("POST", "/api/conversations/c/messages", {"id": "n", "parent_id": None, "text": "x"}),
        ("POST", "/api/conversations/c/answer", {"id": "a", "parent_id": "m"}),
        ("DELETE", "/api/conversations/c", None),
        ("GET", f"/api/attachments/{ref}", None),
    ]
    for method, path, body in attempts:
        foreign = await client.request(method, path, json=body, headers=theirs)
        elsewhere = path.replace("conversations/c", "conversations/zz").replace(ref, "0" * 64)
        unknown = await client.request(method, elsewhere, json=body, headers=theirs)
        assert foreign.status_code == unknown.status_code == 404, (method, path, foreign.text)
        assert foreign.json() == unknown.json()
    assert (await client.get("/api/conversations", headers=theirs)).json()["data"] == []
    assert (await client.get("/api/conversations?query=private", headers=theirs)).json()["data"] == []
    assert (await client.get("/api/data", headers=theirs)).json()["messages"] == 0
    assert (await client.delete("/api/conversations", headers=theirs)).json() == {"deleted": 0}
    assert (await client.get("/api/conversations/c", headers=mine)).json()["num_messages"] == 1


async def test_a_keys_limits_hold(store: Store, app: FastAPI, connect: Connect) -> None:
    client = connect(app)
    admin = await make_key(client, "admin", "admin")
    client.cookies.clear()
    made = await client.post(
        "/api/keys",
        json={"name": "slow", "role": "user", "limits": {"requests_per_minute": 1}},
        headers=bearer(admin),
    )
    assert made.json()["limits"] == {"requests_per_minute": 1, "max_parallel": None}
    hello = {"messages": [{"role": "user", "content": "hi"}]}
    slow = bearer(made.json()["key"])
    replies = [await client.post("/v1/chat/completions", json=hello, headers=slow) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
