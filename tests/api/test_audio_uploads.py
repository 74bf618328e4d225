"""Recordings as they are sent: bad ones, broken forms, and such as never are in memory whole."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.errors import BackendError, InputError, MissingWeightsError
from localgpt.media.audio_files import encode_audio
from localgpt.runtime.open.service import OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.server import create_app
from localgpt.server.store.opening import open_store
from localgpt.server.uploads import sweep_uploads
from localgpt.settings import Settings
from localgpt.tasks import Event, Finished, ListenRequest, Request
from localgpt.units import MIB
from tests.api.fake_voices import FakeVoices
from tests.api.live import SOON_S, live
from tests.api.test_gateway_admission import pass_time
from tests.tiny_media import write_listener
from tests.unit.test_audio import broken_float, png, silent_video, ten_hours_head

PATH = "/v1/audio/transcriptions"
RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.2, RATE).astype(np.float32)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    shelf = Shelf(None, [model_of_folder(write_listener(tmp_path_factory.mktemp("ears") / "listener"))])
    service = OpenService(shelf, Ledger(CpuDevice(), Budget(nbytes=512 * MIB)))
    yield service
    asyncio.run(service.close())


@pytest.fixture
def voices() -> FakeVoices:
    return FakeVoices()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(voices: FakeVoices, home: Path, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(create_app(Settings(data_dir=home), voices))


def recording(samples: NDArray[Any] = NOISE, rate: int = RATE, **how: Any) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, **{"format": "WAV", **how})
    return sink.getvalue()


def film() -> bytes:
    """A video with sound."""
    import av

    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        pictures: Any = container.add_stream("mpeg4", rate=5)
        pictures.width = pictures.height = 32
        sound: Any = container.add_stream("aac", rate=RATE)
        sound.codec_context.layout = "mono"
        for _ in range(5):
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(pictures.encode(black))
        frame = av.AudioFrame.from_ndarray(NOISE[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(sound.encode(frame))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    return sink.getvalue()


REFUSED: list[tuple[str, bytes, str]] = [
    ("empty.wav", b"", "an empty file"),
    ("notes.txt", b"This is a text.", "a text file"),
    ("paper.pdf", b"%PDF-1.7\nsome", "a PDF file"),
    ("picture.png", png(), "no recording"),
    ("mute.mp4", silent_video(), "a video without sound"),
    ("nan.wav", broken_float(float("nan")), "no numbers"),
    ("infinite.wav", broken_float(float("inf")), "no numbers"),
    ("cut.wav", recording()[:20_000], "cut short"),
    ("head.wav", recording()[:40], "WAV file"),
    ("noise.mp3", np.random.default_rng(1).bytes(20_000), "recording"),
]
HEARD: list[tuple[str, bytes, str]] = [
    ("film.mp4", film(), "video/mp4"),
    ("old.wav", recording(NOISE[:6000], 6000, subtype="PCM_U8"), "audio/wav"),
    ("flac-in-truth.wav", recording(format="FLAC"), "audio/wav"),
    ("ogg-in-truth.mp3", recording(format="OGG", subtype="VORBIS"), "audio/mpeg"),
    ("no-suffix", encode_audio(NOISE, RATE, "mp3"), "application/octet-stream"),
    ("typed-as-text.txt", encode_audio(NOISE, RATE), "text/plain"),
]


async def test_bad_recordings_are_one_clear_error_and_good_ones_are_heard(
    listening: OpenService, home: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    client = connect(create_app(Settings(data_dir=home), listening))
    for name, data, words in REFUSED:
        reply = await client.post(PATH, files={"file": (name, data)}, data={"model": "listener"})
        error = reply.json()["error"]
        assert (reply.status_code, error["param"], error["code"]) == (400, "file", "invalid_audio"), name
        assert words in error["message"] and str(home) not in error["message"], name
    for name, data, kind in HEARD:
        reply = await client.post(
            PATH, files={"file": (name, data, kind)}, data={"model": "listener", "language": "en"}
        )
        assert reply.status_code == 200 and reply.json()["text"], f"{name}: {reply.text}"
    silence = recording(np.zeros(RATE, dtype=np.float32))
    reply = await client.post(
        PATH, files={"file": silence}, data={"model": "listener", "response_format": "verbose_json"}
    )
    assert (reply.json()["text"], reply.json()["segments"]) == ("", [])
    assert reply.json()["language"] == "unknown"


class Watched(FakeVoices):
    """Looks at the recording's file, at its first sign of life, and how much memory is used."""

    head = b""
    num_bytes = 0
    mode = 0
    resident = 0

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        assert isinstance(request, ListenRequest) and request.audio.path is not None
        assert request.audio.data == b"" and request.deadline_s is None
        path = Path(request.audio.path)
        with path.open("rb") as file:
            self.head = file.read(64)
        self.num_bytes, self.mode = path.stat().st_size, path.stat().st_mode & 0o777
        self.resident = resident()
        async for event in super().stream(request):
            yield event


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


BOUNDARY = "a-boundary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by Linux alone")
async def test_ten_hours_are_received_in_little_memory_and_leave_nothing(home: Path) -> None:
    """216 MB over a real connection: two hundred times what may stay in memory."""
    service = Watched()
    num_bytes = 36_000 * 6000
    block = bytes([128]) * MIB

    async def body() -> AsyncIterator[bytes]:
        yield part("file", "day.wav") + ten_hours_head()
        for _ in range(num_bytes // MIB):
            yield block
        yield block[: num_bytes % MIB] + f"\r\n--{BOUNDARY}--\r\n".encode()

    async with live(Settings(data_dir=home), service) as server:
        before = resident()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            reply = await client.post(PATH, content=body(), headers=FORM)
    assert reply.status_code == 200, reply.text
    assert (service.num_bytes, service.mode) == (44 + num_bytes, 0o600)
    assert service.head == (ten_hours_head() + block)[:64]
    assert service.resident - before < 48 * MIB
    assert list((home / "uploads").iterdir()) == []


async def test_a_long_recording_is_heard_from_its_file(
    listening: OpenService, home: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    """Half an hour of silence, then a second of noise: every window is looked at, the last has words."""
    client = connect(create_app(Settings(data_dir=home), listening))
    quiet = np.zeros(1800 * 1000, dtype=np.int16)
    quiet[-1000:] = (NOISE[:1000] * 32767).astype(np.int16)
    reply = await client.post(
        PATH,
        files={"file": recording(quiet, 1000)},
        data={"model": "listener", "response_format": "verbose_json", "language": "en"},
    )
    answer = reply.json()
    assert answer["duration"] == pytest.approx(1800, abs=0.1)
    assert answer["segments"] and answer["segments"][0]["start"] >= 1798
    assert list((home / "uploads").iterdir()) == []


BROKEN: list[tuple[str, bytes, str | None]] = [
    ("no end", part("file", "a.wav") + b"RIFF", None),
    ("no form", b"RIFF", None),
    ("a field where a file is due", part("file") + f"RIFF\r\n--{BOUNDARY}--\r\n".encode(), "file"),
    ("a file where a field is due", part("model", "m") + f"x\r\n--{BOUNDARY}--\r\n".encode(), "model"),
    ("no file", part("model") + f"whisper-1\r\n--{BOUNDARY}--\r\n".encode(), "file"),
    (
        "two files",
        2 * (part("file", "a.wav") + b"RIFF\r\n") + f"--{BOUNDARY}--\r\n".encode(),
        "file",
    ),
    ("not UTF-8", part("prompt") + b"\xff\xfe" + f"\r\n--{BOUNDARY}--\r\n".encode(), "prompt"),
    ("a long field", part("prompt") + b"a" * 70_000 + f"\r\n--{BOUNDARY}--\r\n".encode(), "prompt"),
    ("a name of nothing", part("a.b") + f"x\r\n--{BOUNDARY}--\r\n".encode(), "a.b"),
    ("many fields", 300 * (part("include[]") + b"x\r\n") + f"--{BOUNDARY}--\r\n".encode(), None),
]


async def test_broken_forms(client: httpx.AsyncClient, voices: FakeVoices) -> None:
    for what, body, param in BROKEN:
        reply = await client.post(PATH, content=body, headers=FORM)
        assert reply.status_code == 400, f"{what}: {reply.text}"
        assert reply.json()["error"]["param"] == param, what
    for kind in ("application/json", "multipart/form-data", "audio/wav"):
        reply = await client.post(PATH, content=b"{}", headers={"content-type": kind})
        assert (reply.status_code, "multipart/form-data" in reply.text) == (415, True)
    assert not voices.requests


async def test_recordings_are_bounded_one_by_one_and_together(
    voices: FakeVoices, home: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    app = create_app(Settings(data_dir=home, max_upload_mib=3), voices)
    client = connect(app)
    reply = await client.post(PATH, files={"file": bytes(4 * MIB)})
    assert reply.status_code == 413
    app.state.gateway.upload_room.num_bytes = 11 * MIB  # of others
    reply = await client.post(PATH, files={"file": bytes(2 * MIB)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
    assert app.state.gateway.upload_room.num_bytes == 11 * MIB
    assert (await client.post(PATH, files={"file": bytes(MIB)})).status_code == 200  # in memory
    assert list((home / "uploads").iterdir()) == []


async def test_a_full_disk_is_said(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("localgpt.server.uploads.tempfile.mkstemp", full)
    reply = await client.post(PATH, files={"file": bytes(2 * MIB)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (507, "disk_full")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit of a file's size")
async def test_a_disk_that_fills_up_on_the_way_ends_the_request_whole(
    client: httpx.AsyncClient, home: Path
) -> None:
    """What is left in the file's buffer fails once more when it is closed, where nothing may come of it."""
    import resource

    num_bytes = 3 * MIB // 2 + 100
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes - 50, before[1]))
    try:
        reply = await client.post(PATH, files={"file": bytes(num_bytes)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (reply.status_code, "cannot be written" in reply.text) == (503, True)
    assert list((home / "uploads").iterdir()) == []


async def test_what_a_crash_left_goes_with_the_next_start(home: Path, voices: FakeVoices) -> None:
    left = home / "uploads" / "tmpleft"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"RIFF")
    settings = Settings(data_dir=home)
    app = create_app(settings, voices, store=await open_store(settings))
    async with app.router.lifespan_context(app):
        assert not left.exists()
    sweep_uploads(Settings(data_dir=home / "none"))  # nothing to sweep is no error


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (MissingWeightsError("no listener is here; pull one"), 501, "not_implemented", None),
        (InputError("it cannot write down speech", param="model"), 501, "not_implemented", "model"),
        (InputError("that language is not known", param="language"), 400, None, "language"),
        (BackendError("the process ended"), 503, "backend_unavailable", None),
    ],
)
async def test_failures_have_their_status(
    error: Any,
    status: int,
    code: str | None,
    param: str | None,
    client: httpx.AsyncClient,
    voices: FakeVoices,
) -> None:
    voices.voice_error = error
    for stream in ("false", "true"):
        reply = await client.post(PATH, files={"file": b"RIFF"}, data={"stream": stream})
        told = reply.json()["error"]
        assert (reply.status_code, told["code"], told["param"]) == (status, code, param)
        assert told["message"] == str(error)
    if param != "language":
        for form in ("audio", "sse"):
            reply = await client.post("/v1/audio/speech", json={"input": "Hi.", "stream_format": form})
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


async def test_who_goes_away_ends_the_work_and_the_file(home: Path) -> None:
    service = Watched(voice_gate=asyncio.Event())
    async with live(Settings(data_dir=home), service) as server:
        reader, writer = await server.connect()
        data = part("stream") + b"true\r\n" + part("file", "a.wav") + bytes(2 * MIB)
        data += f"\r\n--{BOUNDARY}--\r\n".encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}\r\n"
        writer.write(f"{head}content-type: {FORM['content-type']}\r\n\r\n".encode() + data)
        await reader.readuntil(b"transcript.text.delta")
        assert len(list((home / "uploads").iterdir())) == 1
        writer.close()
        while list((home / "uploads").iterdir()):
            await asyncio.sleep(0)
    assert service.num_cancelled == 1


class Slow(FakeVoices):
    """Takes nine tenths of a request's time for each sign of progress."""

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        async for event in super().stream(request):
            pass_time(540)
            yield event


async def test_long_work_has_its_time_from_each_sign_of_progress(
    home: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    service = Slow()
    client = connect(create_app(Settings(data_dir=home, request_timeout_s=600), service))
    for stream in ("false", "true"):
        reply = await client.post(PATH, files={"file": b"RIFF"}, data={"stream": stream})
        assert reply.status_code == 200 and "capital" in reply.text
    assert service.listen.deadline_s is None
    reply = await client.post("/v1/audio/speech", json={"input": "One. Two. Three."})
    assert reply.status_code == 200 and len(reply.content) == 3 * 4800
    reply = await client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline_exceeded")


async def test_work_that_stands_still_ends(home: Path, connect: Callable[..., httpx.AsyncClient]) -> None:
    service = FakeVoices(voice_gate=asyncio.Event())
    client = connect(create_app(Settings(data_dir=home, request_timeout_s=SOON_S), service))
    reply = await client.post(PATH, files={"file": b"RIFF"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline_exceeded")
    assert service.num_cancelled == 1


async def test_a_spoken_answer_that_fails_is_broken_off(home: Path) -> None:
    class Failing(FakeVoices):
        async def stream(self, request: Request) -> AsyncIterator[Event]:
            async for event in super().stream(request):
                if isinstance(event, Finished):
                    raise BackendError("the process ended")
                yield event

    async with (
        live(Settings(data_dir=home), Failing()) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v1/audio/speech", json={"input": "One. Two."})
        reply = await client.post("/v1/audio/speech", json={"input": "One.", "stream_format": "sse"})
        assert '"error"' in reply.text and "speech.audio.done" not in reply.text


def test_the_head_is_of_ten_hours() -> None:
    (rate,) = struct.unpack_from("<I", ten_hours_head(), 24)
    (size,) = struct.unpack_from("<I", ten_hours_head(), 40)
    assert size / rate == 36_000
