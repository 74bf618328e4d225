"""Requests to paint, listen, speak and detect: errors name what is out of range, and a model that can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from localgpt.errors import InputError
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    AudioPart,
    DetectedObject,
    DetectRequest,
    ImagePart,
    ListenRequest,
    MediaRequest,
    PaintRequest,
    SpeakRequest,
)
from tests import tiny

PICTURE = ImagePart(data=b"picture")
AUDIO = AudioPart(data=b"sound")


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    local = LocalService(tiny.make_family(), max_batch_size=1)
    yield local
    await local.close()


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"negative_prompt": "x" * 5000}, "negative_prompt"),
        ({"width": 512}, "width"),
        ({"height": 512}, "width"),
        ({"width": 513, "height": 777}, "width"),
        ({"width": 512, "height": 777}, "height"),
        ({"width": 8, "height": 512}, "width"),
        ({"width": 512, "height": 8192}, "height"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 501}, "num_steps"),
        ({"guidance_scale": -0.1}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**53}, "seed"),
        ({"num_images": 0}, "num_images"),
        ({"num_images": 100}, "num_images"),
        ({"strength": 0.5}, "strength"),
        ({"image": PICTURE, "strength": 0.0}, "strength"),
        ({"image": PICTURE, "strength": 1.5}, "strength"),
        ({"mask": PICTURE}, "mask"),
        ({"num_previews": 4}, "num_previews"),
    ],
)
def test_what_cannot_be_painted(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        PaintRequest(**{"id": "1", "prompt": "a cat", **values})
    assert caught.value.param == param and "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda: ListenRequest(id="1", audio=AUDIO, language=" "), "language"),
        (lambda: ListenRequest(id="1", audio=AUDIO, prompt="x" * 10_001), "prompt"),
        (lambda: ListenRequest(id="1", audio=AUDIO, temperature=1.5), "temperature"),
        (lambda: ListenRequest(id="1", audio=AUDIO, seed=-1), "seed"),
        (lambda: SpeakRequest(id="1", text=" "), "text"),
        (lambda: SpeakRequest(id="1", text="x" * 50_001), "text"),
        (lambda: SpeakRequest(id="1", text="x", speed=0.0), "speed"),
        (lambda: SpeakRequest(id="1", text="x", speed=float("inf")), "speed"),
        (lambda: SpeakRequest(id="1", text="x", sample_rate=1), "sample_rate"),
        (lambda: DetectRequest(id="1", image=PICTURE, threshold=2.0), "threshold"),
        (lambda: DetectRequest(id="1", image=PICTURE, max_objects=0), "max_objects"),
        (lambda: DetectRequest(id="1", image=PICTURE, labels=()), "labels"),
        (lambda: DetectRequest(id="1", image=PICTURE, labels=("cat", "")), "labels"),
        (lambda: DetectedObject(label="a", score=1.0, box_xyxy=(0.0, 1.0)), "box_xyxy"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_asked(make: Callable[[], object], param: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.param == param and "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "pull"),
    [
        (PaintRequest(id="1", prompt="a cat"), "localgpt pull sd-turbo"),
        (ListenRequest(id="1", audio=AUDIO), "localgpt pull whisper-base"),
        (SpeakRequest(id="1", text="hello"), "localgpt pull mms-tts-eng"),
        (DetectRequest(id="1", image=PICTURE), "localgpt pull rtdetr-r50"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_embedded_family_names_a_model_that_can(
    local: LocalService, request_: MediaRequest, pull: str
) -> None:
    with pytest.raises(InputError, match=pull) as caught:
        await local.run(request_)
    assert caught.value.param == "model"
    with pytest.raises(InputError, match=pull):
        await anext(local.stream(request_))
