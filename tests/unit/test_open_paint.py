"""Open painters: every class paints from a text, a picture and into a mask, alone or several at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localgpt.errors import (
    CancelledRequestError,
    CheckpointError,
    ConfigError,
    ImageFormatError,
    InputError,
    MissingWeightsError,
    UnsafeCheckpointError,
)
from localgpt.runtime.open import paint as paint_module
from localgpt.runtime.open import paint_batch, paint_plans, paint_stages
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.paint import Painter
from localgpt.runtime.open.paint_pipelines import load_painter
from localgpt.runtime.open.paint_plans import Shape, plans_for, size_of
from localgpt.tasks import (
    ChatRequest,
    Event,
    ImagePart,
    PaintPreview,
    PaintRequest,
    PaintResult,
    Progress,
)
from tests.pictures import pixels, png
from tests.tiny_media import PAINTERS, write_painter

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
GetPainter = Callable[[str], Painter]
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
KEPT = np.zeros((64, 64), dtype=np.uint8)
KEPT[16:40, 8:50] = 255  # is painted over


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("painters")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else write_painter(name, root / name)

    return folder


@pytest.fixture(scope="module")
def painter(folders: Callable[[str], Path]) -> GetPainter:
    loaded: dict[str, Painter] = {}

    def get(name: str) -> Painter:
        if name not in loaded:
            folder = folders(name)
            checkpoint = OpenCheckpoint(folder=folder, id=f"maker/{name}", kind=kind_of(folder))
            model = load_open(checkpoint)
            assert isinstance(model, Painter)
            loaded[name] = model
        return loaded[name]

    return get


def asked(**values: Any) -> PaintRequest:
    sizes = {} if "image" in values else {"width": 64, "height": 64}
    return PaintRequest(**{"id": "1", "prompt": "a red cat", "num_steps": 3, "seed": 5, **sizes, **values})


def paint(painter: Painter, *, size: int = 0, **values: Any) -> tuple[PaintResult, list[Event]]:
    request, events = asked(**values), list[Event]()
    result = painter.answer(request, events.append, lambda: False, painter.sizes(request)[size])
    assert isinstance(result, PaintResult)
    return result, events


@pytest.mark.parametrize("name", PAINTERS)
def test_a_picture_is_its_seed(painter: GetPainter, name: str) -> None:
    alone = pixels(paint(painter(name), seed=6)[0].images[0].data)
    batch = paint(painter(name), num_images=2)[0].images
    again = paint(painter(name), num_images=2, size=1)[0].images  # one after the other
    assert [image.seed for image in batch] == [5, 6]
    assert alone.shape == (64, 64, 3) and alone.std() > 1
    assert np.abs(pixels(batch[1].data) - alone).max() <= 1
    assert np.array_equal(pixels(again[1].data), alone)
    assert not np.array_equal(pixels(batch[0].data), alone)


@pytest.mark.parametrize("name", PAINTERS)
def test_stages_come_in_order(painter: GetPainter, name: str) -> None:
    result, events = paint(painter(name), num_steps=4, num_previews=3, num_images=2)
    previews = [event for event in events if isinstance(event, PaintPreview)]
    assert [(event.stage, event.index) for event in previews] == [
        (stage, index) for stage in ("sketch", "middle", "final") for index in (0, 1)
    ]
    assert [event.data for event in previews[4:]] == [image.data for image in result.images]
    assert [stage.name for stage in result.images[1].stages] == ["sketch", "middle", "final"]
    done = [event for event in events if isinstance(event, Progress)]
    assert done[-1].done == done[-1].total and [event.done for event in done] == sorted(
        event.done for event in done
    )
    assert paint(painter(name), num_steps=4, num_images=2)[0].images[0].data == result.images[0].data


@pytest.mark.parametrize("name", PAINTERS)
def test_from_a_picture_and_into_a_mask(painter: GetPainter, name: str) -> None:
    whole = paint(painter(name), image=png(PICTURE))[0].images[0]
    masked = paint(painter(name), image=png(PICTURE), mask=png(KEPT))[0].images[0]
    assert (whole.width, whole.height) == (64, 64)
    assert not np.array_equal(pixels(whole.data), pixels(paint(painter(name))[0].images[0].data))
    difference = np.abs(pixels(masked.data) - PICTURE).max(axis=2)
    assert difference[KEPT == 0].max() == 0
    assert difference[KEPT > 0].mean() > 10


def test_pictures_of_a_request_are_decoded_once(painter: GetPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[PaintRequest] = []
    reads = paint_module.read_inputs
    monkeypatch.setattr(paint_module, "read_inputs", lambda asked: read.append(asked) or reads(asked))
    paint(painter("sd15"), image=png(PICTURE), num_steps=2)
    paint(painter("sd15"), image=png(PICTURE), num_steps=2)
    assert len(read) == 2 and read[0] is not read[1]


@pytest.mark.parametrize("name", PAINTERS)
def test_stages_of_growing_size(painter: GetPainter, name: str) -> None:
    values: dict[str, Any] = {"is_progressive": True, "num_steps": 6, "width": 64, "height": 128}
    result, events = paint(painter(name), num_previews=3, num_images=2, **values)
    previews = [event for event in events if isinstance(event, PaintPreview)]
    assert [(event.stage, event.index, event.width, event.height) for event in previews] == [
        (stage, index, *size)
        for stage, size in (("sketch", (32, 64)), ("middle", (48, 96)), ("final", (64, 128)))
        for index in (0, 1)
    ]
    assert [event.data for event in previews[4:]] == [image.data for image in result.images]
    steps = [stage.num_steps for stage in result.images[0].stages]
    assert steps == sorted(set(steps)) and len(steps) == 3
    done = [event for event in events if isinstance(event, Progress)]
    assert done[-1].done == done[-1].total and [one.done for one in done] == sorted(one.done for one in done)
    alone = pixels(paint(painter(name), seed=6, **values)[0].images[0].data)  # nor do previews change it
    assert np.abs(pixels(result.images[1].data) - alone).max() <= 1
    at_once = paint(painter(name), **{**values, "is_progressive": False})[0].images[0]
    assert at_once.data != result.images[0].data


def test_pictures_larger_than_the_models_own_are_painted_in_stages(painter: GetPainter) -> None:
    for width, is_progressive in ((64, False), (96, True)):
        values: dict[str, Any] = {"width": width, "height": 64, "num_steps": 4}
        by_itself = paint(painter("turbo"), **values)[0].images[0].data
        assert by_itself == paint(painter("turbo"), is_progressive=is_progressive, **values)[0].images[0].data
    with pytest.raises(InputError, match="no picture to begin from") as caught:
        asked(image=png(PICTURE), is_progressive=True)
    assert caught.value.param == "is_progressive"


def test_less_strength_keeps_more(painter: GetPainter) -> None:
    def influence(strength: float) -> float:
        """How much it matters which picture was begun from."""
        values = {"strength": strength, "num_steps": 10}
        one, other = (
            pixels(paint(painter("turbo"), image=png(picture), **values)[0].images[0].data)
            for picture in (PICTURE, 255 - PICTURE)
        )
        return float(np.abs(one - other).mean())

    assert influence(0.1) > influence(0.5) > influence(1.0)


@pytest.mark.parametrize("name", PAINTERS)
def test_a_preview_is_what_is_expected_at_the_end(painter: GetPainter, name: str) -> None:
    result, events = paint(painter(name), num_steps=8, num_previews=2)
    sketch, middle = (event for event in events if isinstance(event, PaintPreview))
    end = pixels(result.images[0].data)
    early, late = (np.abs(pixels(event.data) - end).mean() for event in (sketch, middle))
    assert late < early < 30 and 2 <= sketch.num_steps < middle.num_steps


def test_previews_are_small(painter: GetPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paint_stages, "_STAGE_SIDES", {"sketch": 32, "middle": 64})
    _, events = paint(painter("flux"), width=128, num_previews=2)
    sketch, middle = (event for event in events if isinstance(event, PaintPreview))
    assert (sketch.width, sketch.height, middle.width, middle.height) == (32, 16, 64, 32)
    assert pixels(sketch.data).shape == (16, 32, 3)


def test_sizes_of_stages() -> None:
    assert paint_stages.shown_size("sketch", 1024, 768) == (256, 192)
    assert paint_stages.shown_size("middle", 1024, 768) == (512, 384)
    assert paint_stages.shown_size("middle", 256, 256) == (256, 256)
    assert [paint_stages.stage_steps(num) for num in (1, 4, 30)] == [
        {"sketch": 1, "middle": 1},
        {"sketch": 1, "middle": 2},
        {"sketch": 8, "middle": 18},
    ]


def test_words_and_guidance_matter(painter: GetPainter) -> None:
    plain = paint(painter("sd15"))[0]
    assert (plain.num_steps, plain.guidance_scale, plain.model) == (3, 7.5, "maker/sd15")
    others: list[dict[str, Any]] = [
        {"prompt": "a blue dog"},
        {"negative_prompt": "a hat"},
        {"guidance_scale": 3.0},
        {"num_steps": 4},
    ]
    pictures = {paint(painter("sd15"), **other)[0].images[0].data for other in others}
    assert len({plain.images[0].data, *pictures}) == 5


def test_few_step_models_keep_their_defaults(painter: GetPainter) -> None:
    result = paint(painter("turbo"), num_steps=None)[0]
    assert (result.num_steps, result.guidance_scale) == (4, 0.0)
    with pytest.raises(InputError, match="raise guidance_scale above 1") as caught:
        painter("turbo").sizes(asked(negative_prompt="a hat"))
    assert caught.value.param == "negative_prompt"
    assert paint(painter("turbo"), negative_prompt="a hat", guidance_scale=2.0)[0].images
    with pytest.raises(InputError, match="cannot avoid"):
        painter("flux").sizes(asked(negative_prompt="a hat"))


def test_cancelling_stops_between_steps_and_leaves_the_painter_whole(painter: GetPainter) -> None:
    before = paint(painter("sd15"))[0].images[0].data
    events = list[Event]()
    request = asked(num_steps=50)
    with pytest.raises(CancelledRequestError):
        painter("sd15").answer(
            request, events.append, lambda: len(events) > 2, painter("sd15").sizes(request)[0]
        )
    assert len(events) == 3
    assert paint(painter("sd15"))[0].images[0].data == before


def test_a_fresh_seed_is_told(painter: GetPainter) -> None:
    first, second = (paint(painter("turbo"), seed=None)[0].images[0] for _ in range(2))
    assert first.seed != second.seed
    assert paint(painter("turbo"), seed=first.seed)[0].images[0].data == first.data


def test_words_beyond_what_is_read_are_told(painter: GetPainter) -> None:
    result = paint(painter("sd15"), prompt="a red cat " * 20)[0]
    assert "the model reads the first 77 of them" in result.notices[0]


@pytest.mark.parametrize(
    ("values", "param", "words"),
    [
        ({"image": png(PICTURE), "mask": png(KEPT[:32])}, "mask", "expected 64 x 64"),
        ({"image": png(PICTURE), "mask": png(np.zeros_like(KEPT))}, "mask", "keeps everything"),
        ({"image": png(PICTURE), "mask": ImagePart(data=b"text")}, "mask", "text file"),
        ({"image": ImagePart(data=b"")}, "image", "empty file"),
        ({"image": png(PICTURE), "strength": 0.1}, "strength", "leaves none"),
        ({"binds_words": True}, "binds_words", "cannot do that"),
        ({"wants_heat_maps": True}, "wants_heat_maps", "cannot do that"),
    ],
)
def test_what_cannot_be_painted_here(
    painter: GetPainter, values: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        painter("sd15").sizes(asked(**values))
    assert caught.value.param == param
    assert isinstance(caught.value, ImageFormatError) == ("file" in words)


def test_a_painter_only_paints(painter: GetPainter) -> None:
    with pytest.raises(InputError, match="paints") as caught:
        painter("sd15").sizes(ChatRequest(id="1", messages=()))
    assert caught.value.param == "model"
    status = painter("sd15").status()
    assert status.tasks == ("paint",) and status.num_params > 10_000
    assert set(painter("sd15").modules) == {"vae", "text_encoder", "unet"}


SHAPE = Shape(
    native_side=1024,
    side_step=16,
    latent_scale=8,
    denoiser_width=320,
    autoencoder_width=128,
    nbytes=2,
    autoencoder_nbytes=2,
)


def test_sizes_follow_memory() -> None:
    open_size = PaintRequest(id="1", prompt="a cat", num_images=2)
    plans = plans_for(open_size, SHAPE, None)
    assert [plan.shape for plan in plans] == [
        "1024x1024 x2",
        "1024x1024 x2 tiled",
        "1024x1024 x1 tiled",
        "768x768 x1 tiled",
        "512x512 x1 tiled",
    ]
    sizes = [size_of(plan, SHAPE, num_at_once=2) for plan in plans]
    assert [size.nbytes for size in sizes] == sorted((size.nbytes for size in sizes), reverse=True)
    assert [bool(size.notice) for size in sizes] == [False, False, False, True, True]
    assert "768 x 768 pixels instead of 1024 x 1024" in sizes[3].notice


def test_tiles_make_the_same_picture(painter: GetPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (paint_plans, paint_batch):
        monkeypatch.setattr(module, "TILE_SIDE", 64)
    vae = painter("sdxl").modules["vae"]
    read: list[tuple[int, ...]] = []
    hook = vae.decoder.register_forward_hook(lambda module, args, out: read.append(tuple(args[0].shape[2:])))
    values = {"width": 128, "height": 128, "num_steps": 1, "is_progressive": False}
    whole, tiled = (pixels(paint(painter("sdxl"), size=size, **values)[0].images[0].data) for size in (0, 1))
    hook.remove()
    assert read[0] == (64, 64) and len(read) > 4 and max(max(shape) for shape in read[1:]) == 32
    other = pixels(paint(painter("sdxl"), seed=9, **values)[0].images[0].data)  # and whole again
    assert np.abs(whole - tiled).mean() < 0.4 * np.abs(whole - other).mean()
    assert not vae.use_tiling


def test_a_size_that_was_asked_for_stays() -> None:
    asked_size = PaintRequest(id="1", prompt="a cat", width=768, height=1024)
    assert {(plan.width, plan.height) for plan in plans_for(asked_size, SHAPE, None)} == {(768, 1024)}
    odd = PaintRequest(id="1", prompt="a cat", width=1000, height=1024)
    with pytest.raises(InputError, match="multiples of 16, such as 992") as caught:
        plans_for(odd, SHAPE, None)
    assert caught.value.param == "width"


def test_a_picture_gives_its_size() -> None:
    request = PaintRequest(id="1", prompt="a cat", image=png(PICTURE))
    plan = plans_for(request, SHAPE, (803, 600))[0]
    assert (plan.width, plan.height) == (800, 608) and "803 x 600" in plan.notice
    large = plans_for(request, SHAPE, (4000, 3000))[0]
    assert (large.width, large.height) == (1184, 880)
    assert not plans_for(request, SHAPE, (800, 608))[0].notice


def edited(folder: Path, target: Path, **values: Any) -> Path:
    """A copy of a folder with other values in its model_index.json."""
    shutil.copytree(folder, target)
    path = target / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return target


def load(folder: Path, **values: Any) -> None:
    load_painter(OpenCheckpoint(**{"folder": folder, "id": "maker/it", "kind": "paint", **values}))


def test_a_variant_and_a_checker_are_no_trouble(
    folders: Callable[[str], Path], tmp_path: Path, painter: GetPainter
) -> None:
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    folder = edited(folders("sd15"), tmp_path / "variant", requires_safety_checker=True, **checker)
    for path in [*folder.glob("unet/*.safetensors"), *folder.glob("text_encoder/*.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    model = load_open(OpenCheckpoint(folder=folder, id="maker/sd15", kind="paint"))
    assert isinstance(model, Painter)
    assert paint(model)[0].images[0].data == paint(painter("sd15"))[0].images[0].data


def test_folders_that_are_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    foreign = edited(folders("sd15"), tmp_path / "foreign", unet=["os", "system"])
    with pytest.raises(UnsafeCheckpointError, match="system of os"):
        load(foreign)
    code = edited(folders("sd15"), tmp_path / "code")
    (code / "unet" / "mine.py").write_text("raise SystemExit")
    with pytest.raises(UnsafeCheckpointError, match="Python"):
        load(code)
    other = edited(folders("sd15"), tmp_path / "other", _class_name="VideoPipeline")
    with pytest.raises(CheckpointError, match="VideoPipeline, which is not run here"):
        load(other)
    partly = edited(folders("sd15"), tmp_path / "partly")
    shutil.rmtree(partly / "vae")
    with pytest.raises(MissingWeightsError, match="no folder vae"):
        load(partly)
    (other / "model_index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        load(other)
    cut = edited(folders("sd15"), tmp_path / "cut")
    path = cut / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cut"):
        load(cut)
    with pytest.raises(ConfigError, match="int8"):
        load(folders("sd15"), quantize="int8")
