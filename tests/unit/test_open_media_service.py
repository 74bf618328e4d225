"""Painter, recogniser, voice and detector behind one service: through bytes, in little memory, cancelled."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.errors import AudioFormatError, CapacityError, InputError
from localgpt.media.audio_files import encode_audio
from localgpt.runtime.open import paint_plans
from localgpt.runtime.open.service import OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.tasks import (
    AudioPart,
    DetectRequest,
    DetectResult,
    Event,
    Finished,
    ImagePart,
    ListenRequest,
    ListenResult,
    Notice,
    PaintPreview,
    PaintRequest,
    PaintResult,
    Progress,
    Request,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
    TextDelta,
)
from localgpt.tasks.wire import decode_event, decode_request, encode_event, encode_request
from localgpt.units import MIB
from tests import tiny
from tests.near_worker import near
from tests.tiny_media import write_detector, write_listener, write_painter, write_voice

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
SOUND = encode_audio(np.random.default_rng(0).normal(0, 0.2, 16_000).astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("media")
    return [
        write_painter("turbo", root / "painter"),
        write_listener(root / "listener"),
        write_voice(root / "voice"),
        write_detector(root / "detector"),
    ]


def service_of(folders: list[Path], *, budget: int = 512 * MIB) -> OpenService:
    ledger = Ledger(CpuDevice(), Budget(nbytes=budget))
    return OpenService(Shelf(None, [model_of_folder(folder) for folder in folders]), ledger)


async def events_of(service: OpenService, request: Request) -> list[Event]:
    """All events, after they and the request went through bytes."""
    stream = service.stream(decode_request(encode_request(request)))
    return [decode_event(encode_event(event)) async for event in stream]


def painting(**values: Any) -> PaintRequest:
    sizes = {"width": 64, "height": 64, "num_steps": 2, "seed": 1}
    return PaintRequest(**{"id": "1", "model": "painter", "prompt": "a red cat", **sizes, **values})


REQUESTS: list[tuple[Request, type, type]] = [
    (painting(num_previews=1), PaintPreview, PaintResult),
    (ListenRequest(id="2", model="listener", audio=AudioPart(data=SOUND), seed=0), TextDelta, ListenResult),
    (SpeakRequest(id="3", model="voice", text="Hello there. How are you?"), SpeakChunk, SpeakResult),
    (
        DetectRequest(id="4", model="detector", image=ImagePart(data=tiny.make_photo()), threshold=0.0),
        Finished,
        DetectResult,
    ),
]


async def test_every_kind_through_bytes(folders: list[Path]) -> None:
    service = service_of(folders)
    for request, event_kind, result_kind in REQUESTS:
        events = await events_of(service, request)
        assert any(isinstance(event, event_kind) for event in events)
        last = events[-1]
        assert isinstance(last, Finished) and isinstance(last.result, result_kind)
        assert last.result.model == request.model
        assert sum(isinstance(event, Finished) for event in events) == 1
    assert {status.id for status in (await service.status()).models if status.is_loaded} == {
        "painter",
        "listener",
        "voice",
        "detector",
    }
    with pytest.raises(InputError, match="cannot paint, it can listen; use painter"):
        await service.run(painting(model="listener"))
    await service.close()


async def test_models_take_turns_where_memory_holds_one(folders: list[Path]) -> None:
    sizes = {
        model.id: model.weight_bytes(device="cpu", fp16=False, quantize="none")
        for model in map(model_of_folder, folders)
    }
    needed = 64 * MIB  # for the work of the largest
    service = service_of(folders, budget=max(sizes.values()) + needed)
    for _ in range(2):
        for request, _, result_kind in REQUESTS:
            assert isinstance(await service.run(request), result_kind)
    assert service.ledger.state().used_bytes <= max(sizes.values()) + needed
    await service.close()


async def test_a_picture_is_smaller_where_memory_is_short(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paint_plans, "_LEAST_SIDE", 16)
    whole = service_of(folders[:1])
    full = await whole.run(painting(width=None, height=None))
    assert isinstance(full, PaintResult) and (full.images[0].width, full.notices) == (64, ())
    await whole.close()
    weights = model_of_folder(folders[0]).weight_bytes(device="cpu", fp16=False, quantize="none")
    monkeypatch.setattr(paint_plans, "_DENOISER_TENSORS", 4800)  # 300 MB at 64 x 64
    short = service_of(folders[:1], budget=weights + 200 * MIB)
    events = await events_of(short, painting(width=None, height=None, num_previews=3))
    last = events[-1]
    assert isinstance(last, Finished) and isinstance(last.result, PaintResult)
    assert (last.result.images[0].width, last.result.images[0].height) == (48, 48)
    assert "48 x 48 pixels instead of 64 x 64" in last.result.notices[0]
    assert Notice(text=last.result.notices[0]) in events
    with pytest.raises(CapacityError, match="more than the"):  # a size that was asked for is not changed
        await short.run(painting())
    await short.close()


async def test_closing_a_stream_ends_the_work(folders: list[Path]) -> None:
    service = service_of(folders)
    stream = cast("AsyncGenerator[Event]", service.stream(painting(num_steps=500)))
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, Progress):
                assert event.total == 500
                break
    assert (await service.status()).num_running == 0
    assert isinstance(await service.run(painting()), PaintResult)
    await service.close()


async def test_the_models_process_carries_pictures_and_sound(folders: list[Path]) -> None:
    direct = service_of(folders)
    expected = await direct.run(painting(num_images=2))
    async with near(lambda: service_of(folders)) as pair:
        for request, event_kind, result_kind in REQUESTS:
            events = [event async for event in pair.service.stream(request)]
            assert any(isinstance(event, event_kind) for event in events)
            last = events[-1]
            assert isinstance(last, Finished) and isinstance(last.result, result_kind)
        result = await pair.service.run(painting(num_images=2))
        assert isinstance(result, PaintResult) and isinstance(expected, PaintResult)
        assert result.images == expected.images
        with pytest.raises(AudioFormatError, match="text file") as caught:
            text = AudioPart(data=b"This is a text.")
            await pair.service.run(ListenRequest(id="5", model="listener", audio=text))
        assert caught.value.param == "audio"
    await direct.close()
