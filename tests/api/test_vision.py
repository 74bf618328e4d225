"""This server's own routes for pictures, and the routes that tell what is missing."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI

from localgpt.errors import BackendError
from localgpt.server.routes.missing import MISSING
from localgpt.tasks import EMBEDDED_MODEL_ID, ImagePart, SamplingOptions
from tests.api.fake_service import FakeService

URL = "data:image/png;base64," + base64.b64encode(b"picture").decode()
PICTURE = ImagePart(data=b"picture", media_type="image/png")


async def test_describe(http: httpx.AsyncClient, service: FakeService) -> None:
    service.notices = ("n",)
    reply = await http.post("/v1/vision/describe", json={"image": URL, "language": "zh", "max_tokens": 9})
    body = reply.json()
    assert body == {
        "generated_text": "Hello, world.",
        "finish_reason": "stop",
        "model": EMBEDDED_MODEL_ID,
        "usage": body["usage"],
        "notices": ["n"],
    }
    assert body["usage"]["total_tokens"] == 10
    assert (service.describe.image, service.describe.language) == (PICTURE, "zh")
    assert service.describe.options == SamplingOptions(temperature=0.0, max_tokens=9)
    await http.post("/v1/vision/describe", json={"image": URL, "temperature": 0.5, "model": "gpt-4o"})
    assert service.describe.language == "en" and service.describe.options.temperature == 0.5


async def test_ask(http: httpx.AsyncClient, service: FakeService) -> None:
    service.finish_reason = "length"
    reply = await http.post("/v1/vision/ask", json={"image": URL, "question": "What?"})
    assert (reply.json()["generated_text"], reply.json()["finish_reason"]) == ("Hello, world.", "length")
    assert (service.ask.image, service.ask.question) == (PICTURE, "What?")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("describe", {}, "image"),
    ("describe", {"image": "https://example.com/cat.jpg"}, "image"),
    ("describe", {"image": "data:image/png;base64,???"}, "image"),
    ("describe", {"image": URL, "language": "fr"}, "language"),
    ("describe", {"image": URL, "stream": True}, "stream"),
    ("ask", {"image": URL}, "question"),
    ("ask", {"image": URL, "question": " "}, "question"),
    ("ask", {"image": URL, "question": "x", "n": 2}, "n"),
]


@pytest.mark.parametrize(("route", "body", "param"), REFUSED, ids=range(len(REFUSED)))
async def test_refusals(
    http: httpx.AsyncClient, service: FakeService, route: str, body: dict[str, Any], param: str
) -> None:
    response = await http.post(f"/v1/vision/{route}", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert service.requests == []


async def test_failures(http: httpx.AsyncClient, service: FakeService) -> None:
    service.error = BackendError("gone")
    assert (await http.post("/v1/vision/describe", json={"image": URL})).status_code == 503


@pytest.mark.parametrize("one", MISSING, ids=lambda one: one.path)
async def test_missing_routes_say_what_is_missing(http: httpx.AsyncClient, one: Any) -> None:
    response = await http.request(one.method, one.path, content=b"anything")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (501, "not_implemented", None)
    assert one.what in error["message"] and one.meanwhile in error["message"]


async def test_stock_clients_do_not_try_again(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.InternalServerError, match="finds objects") as caught:
        await openai.with_options(max_retries=5).post("/vision/detect", body={}, cast_to=dict[str, str])
    assert caught.value.code == "not_implemented"
