"""What may be painted, and the last touch of pictures: filter, format and label, whoever paints them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from localgpt.errors import ConfigError, FilteredError
from localgpt.media.image import encode_png
from localgpt.media.provenance.label import load_key, public_text, read_label
from localgpt.runtime.finishing import Finisher, PictureOptions
from localgpt.runtime.picture_filter import make_filter
from localgpt.tasks import (
    Event,
    Finished,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintResult,
    Progress,
    Request,
)

PNG = encode_png(np.full((64, 64, 3), (200, 40, 40), dtype=np.uint8))
WHERE = f"{__name__}:NoRed"


class NoRed:
    """An operator's filter that looks at pictures."""

    def refuse_prompt(self, prompt: str) -> str | None:
        return "no red" if "red" in prompt else None

    def refuse_picture(self, picture: bytes) -> str | None:
        red = np.asarray(Image.open(io.BytesIO(picture)))[..., 0].mean()
        return "too red" if red > 150 else None


class FakePainter:
    """Paints `PNG`; counts what it was asked."""

    def __init__(self) -> None:
        self.num_asked = 0

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        self.num_asked += 1
        yield Progress(done=1.0, total=1.0, unit="steps")
        yield PaintPreview(stage="sketch", index=0, data=PNG, width=64, height=64, num_steps=1)
        image = PaintedImage(data=PNG, width=64, height=64, seed=1, stages=())
        yield Finished(
            result=PaintResult(images=(image,), seconds=1.0, model="painter", num_steps=1, guidance_scale=0.0)
        )


async def painted(finisher: Finisher, painter: FakePainter | None = None, **values: Any) -> list[Event]:
    request = PaintRequest(**{"id": "1", "prompt": "a cat", **values})
    service: Any = painter or FakePainter()
    return [event async for event in finisher.finished(service, request)]


def pictures(events: list[Event]) -> tuple[PaintPreview, PaintedImage]:
    assert isinstance(events[0], Progress) and isinstance(events[1], PaintPreview)
    assert isinstance(events[2], Finished) and isinstance(events[2].result, PaintResult)
    return events[1], events[2].result.images[0]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_pictures_come_in_their_format_with_a_label(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    finisher = Finisher(PictureOptions(key_file=path, producer="Somebody"))
    quality = {} if kind == "png" else {"format_quality": 70}
    for picture in pictures(await painted(finisher, format=kind, **quality)):
        assert picture.media_type == f"image/{kind}"
        with Image.open(io.BytesIO(picture.data)) as image:
            assert (image.format, image.size) == (kind.upper(), (64, 64))
            assert np.abs(np.asarray(image).mean((0, 1)) - (200, 40, 40)).max() < 4
        label = read_label(picture.data, own_key=public_text(load_key(path)))
        assert label.state == "own" and label.aigc is not None
        assert label.aigc["ContentProducer"] == "Somebody"


async def test_quality_counts_and_the_operator_alone_takes_labels_off() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    finisher = Finisher(PictureOptions(has_labels=False))
    service: Any = FakePainter()
    sizes = []
    for quality in (10, 100):
        request = PaintRequest(id="1", prompt="a cat", format="jpeg", format_quality=quality)
        sizes.append(len(finisher._finish(encode_png(noise), request, "m")))
    assert sizes[0] < sizes[1] / 2
    assert pictures(await painted(finisher, service))[1].data == PNG


async def test_filters_see_prompts_and_pictures() -> None:
    painter = FakePainter()
    finisher = Finisher(PictureOptions(filter=WHERE))
    with pytest.raises(FilteredError, match=r"prompt does not pass .* no red") as caught:
        await painted(finisher, painter, prompt="a red cat")
    assert caught.value.param == "prompt" and painter.num_asked == 0
    with pytest.raises(FilteredError, match=r"picture does not pass .* too red"):
        await painted(finisher, painter)
    assert painter.num_asked == 1


@pytest.mark.parametrize(
    ("prompt", "passes"),
    [
        ("a cat on a chair", True),
        ("a child with a kite", True),
        ("a nude by Titian", True),
        ("an erotic picture of a CHILD", False),
        ("sexual, a little   girl", False),
        ("a kidney and a sextant", True),  # words, not their letters
        ("幼女 裸体", False),
        ("孩子和风筝", True),
        ("two naked toddlers", False),
        ("naked teenagers, babies", False),
        ("ｎａｋｅｄ child", False),
        ("na\u200bked child", False),
    ],
)
def test_the_words_that_are_refused(prompt: str, passes: bool) -> None:
    assert (make_filter("words").refuse_prompt(prompt) is None) is passes
    assert make_filter("off").refuse_prompt(prompt) is None


def test_words_of_the_operator(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# ours\n\nred dragon\n龙\n", encoding="utf-8")
    words = make_filter("words", path)
    assert words.refuse_prompt("A Red  Dragon flies") == "pictures of 'red dragon' are not painted here"
    assert words.refuse_prompt("一条龙") is not None and words.refuse_prompt("a red dragonfly") is None


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("some", None, "expected words, off or package.module:name"),
        ("no.such.module:name", None, "ModuleNotFoundError"),
        ("builtins:dict", None, "gives a dict without refuse_prompt"),
        ("off", "words.txt", "leave one of them out"),
        ("words", "words.txt", "cannot read picture_filter_words"),
    ],
)
def test_filters_that_cannot_be_used(name: str, words: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        make_filter(name, tmp_path / words if words else None)
