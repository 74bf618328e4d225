"""A server that others can reach, by its address or through a proxy, is never open to everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from localgpt.errors import ConfigError
from localgpt.server import create_app
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

Connect = Callable[..., httpx.AsyncClient]
PUBLIC: list[dict[str, Any]] = [
    {"host": "0.0.0.0"},
    {"allowed_hosts": ("chat.example",)},
    {"trusted_proxies": ("127.0.0.1",)},
]


@pytest.mark.parametrize("values", PUBLIC)
async def test_it_stays_closed_when_its_last_key_is_revoked(
    store: Store, service: FakeService, connect: Connect, values: dict[str, Any]
) -> None:
    entry, key = await store.accounts.create("only", "admin")
    client = connect(create_app(Settings(**values), service, store=store))
    headers = {"authorization": f"Bearer {key}"}
    assert (await client.get("/api/settings", headers=headers)).status_code == 200
    await store.accounts.revoke(entry.id)
    assert (await client.get("/api/settings", headers=headers)).status_code == 401
    assert (await client.get("/api/settings")).status_code == 401
    assert (await client.post("/api/keys", json={"name": "me", "role": "admin"})).status_code == 401
    assert (await client.get("/api/session")).json()["needs_key"] is True


@pytest.mark.parametrize("values", PUBLIC)
def test_it_does_not_start_without_a_key(service: FakeService, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="from other machines and needs a key"):
        create_app(Settings(**values), service)
    with pytest.raises(ConfigError, match="fewer than 8"):
        create_app(Settings(**values, api_keys=("short",)), service)


async def revoke(client: httpx.AsyncClient, key_id: str, key: str, query: str = "") -> httpx.Response:
    return await client.delete(f"/api/keys/{key_id}{query}", headers={"authorization": f"Bearer {key}"})


@pytest.mark.parametrize("values", [*PUBLIC, {}])
async def test_the_last_admin_stays_unless_told_otherwise(
    store: Store, service: FakeService, connect: Connect, values: dict[str, Any]
) -> None:
    admin, key = await store.accounts.create("admin", "admin")
    other, _ = await store.accounts.create("other", "admin")
    user, _ = await store.accounts.create("user", "user")
    client = connect(create_app(Settings(**values), service, store=store))
    assert (await revoke(client, other.id, key)).status_code == 204
    refused = await revoke(client, admin.id, key)
    assert refused.status_code == 409 and refused.json()["error"]["code"] == "last_admin_key"
    assert "force" in refused.json()["error"]["message"]
    assert (await revoke(client, user.id, key)).status_code == 204
    alone = await revoke(client, admin.id, key)
    assert alone.status_code == (409 if values else 204)  # on this machine alone, nobody is shut out
    if values:
        assert (await revoke(client, admin.id, key, "?force=true")).status_code == 204
    assert await store.accounts.entries() == []


async def test_a_key_of_the_settings_is_an_admins_too(
    store: Store, service: FakeService, connect: Connect
) -> None:
    admin, _ = await store.accounts.create("admin", "admin")
    settings = Settings(host="0.0.0.0", api_keys=("a-long-key",))
    client = connect(create_app(settings, service, store=store))
    assert (await revoke(client, admin.id, "a-long-key")).status_code == 204


async def test_a_first_key_takes_over_only_when_it_is_told_to(
    store: Store, service: FakeService, connect: Connect
) -> None:
    client = connect(create_app(Settings(), service, store=store))
    await client.post("/api/conversations", json={"id": "c"})

    async def make(name: str, **more: Any) -> tuple[httpx.Response, list[str]]:
        made = await client.post("/api/keys", json={"name": name, "role": "admin", **more})
        client.cookies.clear()
        headers = {"authorization": f"Bearer {made.json().get('key')}"}
        listed = (await client.get("/api/conversations", headers=headers)).json()
        return made, [entry["id"] for entry in listed.get("data", [])]

    for name, more, seen in (("alice", {}, ["c"]), ("bob", {}, []), ("carol", {"take_over": True}, ["c"])):
        made, found = await make(name, **more)
        assert (made.status_code, found) == (201, seen), name
        again = await client.post(
            "/api/keys",
            json={"name": "x", "role": "admin", "take_over": True},
            headers={"authorization": f"Bearer {made.json()['key']}"},
        )
        assert again.status_code == 400 and again.json()["error"]["param"] == "take_over"
        assert (await revoke(client, made.json()["id"], made.json()["key"])).status_code == 204
