"""The family's painter through the service: seeds, stages, sizes, places, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localgpt.checkpoints import export_family
from localgpt.errors import CancelledRequestError, CheckpointError, InputError
from localgpt.runtime.embedded_painter import EmbeddedPainter
from localgpt.runtime.footprint import measure
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.members import MemberModel, load_member
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.switchboard import Switchboard
from localgpt.sampling.diffusion.reading import read_prompt
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatRequest,
    Event,
    Notice,
    PaintPreview,
    PaintRequest,
    PaintResult,
    Progress,
)
from tests import tiny_folder
from tests.pictures import pixels, png
from tests.tiny_painter import write_member

PICTURE = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
KEPT = np.zeros((96, 96), dtype=np.uint8)
KEPT[20:60, 30:70] = 255  # is painted over


@pytest.fixture(scope="module")
def folder(family_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a painter."""
    folder = tmp_path_factory.mktemp("painting") / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder)
    tiny_folder.write_description(folder, members=["decoder", "encoder", "painter"])
    return folder


@pytest.fixture(scope="module")
def painter(folder: Path) -> EmbeddedPainter:
    model = load_member(OpenCheckpoint(folder=folder, id="local/tiny#painter", kind="paint"))
    assert isinstance(model, EmbeddedPainter)
    return model


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Switchboard]:
    service = load_service(LoadOptions(model=str(folder), device="cpu", max_batch_size=1))
    yield service
    asyncio.run(service.close())


def asked(**values: Any) -> PaintRequest:
    return PaintRequest(**{"id": "1", "prompt": "a red cat", "num_steps": 4, "seed": 5, **values})


def paint(painter: EmbeddedPainter, *, size: int = 0, **values: Any) -> tuple[PaintResult, list[Event]]:
    request, events = asked(**values), list[Event]()
    result = painter.answer(request, events.append, lambda: False, painter.sizes(request)[size])
    assert isinstance(result, PaintResult)
    return result, events


@pytest.mark.parametrize("judge_weight", [0.0, 0.5])
def test_room_is_made_for_what_it_borrows_of_the_encoder(
    judge_weight: float, family_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder, binding={"judge_weight": judge_weight})
    tiny_folder.write_description(folder, members=["decoder", "encoder", "painter"])
    model = MemberModel(id="local/tiny#painter", folder=folder, member="painter")
    loaded = load_member(OpenCheckpoint(folder=folder, id=model.id, kind="paint"))
    takes = measure(*loaded.modules.values()).weight_bytes
    told = model.weight_bytes(device="cpu", fp16=False, quantize="none")
    assert takes <= told < 1.15 * takes  # scales of int8 matrices, large in a tiny model, are counted too


def test_a_request_is_read_once(painter: EmbeddedPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def watched(*args: Any) -> Any:
        read.append(args[-1])
        return read_prompt(*args)

    monkeypatch.setattr("localgpt.runtime.embedded_painter.read_prompt", watched)
    first, _ = paint(painter)
    assert read == ["a red cat"]
    again, _ = paint(painter)
    assert read == ["a red cat"] * 2
    assert first.images[0].data == again.images[0].data


async def test_it_paints_under_the_familys_name(service: Switchboard) -> None:
    status = await service.status()
    assert status.models[0].id == "local/tiny" and status.models[0].tasks[-1] == "paint"
    result = await service.run(asked(model=EMBEDDED_MODEL_ID))
    assert isinstance(result, PaintResult) and result.model == "local/tiny"
    assert pixels(result.images[0].data).shape == (128, 128, 3)
    events = [event async for event in service.stream(asked(model=EMBEDDED_MODEL_ID, num_previews=2))]
    shown = [event.stage for event in events if isinstance(event, PaintPreview)]
    assert shown == ["sketch", "middle"]


def test_a_picture_is_its_seed(painter: EmbeddedPainter) -> None:
    alone = pixels(paint(painter, seed=6)[0].images[0].data)
    batch = paint(painter, num_images=4)[0].images
    one_by_one = paint(painter, num_images=4, size=1)[0].images
    assert [image.seed for image in batch] == [5, 6, 7, 8]
    assert alone.std() > 1
    assert np.abs(pixels(batch[1].data) - alone).max() <= 1
    assert np.array_equal(pixels(one_by_one[1].data), alone)
    assert paint(painter, num_images=4)[0].images == batch
    assert not np.array_equal(pixels(batch[0].data), alone)
    assert paint(painter, seed=None)[0].images[0].seed != paint(painter, seed=None)[0].images[0].seed


@pytest.mark.parametrize(("num_steps", "steps"), [(4, (2, 3)), (12, (6, 9))])
def test_stages_come_in_order(painter: EmbeddedPainter, num_steps: int, steps: tuple[int, int]) -> None:
    result, events = paint(painter, num_steps=num_steps, num_previews=3, num_images=2)
    previews = [event for event in events if isinstance(event, PaintPreview)]
    assert [(event.stage, event.index) for event in previews] == [
        (stage, index) for stage in ("sketch", "middle", "final") for index in (0, 1)
    ]
    assert [event.width for event in previews[::2]] == [32, 64, 128]
    assert [event.data for event in previews[4:]] == [image.data for image in result.images]
    told = [(stage.name, stage.num_steps, stage.width) for stage in result.images[0].stages]
    assert told == [("sketch", steps[0], 32), ("middle", steps[1], 64), ("final", num_steps, 128)]
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done) and done[-1] == 2 * num_steps
    plain = paint(painter, num_steps=num_steps, num_images=2)[0]
    assert [image.data for image in plain.images] == [image.data for image in result.images]


@pytest.mark.parametrize("side", [64, 96, 256])
def test_explicit_sizes_are_honoured(painter: EmbeddedPainter, side: int) -> None:
    image = paint(painter, width=side, height=side)[0].images[0]
    assert (image.width, image.height) == (side, side) == pixels(image.data).shape[:2]


def test_less_memory_makes_smaller_pictures_and_says_so(painter: EmbeddedPainter) -> None:
    sizes = painter.sizes(asked(num_images=2))
    assert [size.shape for size in sizes] == ["128x128 x2", "128x128 x1", "64x64 x2", "64x64 x1"]
    assert sizes[0].nbytes > sizes[1].nbytes and not sizes[1].notice
    result, events = paint(painter, num_images=2, size=3)
    assert result.images[1].width == 64
    assert result.notices == ("Memory is short: 64 x 64 pixels instead of 128 x 128.",)
    assert [event.text for event in events if isinstance(event, Notice)] == list(result.notices)
    assert len(painter.sizes(asked(width=64, height=64))) == 1


def test_what_is_left_open_follows_from_what_is_asked(painter: EmbeddedPainter) -> None:
    assert paint(painter, num_steps=None)[0].num_steps == 8
    guided = paint(painter, num_steps=None, negative_prompt="a dog")[0]
    assert (guided.num_steps, guided.guidance_scale) == (24, 3.0)
    other = paint(painter, num_steps=24, guidance_scale=5.0)[0]
    plain = paint(painter, num_steps=24, guidance_scale=1.0)[0]
    data = [result.images[0].data for result in (guided, other, plain)]
    assert len(set(data)) == 3


def test_places_are_bound_where_the_prompt_tells_them(painter: EmbeddedPainter) -> None:
    prompt = "a cat left of a dog"
    bound = paint(painter, prompt=prompt, wants_heat_maps=True)[0]
    free = paint(painter, prompt=prompt, binds_words=False, wants_heat_maps=True)[0]
    assert bound.binds_words and bound.binding_seconds > 0
    assert not free.binds_words and free.binding_seconds == 0
    assert bound.images[0].data != free.images[0].data
    maps = {one.word: pixels(one.data) for one in bound.images[0].heat_maps}
    assert list(maps) == ["a", "cat", "left", "of", "dog"]
    assert all(found.shape == (8, 8) and found.max() == 255 for found in maps.values())
    shares = []
    for result in (bound, free):
        cat = pixels(result.images[0].heat_maps[1].data)
        shares.append(cat[:, :4].sum() / cat.sum())
    assert shares[0] > shares[1]
    nowhere = paint(painter, binds_words=True)[0]
    assert not nowhere.binds_words and "does not say where" in nowhere.notices[0]
    assert paint(painter)[0].images[0].heat_maps == ()


def test_watching_changes_nothing(painter: EmbeddedPainter) -> None:
    watched = paint(painter, wants_heat_maps=True)[0].images[0]
    plain = paint(painter)[0].images[0]
    assert np.abs(pixels(watched.data) - pixels(plain.data)).max() <= 1
    assert [one.word for one in watched.heat_maps] == ["a", "red", "cat"]


def test_from_a_picture_and_into_a_mask(painter: EmbeddedPainter) -> None:
    faint = pixels(paint(painter, image=png(PICTURE), strength=0.05)[0].images[0].data)
    strong = pixels(paint(painter, image=png(PICTURE), strength=0.9)[0].images[0].data)
    assert faint.shape == PICTURE.shape
    difference = [np.abs(one - PICTURE).mean() for one in (faint, strong)]
    assert difference[0] < difference[1]
    masked = pixels(paint(painter, image=png(PICTURE), mask=png(KEPT))[0].images[0].data)
    assert np.array_equal(masked[KEPT == 0], PICTURE[KEPT == 0])
    assert not np.array_equal(masked[KEPT > 0], PICTURE[KEPT > 0])


def test_cancelling_stops_between_steps(painter: EmbeddedPainter) -> None:
    request, events = asked(num_steps=8), list[Event]()

    def is_cancelled() -> bool:
        return any(isinstance(event, Progress) and event.done >= 2 for event in events)

    with pytest.raises(CancelledRequestError):
        painter.answer(request, events.append, is_cancelled, painter.sizes(request)[0])
    assert max(event.done for event in events if isinstance(event, Progress)) == 2
    assert paint(painter)[0].images


def test_words_beyond_what_is_read_are_told(painter: EmbeddedPainter) -> None:
    notices = paint(painter, prompt="a cat and a dog and " * 12)[0].notices
    assert len(notices) == 1 and "longer than the model reads (16)" in notices[0]


@pytest.mark.parametrize(
    ("values", "param", "words"),
    [
        ({"width": 128, "height": 64}, "width", "two equal sides"),
        ({"width": 2048, "height": 2048}, "width", "64 to 1024"),
        ({"image": png(PICTURE[:64])}, "image", "expected a square picture"),
        ({"image": png(PICTURE), "mask": png(KEPT[:32])}, "mask", "expected 96 x 96"),
        ({"image": png(PICTURE), "mask": png(np.zeros_like(KEPT))}, "mask", "keeps everything"),
        ({"negative_prompt": "a dog"}, "negative_prompt", "num_steps above 8"),
        ({"guidance_scale": 2.0}, "guidance_scale", "num_steps above 8"),
        (
            {"num_steps": 20, "guidance_scale": 1.0, "negative_prompt": "a dog"},
            "negative_prompt",
            "expected above 1",
        ),
    ],
)
def test_what_it_does_not_paint(
    painter: EmbeddedPainter, values: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        painter.sizes(asked(**values))
    assert caught.value.param == param


def test_it_only_paints(painter: EmbeddedPainter) -> None:
    with pytest.raises(InputError, match="expected a request to paint"):
        painter.sizes(ChatRequest(id="1", messages=()))
    assert painter.status().num_params > 10_000 and painter.dtype == "float32"
    assert set(painter.modules) == {"painter", "upsampler", "text_tower", "encoder"}


def test_it_is_in_an_exported_file_too(folder: Path, painter: EmbeddedPainter, tmp_path: Path) -> None:
    export_family(folder, tmp_path / "tiny.safetensors")
    checkpoint = OpenCheckpoint(folder=tmp_path / "tiny.safetensors", id="local/tiny#painter", kind="paint")
    other = load_member(checkpoint)
    assert isinstance(other, EmbeddedPainter)
    assert paint(other)[0].images == paint(painter)[0].images


def test_another_text_tower_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "tiny")
    file = tmp_path / "tiny" / "painter" / "config.json"
    for change, words in (
        ({"text_tower": "0" * 64}, "another encoder's text tower"),
        ({"painter": {"n_layer": 3}}, "does not fit its config"),
    ):
        told = json.loads((folder / "painter" / "config.json").read_text(encoding="utf-8"))
        file.write_text(json.dumps(told | change), encoding="utf-8")
        with pytest.raises(CheckpointError, match=words):
            load_member(OpenCheckpoint(folder=tmp_path / "tiny", id="local/tiny#painter", kind="paint"))
