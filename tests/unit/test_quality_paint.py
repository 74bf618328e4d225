"""The painter's benchmark: real compositions are right, others are wrong, and the ratio has its interval."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks import quality_paint
from benchmarks.paint.seeing import Eye, crop_of, ground_mask, parts_of, stands
from benchmarks.paint.wanted import Wanted, wanted_colours, wanted_objects, wanted_relations, wanted_rows
from localgpt.media.image import encode_png
from localgpt.sampling.diffusion.places import read_places
from localgpt.tasks import PaintedImage, PaintRequest, PaintResult
from recipes.paint_data.composing import Thing, place_things
from recipes.scenes.icons import Icon
from recipes.scenes.stock import is_held_out_colour, is_held_out_relation
from recipes.scenes.vocabulary import icon_names
from recipes.vision_data.icons import NamedIcon
from recipes.vision_data.labels import LabelName
from tests import tiny

NOUNS = ("apple", "dog", "umbrella", "chair", "key", "bell")


def named_icon(noun: str, number: int) -> NamedIcon:
    """A square or a disc of a size of its own, in a colour that can be painted over."""
    name = next(one for one in icon_names() if one.en == noun)
    image = Image.new("RGB", (192, 192), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    box = (20, 20 + 11 * number, 172, 172 - 11 * number)
    (draw.rectangle if number % 2 else draw.ellipse)(box, fill=(60, 60, 220))
    picture = np.asarray(image)
    label = LabelName(name.en, name.zh, True, name.group)
    return NamedIcon(Icon.from_picture(name, picture), label, {"en": (), "zh": ()}, can_be_painted=True)


ICONS = [named_icon(noun, number) for number, noun in enumerate(NOUNS)]


class Knows:
    """A judge that tells the icons apart by their outlines."""

    config = SimpleNamespace(names=NOUNS, size=48)

    def __init__(self) -> None:
        self._outlines = torch.stack(
            [self._outline(place_things(random.Random(3), [Thing(i)], [])) for i in ICONS]
        )

    def _outline(self, picture: NDArray[np.uint8]) -> Tensor:
        crop = crop_of(picture, ground_mask(picture), self.config.size)
        return (torch.from_numpy(crop.copy()).float().amin(dim=2) < 200).float()

    def __call__(self, pixels: Tensor) -> Tensor:
        outlines = ((pixels.amin(dim=1) + 1) * 127.5 < 200).float()
        difference = (outlines[:, None] - self._outlines[None]).abs().mean(dim=(2, 3))
        return -100 * difference


@pytest.fixture(scope="module")
def eye() -> Eye:
    return Eye(Knows(), "cpu")  # type: ignore[arg-type]


def composed(one: Wanted, seed: int = 0) -> NDArray[np.uint8]:
    rng = random.Random(seed)
    return place_things(rng, list(one.things), list(one.relations))


def test_half_of_the_sets_is_new_and_prompts_tell_all(eye: Eye) -> None:
    colours = wanted_colours(ICONS, 12)
    assert [one.is_new for one in colours].count(True) == len(colours) / 2
    for one in colours:
        thing = one.things[0]
        assert thing.colour and is_held_out_colour(thing.noun, thing.colour) == one.is_new
        assert one.prompts["en"].endswith(thing.noun) and thing.named.name.zh in one.prompts["zh"]
    for one in wanted_relations(ICONS, 16):
        (a, b, relation), (first, second) = one.relations[0], one.things
        assert is_held_out_relation(first.noun, second.noun, relation) == one.is_new and (a, b) == (0, 1)
        assert len(read_places(one.prompts["en"])) == len(read_places(one.prompts["zh"])) == 2
    assert len(wanted_objects(ICONS)) == len(ICONS)
    assert all(len(read_places(one.prompts["en"])) == 3 for one in wanted_rows(ICONS, 5))


def test_real_compositions_are_right_and_others_are_not(eye: Eye) -> None:
    for wanted, least in ((wanted_objects(ICONS), 0.8), (wanted_relations(ICONS, 24), 0.7)):
        pictures = [composed(one, number) for number, one in enumerate(wanted)]
        right = [eye.look(picture, one).is_right for picture, one in zip(pictures, wanted, strict=True)]
        assert sum(right) >= least * len(right)
        blank = np.full((192, 192, 3), 255, dtype=np.uint8)
        assert not any(eye.look(blank, one).is_right for one in wanted)


def test_a_relation_the_other_way_round_is_wrong(eye: Eye) -> None:
    turned = {"left": "right", "right": "left", "above": "below", "below": "above"}
    for number, one in enumerate(wanted_relations(ICONS, 16)):
        (a, b, relation) = one.relations[0]
        other = Wanted(one.prompts, one.things, ((a, b, turned[relation]),))
        seen = eye.look(composed(other, number), one)
        assert not seen.has_places
    assert stands((0.2, 0.5), (0.8, 0.5), "left") and not stands((0.2, 0.5), (0.21, 0.5), "left")
    assert stands((0.2, 0.9), (0.8, 0.1), "below")


def test_the_right_colour_and_no_other(eye: Eye) -> None:
    thing = Thing(ICONS[1], "red")
    wanted = Wanted({}, (thing,))
    assert eye.look(composed(wanted), wanted).has_colours
    for colour in (None, "green", "orange"):
        other = Wanted({}, (Thing(ICONS[1], colour),))
        assert not eye.look(composed(other), wanted).has_colours


def test_things_that_touch_are_told_apart() -> None:
    mask = np.zeros((192, 192), dtype=bool)
    mask[60:130, 10:96] = True
    mask[40:150, 96:180] = True
    halves = [part for part in parts_of(mask) if not part[:, 100:].any() or not part[:, :90].any()]
    assert len(halves) >= 2
    assert parts_of(np.zeros((192, 192), dtype=bool))[0].sum() == 0


def test_the_ratio_and_its_interval() -> None:
    bound, free = [True] * 60 + [False] * 40, [True] * 30 + [False] * 70
    ratio, low, high = quality_paint.ratio_interval(bound, free)
    assert ratio == 2.0 and 1.4 < low < 2.0 < high < 3.2
    assert quality_paint.ratio_interval(free, free)[0] == 1.0


class Copies:
    """A painter that puts the real things where the prompt says, or a blank."""

    def __init__(self, sets: list[Wanted]) -> None:
        self._known = {prompt: one for one in sets for prompt in one.prompts.values()}

    def sizes(self, request: PaintRequest) -> tuple[Any, ...]:
        return (None,)

    def answer(self, request: PaintRequest, emit: Any, is_cancelled: Any, size: Any) -> PaintResult:
        one = self._known[request.prompt]
        fails = len(one.things) > 1 and not request.binds_words and int(request.id) % 2
        made = np.full((192, 192, 3), 255, dtype=np.uint8) if fails else composed(one, int(request.id))
        image = PaintedImage(data=encode_png(made), width=192, height=192, seed=1, stages=())
        return PaintResult(images=(image,), seconds=0.0, model="m", num_steps=1, guidance_scale=0.0)


def test_a_whole_run(eye: Eye, tmp_path: Path) -> None:
    sets = {"objects": wanted_objects(ICONS), "relations": wanted_relations(ICONS, 16)}
    painter = Copies([one for wanted in sets.values() for one in wanted])
    run = quality_paint.Measure(painter, eye, 4, 192, tmp_path)  # type: ignore[arg-type]
    quality_paint.measure_limits(run, sets)
    rights, _ = run.judge_set("objects", sets["objects"], "zh")
    assert quality_paint.share(rights) == run.figures["objects_zh"]["right"] > 0.7
    assert run.figures["objects_real"]["right"] > run.figures["objects_chance"]["right"]
    quality_paint.compare_binding(run, sets["relations"], lambda: [])
    told = run.figures["binding"]
    assert told["set"] == "relations" and told["bound"] > told["free"] and told["ratio"] > 1.2
    assert (tmp_path / "objects_zh_1.png").exists() and (tmp_path / "relations_bound_en_1.png").exists()


def test_the_seconds_to_the_first_stage() -> None:
    from localgpt.runtime.embedded_painter import EmbeddedPainter, PainterSettings
    from localgpt.runtime.embedded_painting import Skills
    from localgpt.runtime.open.base import OpenCheckpoint

    skills = Skills(
        painter=tiny.make_painter(),
        upsampler=tiny.make_upsampler(),
        tower=tiny.make_encoder().text,
        tokenizer=tiny.make_tokenizer(),
    )
    checkpoint = OpenCheckpoint(folder=Path(), id="local/tiny#painter", kind="paint")
    run = quality_paint.Measure(
        EmbeddedPainter(checkpoint, skills, PainterSettings()),
        eye=None,
        steps=4,
        side=64,
        sheets=None,  # type: ignore[arg-type]
    )
    quality_paint.measure_latency(run, repeats=1)
    assert 0 < run.figures["latency"]["first_stage_s"] < run.figures["latency"]["picture_512_s"]


def test_another_judge_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = argparse.Namespace(model=None, device="cpu", data=tmp_path, judge=tmp_path, workers=1, limit=1)
    monkeypatch.setattr(quality_paint, "resolve_family", lambda model: tmp_path)
    monkeypatch.setattr(quality_paint, "load_named", lambda data, workers: ICONS)
    judge = SimpleNamespace(config=SimpleNamespace(names=("cat",), size=32))
    monkeypatch.setattr(quality_paint, "load_judge", lambda folder, device: judge)
    with pytest.raises(SystemExit, match="knows other names"):
        quality_paint.measure(options)
