"""Embeddings: both encodings through the official client, pictures as an extension, refusals."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from localgpt.tasks import EMBEDDED_MODEL_ID, ImagePart, TextPart
from tests.api.fake_service import FakeService

MODEL = EMBEDDED_MODEL_ID


@pytest.mark.parametrize("encoding", ["float", None])
async def test_official_client(openai: AsyncOpenAI, encoding: Any) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}  # the client itself asks for base64
    if encoding is None:  # what it decodes itself does not pass its own strict validation
        openai = openai.with_options(_extra_kwargs={"_strict_response_validation": False})
    reply = await openai.embeddings.create(model=MODEL, input=["one", "two"], **options)
    assert [item.index for item in reply.data] == [0, 1]
    assert reply.usage.total_tokens == 5
    vector: Any = reply.data[0].embedding
    assert vector == pytest.approx([0.6, 0.8, 0.0])


async def test_base64_is_little_endian_float32(http: httpx.AsyncClient) -> None:
    reply = (await http.post("/v1/embeddings", json={"input": "one", "encoding_format": "base64"})).json()
    expected = struct.pack("<3f", 0.6, 0.8, 0.0)
    assert base64.b64decode(reply["data"][0]["embedding"]) == expected


async def test_pictures_and_texts_in_one_list(http: httpx.AsyncClient, service: FakeService) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(b"picture").decode()
    items = ["a", {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": url}}]
    reply = (await http.post("/v1/embeddings", json={"input": items})).json()
    assert [item["embedding"] for item in reply["data"]] == [
        [0.6, 0.8, 0.0],
        [0.6, 0.8, 0.0],
        [0.0, 0.6, 0.8],
    ]
    assert service.embed.inputs == (
        TextPart(text="a"),
        TextPart(text="b"),
        ImagePart(data=b"picture", media_type="image/jpeg"),
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", " "]}, "input[1]"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": 5}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 2}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "colour": "red"}, "colour"),
        ({"input": [{"type": "image_url", "image_url": {"url": "https://x"}}]}, "input[0].image_url.url"),
    ],
)
async def test_refusals(http: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    response = await http.post("/v1/embeddings", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_own_size_is_honoured(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/embeddings", json={"input": "a", "dimensions": 3})).status_code == 200
