"""`/v1/images/*` as the official client and plain HTTP see it: parameters, replies, events, bad input."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)
from PIL import Image

from localgpt.errors import CapacityError, FilteredError, InputError
from localgpt.server import create_app
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID, DescribeRequest
from tests.api.fake_painter import OWN_SIDE, PULLED_PAINTER, FakePainter, plain_picture
from tests.api.wire import Wire

PICTURE = plain_picture(1, (64, 72))
MASK = plain_picture(2, (64, 72))


@pytest.fixture
def service() -> FakePainter:
    return FakePainter()


def opened(text: str | None) -> Image.Image:
    assert text is not None
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


async def generate(http: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await http.post("/v1/images/generations", json={"prompt": "a cat", **body})


def events_of(text: str) -> list[dict[str, Any]]:
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def error_of(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_the_official_client_paints(openai: AsyncOpenAI, service: FakePainter) -> None:
    reply = await openai.images.generate(
        model="gpt-image-1",
        prompt="a cat",
        n=2,
        size="128x96",
        quality="high",
        background="opaque",
        output_format="jpeg",
        output_compression=80,
        moderation="auto",
        user="anna",
        extra_body={"seed": 11, "negative_prompt": "a hat", "guidance_scale": 4.5, "heat_maps": True},
    )
    assert reply.data is not None and len(reply.data) == 2
    image = opened(reply.data[1].b64_json)
    assert (image.format, image.size) == ("JPEG", (128, 96))
    assert (reply.size, reply.quality, reply.background) == ("128x96", "high", "opaque")
    assert (reply.output_format, reply.safety_identifier) == ("jpeg", "anna")
    assert reply.usage is not None and reply.usage.total_tokens == 0
    told: Any = reply.data[1].model_extra
    assert told["localgpt"]["seed"] == 12 and told["localgpt"]["heat_maps"][0]["word"] == "cat"
    whole: Any = reply.model_extra
    assert whole["localgpt"]["model"] == EMBEDDED_MODEL_ID and whole["localgpt"]["steps"] == 30
    asked = service.paint
    assert (asked.prompt, asked.negative_prompt, asked.num_images, asked.seed) == ("a cat", "a hat", 2, 11)
    assert (asked.width, asked.height, asked.effort, asked.guidance_scale) == (128, 96, "high", 4.5)
    assert (asked.format, asked.format_quality, asked.owner) == ("jpeg", 80, "local")


async def test_what_is_left_out_is_the_models_own(http: httpx.AsyncClient, service: FakePainter) -> None:
    service.paint_notices = ("Memory is short.",)
    response = await generate(http, size=None, quality=None, n=None, partial_images=None)
    reply = response.json()
    assert reply["size"] == f"{OWN_SIDE}x{OWN_SIDE}" and reply["quality"] == "medium"
    assert reply["localgpt"]["notices"] == ["Memory is short."]
    assert json.loads(response.headers["x-localgpt-notices"]) == ["Memory is short."]
    assert "safety_identifier" not in reply and "revised_prompt" not in reply["data"][0]
    asked = service.paint
    assert (asked.width, asked.num_steps, asked.seed, asked.guidance_scale) == (None, None, None, None)
    await generate(http, steps=9, bind_words=True)
    assert (service.paint.num_steps, service.paint.binds_words) == (9, True)


@pytest.mark.parametrize("num", [0, 1, 2, 3])
async def test_partial_images_come_in_order(openai: AsyncOpenAI, num: int) -> None:
    stream = await openai.images.generate(prompt="a cat", stream=True, partial_images=num)
    events = [event async for event in stream]
    *partial, last = events
    assert isinstance(last, ImageGenCompletedEvent) and last.usage.total_tokens == 0
    assert all(isinstance(event, ImageGenPartialImageEvent) for event in partial)
    assert [event.partial_image_index for event in partial] == list(range(num))  # type: ignore[union-attr]
    stages = [event.model_extra["localgpt"]["stage"] for event in partial]  # type: ignore[index]
    assert stages == ["sketch", "middle", "final"][:num]
    assert opened(last.b64_json).size == (OWN_SIDE, OWN_SIDE) and last.output_format == "png"
    assert last.model_extra is not None and last.model_extra["localgpt"]["seed"] == 7


async def test_events_are_named_and_nothing_else_is_sent(http: httpx.AsyncClient) -> None:
    response = await generate(http, stream=True, partial_images=2, n=2, output_format="webp")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    kinds = [event["type"].partition(".")[2] for event in events]
    assert kinds == ["partial_image"] * 4 + ["completed"] * 2
    assert [event["localgpt"]["index"] for event in events] == [0, 1, 0, 1, 0, 1]
    assert {opened(event["b64_json"]).format for event in events} == {"WEBP"}
    wanted = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
    assert all(wanted <= set(event) for event in events)


async def test_edits_take_a_picture_and_a_mask(openai: AsyncOpenAI, service: FakePainter) -> None:
    await openai.images.edit(
        image=("a.png", PICTURE, "image/png"),
        mask=("m.png", MASK, "image/png"),
        prompt="a hat",
        size="64x72",
        input_fidelity="high",
        n=2,
        extra_body={"seed": 3},
    )
    asked = service.paint
    assert asked.image is not None and asked.image.data == PICTURE
    assert asked.mask is not None and (asked.mask.data, asked.mask_marks) == (MASK, "clear")
    assert (asked.prompt, asked.num_images, asked.seed, asked.strength) == ("a hat", 2, 3, None)
    await openai.images.edit(image=PICTURE, prompt="a hat", input_fidelity="high")
    assert service.paint.strength == 0.35
    await openai.images.edit(image=[PICTURE], prompt="a hat", extra_body={"strength": 0.8})
    assert service.paint.strength == 0.8 and service.paint.mask is None


async def test_edits_stream(openai: AsyncOpenAI) -> None:
    stream = await openai.images.edit(image=PICTURE, prompt="a hat", stream=True, partial_images=2)
    events = [event async for event in stream]
    assert [type(event) for event in events] == [
        ImageEditPartialImageEvent, ImageEditPartialImageEvent, ImageEditCompletedEvent
    ]  # fmt: skip


async def test_edits_as_json(http: httpx.AsyncClient, service: FakePainter) -> None:
    url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    body = {"prompt": "a hat", "images": [{"image_url": url}], "mask": {"image_url": url}}
    assert (await http.post("/v1/images/edits", json=body)).status_code == 200
    assert service.paint.image is not None and service.paint.image.data == PICTURE
    for wrong, param in (
        ({"images": [{"image_url": url}] * 2}, "images"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id"),
        ({"images": [{}]}, "images[0]"),
        ({"images": [{"image_url": "https://example.org/a.png"}]}, "images[0].image_url"),
        ({"images": []}, "images"),
        ({"n": "2"}, "n"),
    ):
        error = error_of(await http.post("/v1/images/edits", json={**body, **wrong}))
        assert error["param"] == param


async def test_variations_are_described_first(openai: AsyncOpenAI, service: FakePainter) -> None:
    service.deltas = ("a grey", " cat")
    with pytest.deprecated_call():  # by the client's makers; clients in the field ask it all the same
        reply = await openai.images.create_variation(
            image=PICTURE, n=2, size="256x256", model="dall-e-2", user="anna"
        )
    assert reply.safety_identifier == "anna"
    look, asked = service.requests
    assert isinstance(look, DescribeRequest) and look.image.data == PICTURE
    assert service.paint is asked and (service.paint.prompt, service.paint.width) == ("a grey cat", 256)
    assert reply.data is not None and reply.data[0].revised_prompt == "a grey cat" and len(reply.data) == 2


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "some words"),
        ({"prompt": "  "}, "prompt", "some words"),
        ({"prompt": "a" * 5000}, "prompt", "5,000 characters"),
        ({"size": "513x777"}, "size", "multiple of 8"),
        ({"size": "8x8"}, "size", "64"),
        ({"size": "big"}, "size", "pattern"),
        ({"n": 100}, "n", "10"),
        ({"n": 0}, "n", "1"),
        ({"background": "transparent"}, "background", "no transparency"),
        ({"response_format": "url"}, "response_format", "no address"),
        ({"moderation": "low"}, "moderation", "operator"),
        ({"style": "vivid"}, "style", "in the prompt"),
        ({"svg": {"model": "a"}}, "svg", "pixels"),
        ({"output_format": "gif"}, "output_format", "png"),
        ({"output_compression": 50}, "output_compression", "PNG loses nothing"),
        ({"quality": "max"}, "quality", "auto"),
        ({"quality": "low", "steps": 3}, "quality", "one of them"),
        ({"partial_images": 1}, "partial_images", "stream: true"),
        ({"partial_images": 4, "stream": True}, "partial_images", "3"),
        ({"seed": -1}, "seed", "0"),
        ({"guidance_scale": 99}, "guidance_scale", "50"),
        ({"strength": 0.5}, "strength", "not a parameter"),
        ({"model": "no-such"}, "model", "no model is called"),
    ],
)
async def test_bad_input_names_its_parameter(
    http: httpx.AsyncClient, service: FakePainter, body: dict[str, Any], param: str, words: str
) -> None:
    response = await generate(http, **body)
    error = error_of(response, 404 if param == "model" else 400)
    assert error["param"] == param and words in error["message"], error
    assert not service.requests


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {"image": PICTURE}, "prompt"),
        ({"prompt": "a hat"}, {}, "image"),
        ({"prompt": "a hat"}, {"image": b""}, "image"),
        ({"prompt": "a hat", "n": "many"}, {"image": PICTURE}, "n"),
        ({"prompt": "a hat", "strength": "2"}, {"image": PICTURE}, "strength"),
        ({"prompt": "a hat", "colour": "red"}, {"image": PICTURE}, "colour"),
        ({"prompt": "a hat"}, {"image": PICTURE, "image[]": PICTURE}, "image"),
        ({"prompt": "a hat", "size": "513x777"}, {"image": PICTURE}, "size"),
    ],
)
async def test_bad_forms_name_their_parameter(
    http: httpx.AsyncClient, fields: dict[str, str], files: dict[str, bytes], param: str
) -> None:
    form: dict[str, Any] = {name: (name, data) for name, data in files.items()} or {"x": ("", "y")}
    response = await http.post("/v1/images/edits", data=fields, files=form)
    error = error_of(response)
    assert error["param"] == param or (not files and error["param"] in ("x", "image")), error


async def test_a_large_upload_is_refused(http: httpx.AsyncClient, service: FakePainter) -> None:
    boundary = "b0undary"
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()

    async def body() -> Any:
        yield head
        for _ in range(200):
            yield bytes(1 << 20)
        yield f"\r\n--{boundary}--\r\n".encode()

    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    response = await http.post("/v1/images/edits", content=body(), headers=kind)
    assert "large" in error_of(response, 413)["message"]
    declared = {**kind, "content-length": str(200 << 20)}
    response = await http.post("/v1/images/edits", content=head, headers=declared)
    assert "large" in error_of(response, 413)["message"] and not service.requests


async def test_pictures_on_the_disk_go_with_their_request(
    connect: Callable[..., httpx.AsyncClient], service: FakePainter, tmp_path: Path
) -> None:
    client = connect(create_app(Settings(data_dir=tmp_path), service))
    large = PICTURE + bytes(2 << 20)  # beyond what stays in memory while it comes
    for error in (None, InputError("no", param="prompt")):
        service.paint_error = error
        files = {"image": ("a.png", large)}
        response = await client.post("/v1/images/edits", data={"prompt": "a hat"}, files=files)
        assert response.status_code == (200 if error is None else 400)
        assert service.paint.image is not None and service.paint.image.data == large
        assert not list((tmp_path / "uploads").iterdir())


async def test_errors_of_the_painter(
    http: httpx.AsyncClient, openai: AsyncOpenAI, service: FakePainter
) -> None:
    service.paint_error = InputError("width is 72; this model paints multiples of 16", param="width")
    error = error_of(await generate(http, size="72x64"))
    assert error["param"] == "size" and error["message"].startswith("size: width is 72")
    service.paint_error = FilteredError("the prompt does not pass", param="prompt")
    with pytest.raises(BadRequestError) as caught:
        await openai.images.generate(prompt="a cat")
    assert caught.value.code == "content_policy_violation" and caught.value.param == "prompt"
    service.paint_error = CapacityError("no room")
    response = await generate(http, stream=True)
    assert error_of(response, 503)["code"] == "overloaded" and "retry-after" in response.headers


async def test_a_pulled_model_paints_where_the_embedded_one_does_not(
    http: httpx.AsyncClient, service: FakePainter
) -> None:
    service.has_painter, service.more_models = False, (PULLED_PAINTER,)
    reply = (await generate(http, model="gpt-image-1")).json()
    assert service.paint.model == PULLED_PAINTER.id and reply["localgpt"]["model"] == PULLED_PAINTER.id
    assert reply["localgpt"]["notices"] == ["maker/painter does this; the embedded model cannot paint"]
    assert (await generate(http)).status_code == 200 and service.paint.model == PULLED_PAINTER.id
    service.more_models = ()
    service.paint_error = InputError("the model cannot paint pictures; pull one", param="model")
    for body in ({}, {"stream": True}):
        response = await generate(http, **body)
        error = error_of(response, 501)
        assert (error["param"], error["code"]) == ("model", "not_implemented")
        assert "pull one" in error["message"] and response.headers["x-should-retry"] == "false"


async def test_a_client_that_leaves_ends_the_work() -> None:
    service = FakePainter(paint_gate=asyncio.Event())
    wire = Wire(
        create_app(Settings(), service),
        {"prompt": "a cat", "stream": True, "partial_images": 2},
        path="/v1/images/generations",
    )
    await wire.until(b"image_generation.partial_image")
    wire.disconnect()
    await asyncio.wait_for(wire.task, 60)
    assert service.num_cancelled == 1
