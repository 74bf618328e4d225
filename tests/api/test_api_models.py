"""`/api/models`: who may look, pull, check and remove, what each failure is, and the stream of the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from localgpt.errors import (
    BusyModelError,
    CheckpointError,
    DiskFullError,
    GatedModelError,
    HubError,
    LocalGPTError,
    OfflineError,
    UnknownModelError,
    UnsafeCheckpointError,
    WrongHashError,
)
from localgpt.server import create_app
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from localgpt.units import GIB
from tests.api.fake_keeper import COMMIT, FakeKeeper
from tests.api.fake_service import FakeService

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


@pytest.fixture
def client(keeper: FakeKeeper, service: FakeService, connect: Connect) -> httpx.AsyncClient:
    """The owner of a server on loopback without a key."""
    return connect(create_app(Settings(), service, keeper=keeper))


def one(listed: httpx.Response, id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(model for model in listed.json()["data"] if model["id"] == id)
    return found


async def test_the_catalogue_is_joined_with_what_is_kept(
    client: httpx.AsyncClient, keeper: FakeKeeper, service: FakeService
) -> None:
    listed = await client.get("/api/models")
    about = {name: value for name, value in listed.json().items() if name != "data"}
    assert about == {
        "free_bytes": 100 * GIB,
        "memory_bytes": service.memory.total_bytes,
        "hub": "https://huggingface.co",
        "has_token": False,
        "is_admin": True,
        "pull_refusal": None,
        "pull_refusal_reason": None,
        "folder": "/data/models",
    }
    assert [model["id"] for model in listed.json()["data"]] == [model.id for model in keeper.models]
    kept = one(listed, "qwen3-4b")
    assert kept["copies"][0]["revision"] == COMMIT and kept["copies"][0]["folder"].startswith("/data")
    assert (kept["fits"], kept["lacking_bytes"], kept["runs"], kept["served"]) == ("int8", 0, True, False)
    assert one(listed, "qwen3-1.7b")["broken_off"][0]["here_bytes"] == 10**9
    assert one(listed, "qwen3-32b")["fits"] is None and one(listed, "qwen3-32b")["lacking_bytes"] == 15 * GIB
    assert one(listed, "sdxl")["runs"] is False and one(listed, "mms-tts-eng")["commercial"] is False


async def test_what_is_kept_and_served_says_so(client: httpx.AsyncClient, service: FakeService) -> None:
    (embedded,) = (await service.status()).models
    service.more_models = (replace(embedded, id="qwen3-4b"), replace(embedded, id="maker/tiny"))
    listed = await client.get("/api/models")
    assert [model["id"] for model in listed.json()["data"] if model["served"]] == ["qwen3-4b", "maker/tiny"]


async def test_a_budget_decides_what_fits(keeper: FakeKeeper, service: FakeService, connect: Connect) -> None:
    http = connect(create_app(Settings(memory_budget_mib=2048), service, keeper=keeper))
    await http.get("/api/models")
    service.ready = False
    assert (await http.get("/api/models")).json()["memory_bytes"] is None
    assert keeper.asked_memory == [service.memory.budget_bytes, None]


async def test_a_pull_begins_once_and_can_be_cancelled(client: httpx.AsyncClient, keeper: FakeKeeper) -> None:
    begun = await client.post("/api/models/pull", json={"model": "qwen3-1.7b", "revision": "v1"})
    assert begun.status_code == 202
    assert begun.json() == {
        "id": "qwen3-1.7b",
        "repo": "Qwen/Qwen3-1.7B",
        "kind": "pull",
        "state": "running",
        "revision": "v1",
        "total_bytes": 0,
        "here_bytes": 0,
        "bytes_per_s": 0.0,
        "remaining_s": None,
        "file": None,
        "num_parts": 0,
        "notes": [],
        "error": None,
    }
    again = await client.post("/api/models/pull", json={"model": "Qwen/Qwen3-1.7B"})
    assert again.status_code == 202 and len(keeper.jobs) == 1
    checked = await client.post("/api/models/verify", json={"model": "qwen3-1.7b"})
    assert (checked.status_code, checked.json()["error"]["code"]) == (409, "model_busy")
    cancelled = await client.post("/api/models/cancel", json={"model": "qwen3-1.7b"})
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    nothing = await client.post("/api/models/cancel", json={"model": "qwen3-1.7b"})
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "model_unknown")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (GatedModelError("terms"), 403, "model_gated"),
        (UnknownModelError("none"), 404, "model_unknown"),
        (OfflineError("stay"), 403, "offline"),
        (DiskFullError("full"), 507, "disk_full"),
        (BusyModelError("busy"), 409, "model_busy"),
        (WrongHashError("another"), 502, "wrong_hash"),
        (HubError("gone"), 502, "hub_unavailable"),
        (UnsafeCheckpointError("pickle"), 503, "model_unsafe"),
        (CheckpointError("broken"), 503, "model_unavailable"),
    ],
)
async def test_each_failure_is_one_line_and_a_code(
    client: httpx.AsyncClient, keeper: FakeKeeper, error: LocalGPTError, status: int, code: str
) -> None:
    keeper.error = error
    refused = await client.post("/api/models/pull", json={"model": "qwen3-4b"})
    told = refused.json()["error"]
    assert (refused.status_code, told["code"], told["message"]) == (status, code, str(error))
    await client.post("/api/models/pull", json={"model": "qwen3-4b"})
    keeper.change("Qwen/Qwen3-4B-Instruct-2507", state="failed", error=error)
    events = await client.get("/api/models/events")
    (job,) = events_of(events.text)[0]["jobs"]
    assert (job["state"], job["error"]["code"], job["error"]["message"]) == ("failed", code, str(error))


async def test_users_may_look_and_nothing_else(
    keeper: FakeKeeper, service: FakeService, store: Store, connect: Connect
) -> None:
    http = connect(create_app(Settings(), service, store=store, keeper=keeper))
    await store.accounts.create("boss", "admin")
    _, key = await store.accounts.create("user", "user")
    http.headers["authorization"] = f"Bearer {key}"
    listed = (await http.get("/api/models")).json()
    assert (listed["is_admin"], listed["pull_refusal"], listed["folder"]) == (False, "admin_only", None)
    assert listed["data"][0]["copies"][0]["folder"] is None
    assert (await http.get("/api/models/events")).status_code == 200
    body = {"model": "qwen3-4b"}
    for reply in (
        await http.post("/api/models/pull", json=body),
        await http.post("/api/models/verify", json=body),
        await http.post("/api/models/cancel", json=body),
        await http.delete("/api/models/qwen3-4b"),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "admin_only")
    assert keeper.jobs == {} and keeper.removed == []


@pytest.mark.parametrize(
    ("settings", "may_pull"),
    [
        ({}, True),
        ({"allow_pull": False}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "allow_pull": True}, True),
        ({"allowed_hosts": ("chat.example.org",)}, False),
    ],
)
async def test_only_a_server_for_this_machine_fetches_unasked(
    keeper: FakeKeeper, service: FakeService, connect: Connect, settings: dict[str, Any], may_pull: bool
) -> None:
    app = create_app(Settings(api_keys=("a-long-key",), **settings), service, keeper=keeper)
    http = connect(app, headers={"authorization": "Bearer a-long-key"})
    listed = (await http.get("/api/models")).json()
    refused = None if may_pull else "pull_not_allowed"
    assert listed["pull_refusal"] == refused and bool(listed["pull_refusal_reason"]) is not may_pull
    reply = await http.post("/api/models/pull", json={"model": "qwen3-4b"})
    assert reply.status_code == (202 if may_pull else 403)
    if not may_pull:
        assert reply.json()["error"]["code"] == "pull_not_allowed"
        assert "LOCALGPT_ALLOW_PULL" in reply.json()["error"]["message"]
    assert (await http.delete("/api/models/qwen3-4b")).status_code == 200  # what is here can always go


async def test_offline_is_told_before_anybody_tries(client: httpx.AsyncClient, keeper: FakeKeeper) -> None:
    keeper.offline_reason = "HF_HUB_OFFLINE=1 says to stay offline"
    listed = (await client.get("/api/models")).json()
    assert (listed["hub"], listed["pull_refusal"]) == (None, "offline")
    assert listed["pull_refusal_reason"] == keeper.offline_reason


async def test_a_model_is_not_removed_while_it_answers(
    client: httpx.AsyncClient, keeper: FakeKeeper, service: FakeService
) -> None:
    (embedded,) = (await service.status()).models
    service.more_models = (replace(embedded, id="qwen3-4b"),)
    service.gate = asyncio.Event()
    ask = {"model": "qwen3-4b", "messages": [{"role": "user", "content": "Hi"}]}
    answering = asyncio.ensure_future(client.post("/v1/chat/completions", json=ask))
    while not service.requests:
        await asyncio.sleep(0)
    for name in ("qwen3-4b", "Qwen/Qwen3-4B-Instruct-2507", "Qwen%2FQwen3-4B-Instruct-2507"):
        refused = await client.delete(f"/api/models/{name}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
    assert (await client.delete("/api/models/maker/tiny")).json() == {
        "model": "maker/tiny",
        "bytes": 80 * 2**20,
    }
    service.gate.set()
    assert (await answering).status_code == 200
    removed = await client.delete("/api/models/qwen3-4b", params={"revision": COMMIT[:12]})
    assert removed.json() == {"model": "qwen3-4b", "bytes": 8 * 10**9}
    assert keeper.removed == [("maker/tiny", None), ("qwen3-4b", COMMIT[:12])]
    assert (await client.delete("/api/models/qwen3-4b")).json()["error"]["code"] == "model_unknown"


async def test_a_server_without_a_keeper_says_so(http: httpx.AsyncClient) -> None:
    for path in ("/api/models", "/api/models/events"):
        reply = await http.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_keeper")


async def test_the_keeper_is_closed_with_the_server(keeper: FakeKeeper, service: FakeService) -> None:
    app = create_app(Settings(), service, keeper=keeper)
    async with app.router.lifespan_context(app):
        assert not keeper.is_closed
    assert keeper.is_closed and service.is_closed


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
