"""Which model answers a conversation: the request's, its own, the owner's or the embedded one; no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from localgpt.server import create_app
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID
from tests.api.fake_service import FakeService


@pytest.fixture
async def page(
    store: Store, service: FakeService, connect: Callable[..., httpx.AsyncClient]
) -> httpx.AsyncClient:
    """A client of a server with three models and a conversation `c` with one question `m`."""
    (embedded,) = (await service.status()).models
    service.more_models = tuple(replace(embedded, id=name) for name in ("large", "small"))
    client = connect(create_app(Settings(), service, store=store))
    await client.post("/api/conversations", json={"id": "c"})
    await client.post("/api/conversations/c/messages", json={"id": "m", "parent_id": None, "text": "Hi"})
    return client


async def answered_by(page: httpx.AsyncClient, service: FakeService, id: str, **body: str) -> str:
    """The model that is asked and that the stored answer names."""
    reply = await page.post("/api/conversations/c/answer", json={"parent_id": "m", "id": id, **body})
    assert reply.status_code == 200, reply.text
    messages = (await page.get("/api/conversations/c")).json()["messages"]
    (stored,) = [message["model"] for message in messages if message["id"] == id]
    assert stored == service.chat.model
    return service.chat.model


async def test_the_nearest_choice_decides(page: httpx.AsyncClient, service: FakeService) -> None:
    assert await answered_by(page, service, "a") == EMBEDDED_MODEL_ID
    assert (await page.put("/api/settings", json={"model": "small"})).json()["model"] == "small"
    assert await answered_by(page, service, "b") == "small"
    changed = await page.patch("/api/conversations/c", json={"model": "large"})
    assert changed.json()["model"] == "large"
    assert await answered_by(page, service, "d") == "large"
    assert await answered_by(page, service, "e", model="small") == "small"
    await page.patch("/api/conversations/c", json={"title": "Another title"})
    assert (await page.get("/api/conversations")).json()["data"][0]["model"] == "large"
    assert (await page.put("/api/settings", json={"model": None})).json()["model"] is None
    made = await page.post("/api/conversations", json={"id": "d", "model": "small"})
    assert made.json()["model"] == "small"


async def test_a_model_that_is_gone_is_never_replaced_in_silence(
    page: httpx.AsyncClient, service: FakeService
) -> None:
    await page.patch("/api/conversations/c", json={"model": "large"})
    service.more_models = service.more_models[1:]
    reply = await page.post("/api/conversations/c/answer", json={"parent_id": "m", "id": "a"})
    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["param"]) == (404, "model_not_found", "model")
    assert "'large'" in told["message"] and not service.requests
    await page.patch("/api/conversations/c", json={"model": EMBEDDED_MODEL_ID})
    assert await answered_by(page, service, "b") == EMBEDDED_MODEL_ID


@pytest.mark.parametrize("model", ["", "x" * 257, 7])
async def test_what_can_be_no_name_is_refused(page: httpx.AsyncClient, model: object) -> None:
    for method, path in (("PATCH", "/api/conversations/c"), ("PUT", "/api/settings")):
        reply = await page.request(method, path, json={"model": model})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
