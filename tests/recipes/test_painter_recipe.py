"""The painter's data and recipes on a few made icons: exact prompts, learning, resuming."""

from __future__ import annotations

import io
import json
import lzma
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.optim import Optimizer

from localgpt.models.painter import Painter
from localgpt.runtime.members import load_member
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.sampling.diffusion.places import read_places
from localgpt.tasks import PaintRequest, PaintResult
from localgpt.training.optimizer import OptimizerOptions, build_optimizers, step_all
from recipes.common import RunOptions
from recipes.icon_judge import IconBank, accuracy
from recipes.judge_model import load_judge
from recipes.paint_data.composing import KINDS, allowed_colours, compose
from recipes.paint_data.prepare import PaintDataOptions, load_named, prepare_shards
from recipes.paint_data.prompts import name_prompt, photo_prompts, prompts_of
from recipes.paint_data.shards import Shards
from recipes.painter import PainterRun, PainterStep
from recipes.painting import load_tower
from recipes.registry import run_recipe
from recipes.resuming import load_run, save_run
from recipes.scenes.stock import Stock, is_held_out_colour, is_held_out_relation
from recipes.scenes.vocabulary import COLOUR_ZH
from recipes.upsampler import sharpness
from recipes.vision_data.icons import NamedIcon
from tests import tiny, tiny_folder

ROOT = Path(__file__).resolve().parents[2]
ICONS = {"red apple": "红苹果", "dog": "狗", "umbrella": "雨伞", "chair": "椅子", "virgo": "处女座"}


def picture(number: int) -> bytes:
    image = Image.new("RGB", (192, 192), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    box = (30 + 5 * number, 30, 160, 150 - 10 * number)
    colour = ((200, 40, 40), (150, 90, 40), (120, 60, 180), (90, 140, 60), (60, 60, 200))[number]
    (draw.ellipse if number % 2 else draw.rectangle)(box, fill=colour)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def write_pack(folder: Path, name: str, rows: list[dict[str, object]], blobs: list[bytes]) -> None:
    place = 0
    for row, blob in zip(rows, blobs, strict=True):
        row |= {"offset": place, "bytes": len(blob), "split": row.get("split", "train")}
        place += len(blob)
    (folder / f"{name}.bin").write_bytes(b"".join(blobs))
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    blobs = [picture(number) for number in range(len(ICONS))]
    rows = [{"file": f"{en}.png", "name": en, "name_zh": zh} for en, zh in ICONS.items()]
    write_pack(folder, "fluent_emoji_3d", rows, blobs)
    for name in ("coco_unlabelled", "flickr8k"):
        told = {"en": ["A dog runs ."], "zh": ["一只狗在跑。"]}
        splits = ("val", "train", "train")
        write_pack(folder, name, [{"file": name, "split": split, **told} for split in splits], blobs[:3])
    return folder


@pytest.fixture(scope="module")
def named(raw: Path) -> list[NamedIcon]:
    return load_named(raw)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder.write_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def shards(raw: Path, family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    manifest = prepare_shards(
        PaintDataOptions(
            data=raw,
            out=out,
            tokenizer=family / "tokenizer.json",
            pictures=20,
            held_out=6,
            per_shard=8,
            photographs=("flickr8k",),
        )
    )
    assert manifest["train"] == 20 and manifest["val"] == 6
    return out


def test_prompts_tell_what_is_there_and_where(named: list[NamedIcon]) -> None:
    stock = Stock([one.icon for one in named])
    told = set()
    for number in range(150):
        rng = random.Random(number)
        made = compose(rng, named, stock)
        assert made.pixels.shape == (192, 192, 3)
        for language in ("en", "zh"):
            for prompt in prompts_of(made, language, rng):
                for thing in made.things:
                    if thing.colour:
                        words = {"gray": "gr[ae]y"}.get(thing.colour, thing.colour)
                        assert re.search(COLOUR_ZH[thing.colour] if language == "zh" else words, prompt)
                assert ("background" in prompt or "背景" in prompt) or not made.behind
                _check_places(made, prompt, language)
        told.add(made.kind)
        if not made.behind:
            assert np.percentile(made.pixels, 90) == 255
    assert told == set(KINDS)


def _check_places(made, prompt: str, language: str) -> None:  # type: ignore[no-untyped-def]
    """What is read of the prompt's places is where the things are."""
    placed = read_places(prompt)
    if made.kind not in ("two", "row") and not (made.kind == "corner" and language == "en"):
        assert not placed
        return
    assert len(placed) == len(made.things)
    for one in placed:
        words = prompt[one.start : one.end]
        thing = next(t for t in made.things if (t.named.name.zh if language == "zh" else t.noun) in words)
        x, y = (thing.box[0] + thing.box[2]) / 384, (thing.box[1] + thing.box[3]) / 384
        assert one.box[0] - 0.24 <= x <= one.box[2] + 0.24 and one.box[1] - 0.24 <= y <= one.box[3] + 0.24


def test_training_leaves_out_what_is_held_out(named: list[NamedIcon]) -> None:
    stock, held_out = Stock([one.icon for one in named]), 0
    for split in ("train", "val"):
        for number in range(120):
            made = compose(random.Random(number), named, stock, split=split, kind="two")
            first, second = made.things
            broken = is_held_out_relation(first.noun, second.noun, made.relation)
            broken |= any(
                thing.colour and is_held_out_colour(thing.noun, thing.colour) for thing in made.things
            )
            held_out += broken and split == "val"
            assert not (broken and split == "train")
    assert held_out > 0
    assert allowed_colours(next(one for one in named if one.name.en == "virgo")) == []


def test_the_plainest_prompt_and_that_of_a_photograph(named: list[NamedIcon]) -> None:
    made = compose(random.Random(1), named, Stock([one.icon for one in named]), kind="one")
    assert name_prompt(made.things[0], "en").split()[-1] in made.things[0].noun
    assert photo_prompts(["A dog runs ."], "en", random.Random(0), number=1) == ["a photo of a dog runs"]
    assert photo_prompts(["一只狗。"], "zh", random.Random(0), number=1) == ["照片：一只狗"]


def test_shards_repeat_and_can_be_read_while_more_come(
    raw: Path, family: Path, shards: Path, tmp_path: Path
) -> None:
    reader = Shards(shards, "train", "cpu", capacity=20)
    assert reader.refresh(most=1) == 1 and reader.num == 8
    assert reader.refresh() == 2 and reader.num == 20 and reader.refresh() == 0
    pictures, ids, lengths = reader.draw(5, torch.Generator().manual_seed(0))
    assert pictures.shape == (5, 192, 192, 3) and pictures.dtype == torch.uint8
    assert ids.shape == (5, 48) and bool((ids.gather(1, lengths[:, None] - 1) > 0).all())
    small = Shards(shards, "train", "cpu", capacity=10)
    small.refresh()
    assert small.num == 10
    options = PaintDataOptions(
        data=raw, out=tmp_path, tokenizer=family / "tokenizer.json", pictures=20, held_out=0, per_shard=8,
        photographs=("flickr8k",), workers=2,
    )  # fmt: skip
    prepare_shards(options)
    for number in range(3):
        name = f"train-{number:05}.safetensors"
        assert (tmp_path / name).read_bytes() == (shards / name).read_bytes()


def test_painter_learns(shards: Path, family: Path, tmp_path: Path) -> None:
    options = RunOptions(data=shards, out=tmp_path, steps=10, size="tiny", init=family, device="cpu", seed=3)
    run_recipe("painter", options)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["whole"] for line in lines if "whole" in line]
    assert losses[-1] < losses[0]
    assert (tmp_path / "sheet_000010.png").exists()
    told = json.loads((tmp_path / "painter.json").read_text(encoding="utf-8"))
    assert told["painter"]["n_feature"] == 2 * tiny.ENCODER.n_text_embd and len(told["text_tower"]) == 64


def test_who_teaches_leaps_reads_with_its_own_weights(shards: Path, family: Path, tmp_path: Path) -> None:
    options = RunOptions(data=shards, out=tmp_path, steps=1, size="tiny", init=family, device="cpu", seed=3)
    tower, _ = load_tower(family, "cpu")
    run = PainterRun.of_size("tiny")
    run = replace(run, config=replace(run.config, n_feature=2 * tiny.ENCODER.n_text_embd))

    def heard(change: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        step, told = PainterStep(options, run, tower), []
        step.shards.refresh()
        step.painter.reader.rest.data.add_(change)
        step.average.register_forward_pre_hook(lambda _, inputs: told.append(inputs[3].clone()))
        step.leap_loss(is_sketch=True)
        return told

    for one, other in zip(heard(0.0), heard(1.0), strict=True):
        assert torch.equal(one, other)


def test_a_painter_without_pictures_ends_with_its_time(family: Path, tmp_path: Path) -> None:
    options = RunOptions(data=tmp_path, out=tmp_path, until=1.0, size="tiny", init=family, device="cpu")
    with pytest.raises(SystemExit, match="holds 0 pictures, and the time is over; expected 1 or more"):
        run_recipe("painter", options)


def test_processes_that_render_end_with_the_one_that_started_them() -> None:
    code = """
import os, signal, time
from recipes.paint_data.prepare import _pool
pool = _pool(1)
print(pool.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    # Its output ends once nobody holds it any more, the worker included.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=120, text=True, check=False
    )
    assert done.returncode == -signal.SIGTERM and int(done.stdout) > 0


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    def made(seed: int) -> tuple[Painter, list[Optimizer]]:
        painter = tiny.make_painter(seed).requires_grad_(True)
        return painter, build_optimizers(painter, OptimizerOptions())

    def learn(painter: Painter, optimizers: list[Optimizer]) -> None:
        words = painter.read(torch.ones(1, 2, painter.config.n_feature), torch.ones(1, 2) > 0)
        level = torch.full((1,), 0.5)
        painter(torch.ones(1, 3, 32, 32), level, level * 0, *words).square().mean().backward()
        step_all(optimizers, painter.parameters())

    painter, optimizers = made(1)
    learn(painter, optimizers)
    save_run(tmp_path / "latest", {"painter": painter}, optimizers, step=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["latest.safetensors"]  # no two files to disagree
    other, others = made(2)
    assert load_run(tmp_path / "nothing", {"painter": other}, others) == {}
    assert load_run(tmp_path / "latest", {"painter": other}, others) == {"step": 1.0}
    for pair in ((painter, optimizers), (other, others)):
        learn(*pair)
    for one, two in zip(painter.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_upsampler_learns_and_is_compared(shards: Path, tmp_path: Path) -> None:
    options = RunOptions(data=shards, out=tmp_path, steps=10, size="tiny", device="cpu", seed=3)
    figures = run_recipe("upsampler", options)
    assert figures["psnr_bicubic"] > 15 and abs(figures["psnr_ours"] - figures["psnr_bicubic"]) < 3
    assert 0 < figures["sharpness_bicubic"] < 1
    blurred = torch.nn.functional.avg_pool2d(torch.eye(32)[None, None].expand(1, 3, -1, -1), 3, 1, 1)
    assert sharpness(blurred) < sharpness(torch.eye(32)[None, None].expand(1, 3, -1, -1))


def test_the_judge_learns_names(raw: Path, tmp_path: Path) -> None:
    options = RunOptions(data=raw, out=tmp_path, steps=40, size="tiny", device="cpu", seed=3)
    figures = run_recipe("icon_judge", options)
    assert figures["names"] == len(ICONS) and figures["top5_large"] == 1.0
    assert figures["top1_large"] > 0.5
    judge = load_judge(tmp_path)
    assert set(judge.config.names) == {"apple", "dog", "umbrella", "chair", "virgo"}
    bank = IconBank(load_named(raw), 32, "cpu")
    again = accuracy(judge, bank, num_tests=2)
    assert again["top1_small"] == figures["top1_small"]


def test_the_export_is_a_member_of_the_family(shards: Path, family: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("painter", "upsampler"):
        options = RunOptions(data=shards, out=run, steps=1, size="tiny", init=family, device="cpu")
        run_recipe(name, options)
    out = tmp_path / "family"
    shutil.copytree(family, out)
    figures = run_recipe("painter_export", RunOptions(data=shards, out=out, init=run, device="cpu"))
    assert 0 < figures["painter_worst_relative_error"] < 0.02
    assert json.loads((out / "family.json").read_text(encoding="utf-8"))["members"][-1] == "painter"
    loaded = load_member(OpenCheckpoint(folder=out, id="local/tiny#painter", kind="paint"))
    request = PaintRequest(id="1", prompt="a red apple", num_steps=2, seed=1, width=96, height=96)
    result = loaded.answer(request, lambda _: None, lambda: False, loaded.sizes(request)[0])
    assert isinstance(result, PaintResult) and result.images[0].width == 96
