"""Recordings in conversations: written down, read as text in their place, told, and remembered."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from localgpt.errors import AudioFormatError, InputError
from localgpt.server import create_app
from localgpt.server.heard_texts import HeardTexts
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID, ChatRequest, ListenRequest, ModelStatus, TextPart
from tests.api.fake_voices import FakeVoices

SOUND = base64.b64encode(b"RIFF").decode()
HEARD = "What is the capital of France?"
PIXEL = "data:image/png;base64,eA=="
PLACE = "messages[0].content[1].input_audio"


def audio(data: str = SOUND, format: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": format}}


def body(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "Answer this:"}, *(parts or (audio(),))]
    return {"messages": [{"role": "user", "content": content}], **more}


@pytest.fixture
def voices() -> FakeVoices:
    return FakeVoices()


@pytest.fixture
def client(voices: FakeVoices, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(create_app(Settings(), voices))


CHAT = "/v1/chat/completions"


async def test_a_recording_is_read_as_text_and_told(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    reply = await client.post(CHAT, json=body())
    assert reply.status_code == 200, reply.text
    listened, asked = voices.requests
    assert isinstance(listened, ListenRequest) and isinstance(asked, ChatRequest)
    assert (listened.audio.data, listened.model) == (b"RIFF", EMBEDDED_MODEL_ID)
    assert asked.messages[0].content == (TextPart(text="Answer this:"), TextPart(text=HEARD))
    (notice,) = reply.json()["localgpt"]["notices"]
    assert notice.startswith(f"{PLACE} was heard by {EMBEDDED_MODEL_ID}") and notice.endswith(HEARD)


async def test_a_stream_tells_it_too(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=body(stream=True))
    assert reply.text.count(HEARD) == 1 and PLACE in reply.headers["x-localgpt-notices"]
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_what_was_heard_is_not_heard_again(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for _ in range(2):
        await client.post(CHAT, json=body(audio(), {"type": "image_url", "image_url": {"url": PIXEL}}))
    assert [type(one) for one in voices.requests].count(ListenRequest) == 1
    await client.post(CHAT, json=body(audio(base64.b64encode(b"other").decode(), "mp3")))
    assert voices.requests[-2].audio.media_type == "audio/mp3"  # type: ignore[union-attr]


def test_texts_are_of_their_owner_alone_and_bounded() -> None:
    texts = HeardTexts()
    texts.put("ada", "m", b"x", "hello")
    assert texts.get("ada", "m", b"x") == "hello"
    assert texts.get("bob", "m", b"x") is None and texts.get("ada", "n", b"x") is None
    for number in range(256):
        texts.put("bob", "m", bytes([number]), "")
    assert texts.get("ada", "m", b"x") is None


async def test_the_model_that_answers_listens_itself_if_it_can(
    client: httpx.AsyncClient, voices: FakeVoices
) -> None:
    able = ModelStatus(
        id="ears",
        tasks=("chat", "listen"),
        num_params=1,
        weight_bytes=1,
        context_len=1,
        num_image_tokens=0,
        created=1,
        licence="MIT",
    )
    voices.more_models = (able, replace(able, id="old", created=0, tasks=("listen",)))
    await client.post(CHAT, json=body(model="ears"))
    assert voices.requests[0].model == "ears"
    voices.voice_tasks = ()  # of the embedded family
    reply = await client.post(CHAT, json=body(audio(base64.b64encode(b"other").decode())))
    assert voices.requests[-2].model == "ears"  # the newest that can
    assert "ears does this" in reply.json()["localgpt"]["notices"][0]


REFUSED: list[tuple[dict[str, Any], str]] = [
    (body(audio("not base64!")), f"{PLACE}.data"),
    (body(audio("")), f"{PLACE}.data"),
    (body(audio(format="ogg")), f"{PLACE}.format"),
    (body({"type": "input_audio"}), "messages[0].content[1].input_audio"),
    (body({"type": "input_audio", "input_audio": {"data": SOUND}}), f"{PLACE}.format"),
    (body(*[audio() for _ in range(33)]), "messages[0].content[33].input_audio"),
    ({"messages": [{"role": "assistant", "content": [audio()]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "system", "content": [audio()]}]}, "messages[0].content[0].type"),
]


async def test_what_cannot_be_heard_is_refused_by_name(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for asked, param in REFUSED:
        reply = await client.post(CHAT, json=asked)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
    assert not any(isinstance(one, ChatRequest) for one in voices.requests)
    voices.heard = (" ",)
    other = base64.b64encode(b"silence").decode()
    reply = await client.post(CHAT, json=body(audio(other)))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, PLACE)
    assert "nobody speaks" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (AudioFormatError("got a text file", param="audio"), f"{PLACE}.data"),
        (InputError("the model cannot write down speech; pull one", param="model"), PLACE),
    ],
)
async def test_what_nobody_hears_says_why(
    error: InputError, param: str, client: httpx.AsyncClient, voices: FakeVoices
) -> None:
    voices.voice_error = error
    reply = await client.post(CHAT, json=body())
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert str(error) in reply.json()["error"]["message"]


async def test_voice_that_is_off_hears_nothing(
    voices: FakeVoices, connect: Callable[..., httpx.AsyncClient]
) -> None:
    client = connect(create_app(Settings(enable_voice=False), voices))
    reply = await client.post(CHAT, json=body())
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, PLACE)
    assert "enable语音" in reply.json()["error"]["message"] and not voices.requests


async def test_responses_keep_the_text(
    voices: FakeVoices, store: Store, connect: Callable[..., httpx.AsyncClient]
) -> None:
    client = connect(create_app(Settings(), voices, store=store))
    said = [{"role": "user", "content": [audio()]}]
    first = (await client.post("/v1/responses", json={"input": said})).json()
    assert HEARD in first["localgpt"]["notices"][0]
    assert "input[0].content[0].input_audio" in first["localgpt"]["notices"][0]
    items = (await client.get(f"/v1/responses/{first['id']}/input_items")).json()["data"]
    assert items[0]["content"] == [{"type": "input_text", "text": HEARD}]
    await client.post("/v1/responses", json={"input": "And?", "previous_response_id": first["id"]})
    assert [type(one) for one in voices.requests].count(ListenRequest) == 1
    assert voices.chat.messages[0].content == (TextPart(text=HEARD),)
    broken = [{"role": "user", "content": [audio("!")]}]
    reply = await client.post("/v1/responses", json={"input": broken, "stream": True})
    assert (reply.status_code, reply.json()["error"]["param"]) == (
        400,
        "input[0].content[0].input_audio.data",
    )
