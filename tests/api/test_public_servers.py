"""A server that others can reach, by its address or through a proxy, is never open to everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgpt.errors import ConfigError
from localgpt.server import create_app
from localgpt.server.store.opening import Store, open_store
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

Connect = Callable[..., httpx.AsyncClient]
PUBLIC: list[dict[str, Any]] = [
    {"host": "0.0.0.0"},
    {"allowed_hosts": ("chat.example",)},
    {"trusted_proxies": ("127.0.0.1",)},
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(Settings(data_dir=tmp_path / "home"))
    yield opened
    await opened.close()


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
