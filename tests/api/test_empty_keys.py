"""An empty key is no key: it neither closes a server nor opens one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from localgpt.errors import ConfigError
from localgpt.server import create_app
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

Connect = Callable[..., httpx.AsyncClient]


async def test_an_empty_credential_opens_nothing(
    service: FakeService, connect: Connect, tmp_path: Path
) -> None:
    store = await open_store(Settings(data_dir=tmp_path))
    unchecked = Settings(host="0.0.0.0").model_copy(update={"api_keys": ("", "a-long-key")})
    app = create_app(unchecked.model_copy(update={"host": "127.0.0.1"}), service, store=store)
    client = connect(app)
    for header in ("Bearer", "Bearer ", "Bearer \t", "bearer"):
        refused = await client.get("/v1/models", headers={"authorization": header})
        assert refused.status_code == 401, header
    for key in (" ", "\n", "\t "):
        assert (await client.post("/api/session", json={"key": key})).status_code == 401
    assert (await client.get("/v1/models", headers={"authorization": "Bearer a-long-key"})).status_code == 200
    await store.close()


@pytest.mark.parametrize("keys", [("1234567",), ("a-long-key", "k")])
def test_a_short_key_is_for_this_machine_alone(service: FakeService, keys: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"fewer than 8 characters.*such as sk-"):
        create_app(Settings(host="0.0.0.0", api_keys=keys), service)
    create_app(Settings(api_keys=keys), service)
