"""Each parameter of the audio routes that the official client knows is honoured or refused by name."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.audio import speech_create_params, transcription_create_params, translation_create_params

from localgpt.server import create_app
from localgpt.settings import Settings
from tests.api.fake_voices import FakeVoices
from tests.api.test_docs import SECTIONS, fields, operations

TRANSCRIPTIONS, TRANSLATIONS = "POST /v1/audio/transcriptions", "POST /v1/audio/translations"
SPEECH = "POST /v1/audio/speech"
PARAMS: dict[str, Any] = {
    TRANSCRIPTIONS: transcription_create_params.TranscriptionCreateParamsNonStreaming,
    TRANSLATIONS: translation_create_params.TranslationCreateParams,
    SPEECH: speech_create_params.SpeechCreateParams,
}
FILE = ("said.wav", b"RIFF", "audio/wav")
Fields = list[tuple[str, str]]

# What a form says beside its file, and the parameter that is refused for it.
REFUSED_FORMS: list[tuple[str, str, Fields]] = [
    (TRANSCRIPTIONS, "chunking_strategy", [("chunking_strategy[type]", "server_vad")]),
    (TRANSCRIPTIONS, "chunking_strategy", [("chunking_strategy", "none")]),
    (TRANSCRIPTIONS, "include", [("include[]", "logprobs")]),
    (TRANSCRIPTIONS, "known_speaker_names", [("known_speaker_names[]", "Ada")]),
    (TRANSCRIPTIONS, "known_speaker_references", [("known_speaker_references[]", "data:audio/wav;base64,")]),
    (TRANSCRIPTIONS, "languages", [("languages[]", "en"), ("languages[]", "zh")]),
    (TRANSCRIPTIONS, "languages", [("languages[]", "en"), ("language", "zh")]),
    (TRANSCRIPTIONS, "response_format", [("response_format", "diarized_json")]),
    (TRANSCRIPTIONS, "response_format", [("response_format", "srt"), ("stream", "true")]),
    (TRANSCRIPTIONS, "timestamp_granularities", [("timestamp_granularities[]", "word")]),
    (TRANSCRIPTIONS, "timestamp_granularities", [("timestamp_granularities[]", "syllable")]),
    (TRANSCRIPTIONS, "temperature", [("temperature", "1.5")]),
    (TRANSCRIPTIONS, "temperature", [("temperature", "nan")]),
    (TRANSCRIPTIONS, "stream", [("stream", "perhaps")]),
    (TRANSCRIPTIONS, "prompt", [("prompt", "a" * 10_001)]),
    (TRANSCRIPTIONS, "never_heard_of", [("never_heard_of", "1")]),
    (TRANSCRIPTIONS, "language", [("language", "en"), ("language", "zh")]),
    (TRANSLATIONS, "response_format", [("response_format", "diarized_json")]),
    (TRANSLATIONS, "language", [("language", "en")]),
    (TRANSLATIONS, "never_heard_of", [("never_heard_of[a]", "1")]),
]
# What is taken, and what the request to the model then says.
TAKEN_FORMS: list[tuple[str, str, Fields, dict[str, Any]]] = [
    (TRANSCRIPTIONS, "model", [("model", "whisper-1")], {"model": "local/multimodal-base"}),
    (TRANSCRIPTIONS, "language", [("language", "zh")], {"language": "zh"}),
    (TRANSCRIPTIONS, "languages", [("languages[]", "zh")], {"language": "zh"}),
    (TRANSCRIPTIONS, "prompt", [("prompt", "About Ada.")], {"prompt": "About Ada."}),
    (
        TRANSCRIPTIONS,
        "keywords",
        [("keywords[]", "Ada"), ("keywords[]", "Babbage"), ("prompt", "On engines.")],
        {"prompt": "Ada, Babbage. On engines."},
    ),
    (TRANSCRIPTIONS, "temperature", [("temperature", "0.4")], {"temperature": 0.4}),
    (TRANSCRIPTIONS, "response_format", [("response_format", "srt")], {"timestamps": "segment"}),
    (TRANSCRIPTIONS, "stream", [("stream", "true")], {"timestamps": "none"}),
    (TRANSCRIPTIONS, "chunking_strategy", [("chunking_strategy", "auto")], {}),
    (TRANSCRIPTIONS, "include", [("include[]", "")], {}),
    (
        TRANSCRIPTIONS,
        "timestamp_granularities",
        [("timestamp_granularities[]", "word"), ("response_format", "verbose_json")],
        {"timestamps": "word"},
    ),
    (TRANSCRIPTIONS, "seed", [("seed", "7")], {"seed": 7}),
    (TRANSLATIONS, "model", [("model", "whisper-1")], {"translate": True}),
    (TRANSLATIONS, "prompt", [("prompt", "About Ada.")], {"prompt": "About Ada."}),
    (TRANSLATIONS, "response_format", [("response_format", "vtt")], {"timestamps": "segment"}),
    (TRANSLATIONS, "temperature", [("temperature", "0")], {"temperature": 0.0}),
    (TRANSLATIONS, "seed", [("seed", "7")], {"seed": 7}),
]
REFUSED_SPEECH: list[tuple[str, Any]] = [
    ("instructions", "Whisper."),
    ("response_format", "ogg"),
    ("speed", 4.1),
    ("stream_format", "chunks"),
    ("voice", ""),
    ("voice", {"id": "a", "name": "b"}),
    ("input", ""),
    ("never_heard_of", 1),
]
TAKEN_SPEECH: list[tuple[str, Any, dict[str, Any]]] = [
    ("model", "tts-1", {"model": "local/multimodal-base"}),
    ("input", "Hello.", {"text": "Hello."}),
    ("voice", "cedar", {"voice": None}),
    ("voice", "anna", {"voice": "anna"}),
    ("voice", {"id": "anna"}, {"voice": "anna"}),
    ("response_format", "opus", {"format": "opus", "sample_rate": None}),
    ("response_format", "pcm", {"format": "pcm", "sample_rate": 24_000}),
    ("speed", 2, {"speed": 2.0}),
    ("stream_format", "sse", {}),
    ("language", "zh", {"language": "zh"}),
    ("seed", 7, {"seed": 7}),
    ("sample_rate", 48_000, {"sample_rate": 48_000}),
    ("instructions", None, {}),
]


@pytest.fixture
def voices() -> FakeVoices:
    return FakeVoices()


@pytest.fixture
def client(voices: FakeVoices, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(create_app(Settings(), voices))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return create_app(Settings(), FakeVoices()).openapi()


def form(route: str, said: Fields) -> dict[str, Any]:
    """A request of a form: fields may repeat, which the client's own tables cannot say."""
    files = [(name, (None, value)) for name, value in said]
    return {"url": route.removeprefix("POST "), "files": [*files, ("file", FILE)]}


@pytest.mark.parametrize("route", PARAMS)
def test_every_parameter_of_the_client_is_known(route: str, schema: dict[str, Any]) -> None:
    known = fields(schema, dict(operations(schema))[route])
    wanted = set(typing.get_type_hints(PARAMS[route]))
    assert not wanted - known, f"openai {openai.__version__} has {sorted(wanted - known)} for {route}"
    assert all(f"`{name}`" in SECTIONS[route] for name in known)


@pytest.mark.parametrize("route", PARAMS)
def test_every_parameter_is_in_one_of_two_lists(route: str, schema: dict[str, Any]) -> None:
    listed = {name for other, name, _ in REFUSED_FORMS if other == route}
    listed |= {name for other, name, _, _ in TAKEN_FORMS if other == route}
    if route == SPEECH:
        listed = {name for name, _ in REFUSED_SPEECH} | {name for name, _, _ in TAKEN_SPEECH}
    assert fields(schema, dict(operations(schema))[route]) - {"file"} <= listed


async def test_what_is_not_done_with_a_recording(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for route, name, said in REFUSED_FORMS:
        reply = await client.post(**form(route, said))
        assert reply.status_code == 400, f"{said}: {reply.text}"
        error = reply.json()["error"]
        assert error["param"].partition(".")[0].partition("[")[0] == name and error["message"]
        assert not voices.requests


async def test_what_is_done_with_a_recording(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for route, _, said, asked in TAKEN_FORMS:
        reply = await client.post(**form(route, said))
        assert reply.status_code == 200, f"{said}: {reply.text}"
        assert {key: getattr(voices.listen, key) for key in asked} == asked
        assert (voices.listen.audio.data, voices.listen.audio.media_type) == (b"RIFF", "audio/wav")


async def test_what_is_not_done_with_a_text(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for name, value in REFUSED_SPEECH:
        reply = await client.post("/v1/audio/speech", json={"input": "Hi.", name: value})
        assert reply.status_code == 400, f"{name}: {reply.text}"
        param = reply.json()["error"]["param"]
        assert param == ("voice.name" if isinstance(value, dict) else name) and not voices.requests


async def test_what_is_done_with_a_text(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for name, value, asked in TAKEN_SPEECH:
        reply = await client.post("/v1/audio/speech", json={"input": "Hi.", name: value})
        assert reply.status_code == 200, f"{name}: {reply.text}"
        assert {key: getattr(voices.speak, key) for key in asked} == asked
        assert not voices.speak.wants_file
