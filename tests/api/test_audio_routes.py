"""The audio routes over tiny true models, through the official client."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import numpy as np
import pytest
import soundfile
from openai import AsyncOpenAI

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.media.audio import decode_audio_bytes
from localgpt.media.audio_files import MEDIA_TYPES as FILE_TYPES
from localgpt.media.audio_files import encode_audio
from localgpt.runtime.open.service import OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.server import create_app
from localgpt.server.answers import NOTICES_HEADER
from localgpt.server.sound import MEDIA_TYPES
from localgpt.settings import Settings
from localgpt.units import MIB
from tests.api.conftest import BASE_URL
from tests.tiny_media import write_listener, write_voice

RATE = 16_000
SOUND = np.random.default_rng(0).normal(0, 0.2, 5 * RATE // 2).astype(np.float32)  # 2.5 s
WAV = encode_audio(SOUND, RATE)
TEXT = "Hello there. How are you?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("voices")
    return [
        write_listener(root / "listener"),
        write_voice(root / "voice"),
        write_voice(root / "choir", num_speakers=3),
    ]


@pytest.fixture(scope="module")
def models(folders: list[Path]) -> Iterator[OpenService]:
    """One service for all tests; it may be used from several event loops."""
    shelf = Shelf(None, [model_of_folder(folder) for folder in folders])
    service = OpenService(shelf, Ledger(CpuDevice(), Budget(nbytes=512 * MIB)))
    yield service
    asyncio.run(service.close())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(models: OpenService, home: Path, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(create_app(Settings(data_dir=home), models))


@pytest.fixture
async def sdk(models: OpenService, home: Path) -> AsyncIterator[AsyncOpenAI]:
    transport = httpx2.ASGITransport(create_app(Settings(data_dir=home), models))
    async with AsyncOpenAI(
        base_url=f"{BASE_URL}/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
        _strict_response_validation=True,
    ) as client:
        yield client


def same_file(**values: Any) -> dict[str, Any]:
    return {
        "file": ("said.wav", WAV, "audio/wav"),
        "model": "listener",
        "language": "en",
        "extra_body": {"seed": 1},  # what is doubtful is heard again, with words drawn at random
        **values,
    }


async def test_a_transcript_in_every_form(sdk: AsyncOpenAI) -> None:
    whole = await sdk.audio.transcriptions.create(**same_file())
    assert whole.text and whole.usage is not None and whole.usage.type == "duration"
    assert whole.usage.seconds == 3
    verbose = await sdk.audio.transcriptions.create(
        **same_file(response_format="verbose_json"),
        timestamp_granularities=["word", "segment"],
    )
    assert (verbose.language, verbose.duration) == ("english", 2.5)
    assert verbose.segments and verbose.words
    for number, segment in enumerate(verbose.segments):
        assert segment.id == number and 0 <= segment.start <= segment.end <= 2.5
        assert segment.tokens and segment.avg_logprob <= 0 < segment.compression_ratio
        assert segment.seek in (0, 100, 200) or segment.seek <= 100 * segment.start
    assert all(0 <= word.start <= word.end <= 2.5 and word.word for word in verbose.words)
    words_alone = await sdk.audio.transcriptions.create(
        **same_file(response_format="verbose_json"), timestamp_granularities=["word"]
    )
    assert words_alone.segments is None and words_alone.words == verbose.words
    srt = await sdk.audio.transcriptions.create(**same_file(response_format="srt"))
    assert str(srt).startswith("1\n00:00:0") and " --> " in str(srt)
    vtt = await sdk.audio.transcriptions.create(**same_file(response_format="vtt"))
    assert str(vtt).startswith("WEBVTT\n\n00:00:0")
    text = await sdk.audio.transcriptions.create(**same_file(response_format="text"))
    assert str(text) == f"{whole.text}\n"


async def test_a_transcript_as_it_is_heard(sdk: AsyncOpenAI) -> None:
    whole = await sdk.audio.transcriptions.create(**same_file())
    stream = await sdk.audio.transcriptions.create(**same_file(), stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
    assert len(events) >= 3 and events[-1].type == "transcript.text.done"
    pieces = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert pieces == events[-1].text
    assert whole.text  # windows without times are heard otherwise, so the texts may differ


async def test_what_a_stream_is_made_of(client: httpx.AsyncClient) -> None:
    files = {"file": ("said.wav", WAV)}
    reply = await client.post(
        "/v1/audio/transcriptions", files=files, data={"model": "listener", "stream": "true"}
    )
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.text.split("\n\n") if line]
    assert all(line.startswith('data: {"type": "transcript.text.') for line in lines)


async def test_translations(sdk: AsyncOpenAI) -> None:
    said = ("said.wav", WAV)
    asked = {"file": said, "model": "listener", "extra_body": {"seed": 1}}
    with pytest.deprecated_call():  # OpenAI closes this route
        plain: Any = await sdk.audio.translations.create(**asked)
    assert plain.text
    with pytest.deprecated_call():
        verbose: Any = await sdk.audio.translations.create(
            **asked, response_format="verbose_json", temperature=0.0, prompt="Names: Ada."
        )
    assert verbose.task == "translate" and verbose.segments


async def test_a_model_of_one_language_does_not_translate(
    tmp_path: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    folder = write_listener(tmp_path / "english", languages=False)
    shelf = Shelf(None, [model_of_folder(folder)])
    service = OpenService(shelf, Ledger(CpuDevice(), Budget(nbytes=512 * MIB)))
    reply = await connect(create_app(Settings(data_dir=tmp_path), service)).post(
        "/v1/audio/translations", files={"file": ("a.wav", WAV)}, data={"model": "english"}
    )
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
    await service.close()


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_a_text_is_spoken_in_every_format(name: Any, sdk: AsyncOpenAI) -> None:
    async with sdk.audio.speech.with_streaming_response.create(
        model="voice", input=TEXT, voice="default", response_format=name, extra_body={"seed": 3}
    ) as reply:
        assert reply.headers["content-type"] == MEDIA_TYPES[name]
        data = b"".join([piece async for piece in reply.iter_bytes()])
    if name == "pcm":  # 24 kHz, as clients take headless samples for
        waveform = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768
        seconds = len(waveform) / 24_000
    else:
        waveform = decode_audio_bytes(data, 16_000)
        seconds = len(waveform) / 16_000
    whole = decode_audio_bytes(await spoken(sdk, seed=3), 16_000)
    assert seconds == pytest.approx(len(whole) / 16_000, abs=0.15) and np.abs(waveform).max() > 0.001


def test_media_types_are_those_of_the_files() -> None:
    assert dict(MEDIA_TYPES) == FILE_TYPES


async def spoken(sdk: AsyncOpenAI, **values: Any) -> bytes:
    """A spoken text as WAV."""
    extra = {name: values.pop(name) for name in ("seed", "sample_rate", "language") if name in values}
    asked = {"model": "voice", "input": TEXT, "voice": "default", "response_format": "wav", **values}
    return (await sdk.audio.speech.create(**asked, extra_body=extra)).content


async def test_speed_seed_rate_and_voice_matter(sdk: AsyncOpenAI) -> None:
    first = await spoken(sdk, seed=1)
    assert first == await spoken(sdk, seed=1) != await spoken(sdk, seed=2)
    quick = await spoken(sdk, seed=1, speed=2.0)
    assert len(quick) < 0.75 * len(first)
    assert soundfile.info(io.BytesIO(await spoken(sdk, seed=1, sample_rate=22_050))).samplerate == 22_050
    one, two = [await spoken(sdk, seed=1, model="choir", voice=voice) for voice in ("0", {"id": "2"})]
    assert one != two


async def test_speech_as_events_is_the_file_and_ends_with_usage(client: httpx.AsyncClient) -> None:
    body = {"model": "voice", "input": TEXT, "voice": "default", "response_format": "pcm", "seed": 1}
    whole = (await client.post("/v1/audio/speech", json=body)).content
    reply = await client.post("/v1/audio/speech", json=body | {"stream_format": "sse"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n\n") if line]
    *deltas, done = [event["type"] for event in events]
    assert set(deltas) == {"speech.audio.delta"} and len(deltas) >= 2 and done == "speech.audio.done"
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    assert all(set(event) == {"type", "audio"} for event in events[:-1])
    usage = {"input_tokens": len(TEXT), "output_tokens": 0, "total_tokens": len(TEXT)}
    assert events[-1] == {"type": "speech.audio.done", "usage": usage}


async def test_voices_of_others_are_told_and_unknown_ones_refused(client: httpx.AsyncClient) -> None:
    body = {"model": "voice", "input": TEXT, "seed": 1, "response_format": "wav"}
    own = await client.post("/v1/audio/speech", json=body)
    assert NOTICES_HEADER not in own.headers
    alloy = await client.post("/v1/audio/speech", json=body | {"voice": "alloy"})
    assert alloy.content == own.content and "alloy" in alloy.headers[NOTICES_HEADER]
    for voice in ("nobody", {"id": "alloy"}):
        refused = await client.post("/v1/audio/speech", json=body | {"voice": voice})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "voice")


async def test_letters_that_are_left_out_are_told(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/audio/speech", json={"model": "voice", "input": "hello 你 you"})
    assert reply.status_code == 200 and "knows no" in reply.headers[NOTICES_HEADER]


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"input": "   "}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input": "你好"}, "input"),
        ({"input": "a" * 50_001}, "input"),
        ({"speed": 5}, "speed"),
        ({"speed": "1"}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"response_format": "mp3", "sample_rate": 9000}, "sample_rate"),
        ({"instructions": "Whisper."}, "instructions"),
        ({"stream_format": "chunks"}, "stream_format"),
        ({"language": "de"}, "language"),
        ({"model": "listener"}, "model"),
        ({"never_heard_of": 1}, "never_heard_of"),
    ],
)
async def test_what_cannot_be_spoken(values: dict[str, Any], param: str, client: httpx.AsyncClient) -> None:
    content = json.dumps({"model": "voice", "input": TEXT, **values})
    headers = {"content-type": "application/json"}
    reply = await client.post("/v1/audio/speech", content=content, headers=headers)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_no_name_and_aliases_stand_for_the_model_that_can(client: httpx.AsyncClient) -> None:
    for name in ({}, {"model": "whisper-1"}, {"model": "gpt-4o-transcribe"}):
        reply = await client.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}, data=name)
        assert reply.status_code == 200 and "listener does this" in reply.headers[NOTICES_HEADER]
    for more in ({}, {"model": "tts-1"}):
        reply = await client.post("/v1/audio/speech", json={"input": TEXT, "voice": "alloy", **more})
        assert reply.status_code == 200 and "cannot speak" in reply.headers[NOTICES_HEADER]


async def test_unknown_models_are_not_found(client: httpx.AsyncClient) -> None:
    reply = await client.post(
        "/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}, data={"model": "nobody"}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    reply = await client.post("/v1/audio/speech", json={"model": "nobody", "input": TEXT})
    assert reply.status_code == 404


async def test_voice_that_is_switched_off_says_so(
    models: OpenService, home: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    client = connect(create_app(Settings(data_dir=home, enable_voice=False), models))
    replies = [
        await client.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}),
        await client.post("/v1/audio/translations", files={"file": ("a.wav", WAV)}),
        await client.post("/v1/audio/speech", json={"input": TEXT}),
    ]
    for reply in replies:
        assert (reply.status_code, reply.headers["x-should-retry"]) == (501, "false")
        assert "enable语音" in reply.json()["error"]["message"]
