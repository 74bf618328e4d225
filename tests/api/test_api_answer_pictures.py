"""Answers about conversations with many pictures: no more of them are read than the model can look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from localgpt.server import create_app
from localgpt.server.store.attachments import Attachments
from localgpt.server.store.opening import Store
from localgpt.server.store.records import Attachment, StoredMessage
from localgpt.settings import Settings, UpstreamSettings
from localgpt.tasks import ImagePart, ModelStatus
from localgpt.units import MIB
from tests.api.fake_service import FakeService
from tests.api.wire import Wire

Connect = Callable[..., httpx.AsyncClient]
MOST = 2560 // 196  # pictures of the scripted service's context
BLIND = ModelStatus(
    id="blind",
    tasks=("chat",),
    num_params=1,
    weight_bytes=1,
    context_len=2560,
    num_image_tokens=0,
    created=0,
    licence="",
)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the pictures that were read from the store."""
    ids: list[str] = []
    get = Attachments.get

    async def watched(self: Attachments, owner: str, attachment_id: str) -> Attachment | None:
        ids.append(attachment_id)
        return await get(self, owner, attachment_id)

    monkeypatch.setattr(Attachments, "get", watched)
    return ids


async def converse(store: Store, turns: list[list[bytes]]) -> str:
    """A conversation `c` of user turns that show these pictures; the id of the last one."""
    await store.conversations.create("local", "c")
    parent = None
    for number, pictures in enumerate(turns):
        refs = [await store.attachments.put("local", data, "image/png") for data in pictures]
        message = StoredMessage(id=f"m{number}", parent_id=parent, role="user", text="See?")
        await store.conversations.add("local", "c", message, [ref.id for ref in refs])
        parent = message.id
    assert parent is not None
    return parent


async def shown(
    page: httpx.AsyncClient, service: FakeService, leaf: str, model: str | None = None
) -> list[bytes]:
    """Contents of the pictures in the task of an answer."""
    body = {"parent_id": leaf, "id": "a", "model": model}
    reply = await page.post("/api/conversations/c/answer", json=body)
    assert reply.status_code == 200, reply.text
    parts = [part for message in service.chat.messages for part in message.content]
    return [part.data for part in parts if isinstance(part, ImagePart)]


async def test_the_newest_pictures_are_read_and_others_hold_their_place(
    page: httpx.AsyncClient, store: Store, service: FakeService, read: list[str]
) -> None:
    pictures = [b"%d" % number for number in range(MOST + 4)]
    leaf = await converse(
        store, [[one, other] for one, other in zip(pictures[::2], pictures[1::2], strict=False)]
    )
    num_shown = len(pictures) // 2 * 2
    expected = [b""] * (num_shown - MOST) + pictures[num_shown - MOST : num_shown]
    assert await shown(page, service, leaf) == expected
    assert len(read) == MOST
    assert len(service.chat.messages) == num_shown // 2


async def test_a_picture_that_is_shown_again_is_read_once(
    page: httpx.AsyncClient, store: Store, service: FakeService, read: list[str]
) -> None:
    leaf = await converse(store, [[b"old"], *([b"again"] for _ in range(MOST))])
    assert await shown(page, service, leaf) == [b"", *(b"again" for _ in range(MOST))]
    assert len(read) == 1


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (replace(BLIND, is_loaded=False), [b"new"]),
        (replace(BLIND, id="upstream:far/m", upstream="far"), [b"new"]),
        (BLIND, [b""]),
    ],
)
async def test_a_model_that_may_see_is_shown_every_picture(
    page: httpx.AsyncClient, store: Store, service: FakeService, model: ModelStatus, expected: list[bytes]
) -> None:
    service.more_models = (model,)
    leaf = await converse(store, [[b"new"]])
    assert await shown(page, service, leaf, model.id) == expected


async def test_so_is_one_that_its_upstream_does_not_list(
    store: Store, service: FakeService, connect: Connect
) -> None:
    settings = Settings(upstreams={"far": UpstreamSettings(base_url="http://127.0.0.1:9/v1")})
    page = connect(create_app(settings, service, store=store))
    pictures = [b"%d" % number for number in range(MOST + 4)]
    leaf = await converse(store, [[picture] for picture in pictures])
    assert await shown(page, service, leaf, "upstream:far/unlisted") == pictures


async def test_pictures_of_requests_that_wait_have_room_for_a_few(
    store: Store, service: FakeService, connect: Connect, read: list[str]
) -> None:
    app = create_app(Settings(max_body_mib=1), service, store=store)
    page = connect(app)
    leaf = await converse(store, [[b"%d" % number + b"x" * (MIB - 1000)] for number in range(2)])
    service.ready, service.gate = False, asyncio.Event()
    path = "/api/conversations/c/answer"
    wires = [Wire(app, {"parent_id": leaf, "id": f"a{number}"}, path=path) for number in range(2)]
    for wire in wires:
        await wire.until(b'"Hello"')
    refused = await page.post(path, json={"parent_id": leaf, "id": "a2"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert len(read) == 4, "nothing is read that there is no room for"
    for wire in wires:
        wire.disconnect()
    await asyncio.gather(*(wire.task for wire in wires))
    service.gate = None
    assert (await page.post(path, json={"parent_id": leaf, "id": "a2"})).status_code == 200


async def test_a_conversation_larger_than_all_room_is_told_so(
    store: Store, service: FakeService, connect: Connect
) -> None:
    page = connect(create_app(Settings(max_body_mib=1), service, store=store))
    leaf = await converse(store, [[b"%d" % number + b"x" * MIB for number in range(4)]])
    reply = await page.post("/api/conversations/c/answer", json={"parent_id": leaf, "id": "a"})
    assert reply.status_code == 413
    assert "begin a new one, or let --max-body be larger" in reply.json()["error"]["message"]
