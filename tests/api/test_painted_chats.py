"""Pictures as answers: in chat, in responses, and in the page's conversations, whole and on their way."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from openai.types.responses import Response

from localgpt.tasks import EMBEDDED_MODEL_ID
from tests.api.asking import ask, events_of
from tests.api.fake_painter import OWN_SIDE, FakePainter, plain_picture
from tests.api.test_responses_stream import kinds, stream

BOTH = ["text", "image"]
TOOL: dict[str, Any] = {
    "type": "image_generation",
    "partial_images": 2,
    "size": "64x72",
    "output_format": "jpeg",
}
PAINTED = [
    "response.output_item.added",
    "response.image_generation_call.in_progress",
    "response.image_generation_call.generating",
    "response.image_generation_call.partial_image",
    "response.image_generation_call.partial_image",
    "response.image_generation_call.completed",
    "response.output_item.done",
]


@pytest.fixture
def service() -> FakePainter:
    return FakePainter(deltas=(), paints="a red fox")


async def test_chat_paints_where_pictures_are_allowed(http: httpx.AsyncClient, service: FakePainter) -> None:
    message = (await ask(http, modalities=BOTH)).json()["choices"][0]["message"]
    (image,) = message["images"]
    assert message["content"] == "" and (image["type"], image["index"]) == ("image_url", 0)
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == plain_picture(7, (OWN_SIDE, OWN_SIDE))
    assert image["localgpt"] == {
        "prompt": "a red fox", "model": EMBEDDED_MODEL_ID, "seed": 7, "width": OWN_SIDE, "height": OWN_SIDE,
        "heat_maps": [],
    }  # fmt: skip
    assert service.chat.painting is not None
    message = (await ask(http)).json()["choices"][0]["message"]
    assert "images" not in message and service.chat.painting is None
    refused = await ask(http, modalities=["text", "audio"])
    assert refused.json()["error"]["param"] == "modalities"


async def test_chat_streams_the_stages(http: httpx.AsyncClient) -> None:
    chunks = events_of(await ask(http, modalities=BOTH, stream=True))
    told = [chunk["localgpt"] for chunk in chunks if "localgpt" in chunk]
    assert [list(one) for one in told] == [["notices", kind] for kind in ("progress", "preview") * 2]
    assert [one["preview"]["stage"] for one in told if "preview" in one] == ["sketch", "middle"]
    assert told[0]["progress"] == {"done": 1.0, "total": 4.0}
    *_, picture, last = chunks
    assert picture["choices"][0]["delta"]["images"][0]["localgpt"]["seed"] == 7
    assert last["choices"][0]["finish_reason"] == "stop" and last["choices"][0]["delta"] == {}


async def test_responses_hold_a_picture_item(http: httpx.AsyncClient, service: FakePainter) -> None:
    service.deltas = ("Here.",)
    reply = await http.post("/v1/responses", json={"input": "Draw a fox", "tools": [TOOL]})
    response = Response.model_validate(reply.json(), strict=True)
    said, painted = reply.json()["output"]
    assert said["type"] == "message" and painted["type"] == "image_generation_call"
    assert (painted["status"], painted["revised_prompt"], painted["size"]) == (
        "completed",
        "a red fox",
        "64x72",
    )
    assert base64.b64decode(painted["result"])[:3] == b"\xff\xd8\xff" and painted["output_format"] == "jpeg"
    assert response.output_text == "Here." and painted["localgpt"]["seed"] == 7
    again = await http.post("/v1/responses", json={"input": [painted, {"role": "user", "content": "Thanks"}]})
    assert again.status_code == 200 and service.chat.painting is None
    assert "input[0] is a picture" in again.json()["localgpt"]["notices"][0]


async def test_responses_stream_a_picture(http: httpx.AsyncClient) -> None:
    events = await stream(http, input="Draw a fox", tools=[TOOL])
    assert kinds(events) == ["response.created", "response.in_progress", *PAINTED, "response.completed"]
    partial = [event for event in events if event["type"].endswith("partial_image")]
    assert [event["partial_image_index"] for event in partial] == [0, 1]
    assert events[-1]["response"]["output"][0] == events[-2]["item"]
    assert {event["item_id"] for event in partial} == {events[-2]["item"]["id"]}


async def test_a_picture_may_be_demanded(http: httpx.AsyncClient, service: FakePainter) -> None:
    choice = {"type": "image_generation"}
    body = {"input": "a fox", "tools": [TOOL], "tool_choice": choice}
    assert (await http.post("/v1/responses", json=body)).status_code == 200
    wish = service.chat.painting
    assert wish is not None and wish.is_wanted
    assert (wish.width, wish.height, wish.format, wish.num_previews) == (64, 72, "jpeg", 2)
    for wrong, param in (
        ({"tools": []}, "tool_choice"),
        ({"tools": [TOOL, TOOL]}, "tools[1]"),
        ({"tools": [{"type": "image_generation", "background": "transparent"}]}, "tools[0].background"),
        ({"tools": [{"type": "image_generation", "output_compression": 5}]}, "tools[0].output_compression"),
        ({"tools": [{"type": "image_generation", "model": "none"}]}, "model"),
    ):
        error = (await http.post("/v1/responses", json={**body, **wrong})).json()["error"]
        assert error["param"] == param, error


async def test_the_page_keeps_pictures_and_what_they_were_made_of(
    page: httpx.AsyncClient, service: FakePainter
) -> None:
    await page.post("/api/conversations", json={"id": "c"})
    said = {"id": "m", "parent_id": None, "text": "Draw a fox"}
    await page.post("/api/conversations/c/messages", json=said)
    wish = {"wanted": True, "size": "64x72", "seed": 5, "heat_maps": True, "quality": "low"}
    answer = {"parent_id": "m", "id": "a", "paint": wish}
    reply = await page.post("/api/conversations/c/answer", json=answer)
    assert '"images"' in reply.text and '"preview"' in reply.text
    asked = service.chat.painting
    assert asked is not None and (asked.is_wanted, asked.seed, asked.effort) == (True, 5, "low")
    message = (await page.get("/api/conversations/c")).json()["messages"][1]
    (picture,) = message["pictures"]
    assert (picture["prompt"], picture["seed"], picture["width"]) == ("a red fox", 5, 64)
    data = (await page.get(f"/api/attachments/{picture['id']}")).content
    assert data == plain_picture(5, (64, 72))
    (heat,) = picture["heat_maps"]
    assert heat["word"] == "cat" and len(message["attachments"]) == 2
    assert (await page.get(f"/api/attachments/{heat['id']}")).headers["content-type"] == "image/png"
    gallery = (await page.get("/api/pictures")).json()
    assert gallery["next"] is None and gallery["data"] == [
        {**picture, "conversation_id": "c", "message_id": "a", "created_at": message["created_at"]}
    ]
    follow = {"id": "m2", "parent_id": "a", "text": "And a cat"}
    await page.post("/api/conversations/c/messages", json=follow)
    await page.post("/api/conversations/c/answer", json={"parent_id": "m2", "id": "a2"})
    assert [part.text for one in service.chat.messages for part in one.content] == [  # type: ignore[union-attr]
        "Draw a fox", "a red fox", "And a cat"
    ]  # fmt: skip
    first = (await page.get("/api/pictures", params={"limit": 1})).json()
    second = (await page.get("/api/pictures", params={"before": first["next"]})).json()
    assert [one["message_id"] for one in (*first["data"], *second["data"])] == ["a2", "a"]
    assert (await page.get("/api/pictures", params={"before": "x"})).json()["error"]["param"] == "before"
    await page.delete("/api/conversations/c")
    assert (await page.get("/api/pictures")).json()["data"] == []
    assert (await page.get(f"/api/attachments/{picture['id']}")).status_code == 404
