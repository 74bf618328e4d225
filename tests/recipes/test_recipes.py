"""Every recipe for ten steps on a CPU, on data it makes: the loss falls, one seed gives one loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, IMAGE_ID, USER_ID
from localgpt.training.losses import IGNORE
from localgpt.training.packing import TokenStream
from recipes.common import RunOptions
from recipes.decoder import EPOCH
from recipes.joint import MIXTURE
from recipes.picture_rows import EncodedTurn, fill_sample, talk_turns
from recipes.registry import RECIPES, run_recipe
from recipes.tokenizer import train_tokenizer

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 160, 30)}
COLOURS_ZH = {"red": "红色", "blue": "蓝色", "green": "绿色"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [f"A {name} picture. What colour is it? 一张{COLOURS_ZH[name]}的图片。" for name in COLOURS] * 20
    return train_tokenizer(iter(texts))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    rng = np.random.default_rng(0)
    names = {*EPOCH, *MIXTURE, "heldout_articles", "heldout_books", "heldout_dialogues"}
    for name in sorted(names):
        _write_stream(folder, name, tokenizer, rng)
    _write_pictures(folder, rng)
    return folder


def _write_stream(folder: Path, name: str, tokenizer: Tokenizer, rng: np.random.Generator) -> None:
    sequences = []
    for _ in range(60):
        colour = list(COLOURS)[rng.integers(3)]
        sequences.append([BOS_ID, *tokenizer.encode(f"A {colour} picture. " * 4), END_ID])
    lengths = [len(s) for s in sequences]
    np.save(folder / f"{name}.tokens.npy", np.concatenate(sequences).astype(np.uint16))
    np.save(folder / f"{name}.offsets.npy", np.array([0, *np.cumsum(lengths)], dtype=np.int64))
    if name.startswith("heldout_"):
        np.save(folder / f"{name}.bytes.npy", np.array(lengths, dtype=np.int64))


def _write_pictures(folder: Path, rng: np.random.Generator) -> None:
    images, lines = [], []
    for number in range(12):
        name = list(COLOURS)[number % 3]
        noise = rng.integers(0, 20, size=(64, 64, 3))
        images.append((np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8))
        turns = [
            {"lang": "en", "kind": "describe", "q": "Describe this picture.", "a": f"A {name} picture."},
            {"lang": "en", "kind": "colour", "q": "What colour is it?", "a": f"{name}."},
        ]
        captions = {"en": [f"A {name} picture."], "zh": [f"一张{COLOURS_ZH[name]}的图片。"]}
        split = "train" if number < 9 else "val"
        lines.append({"image": number, "split": split, "captions": captions, "turns": turns, "label": None})
    np.save(folder / "images_scenes.npy", np.stack(images))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "samples_scenes.jsonl").write_text(text, encoding="utf-8")


def _run(name: str, data: Path, out: Path, *, steps: int = 10, init: Path | None = None) -> dict[str, float]:
    options = RunOptions(data=data, out=out, steps=steps, size="tiny", init=init, device="cpu", seed=3)
    return run_recipe(name, options)


def _losses(out: Path, key: str) -> list[float]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line[key] for line in lines if key in line and "step" in line]


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained")
    _run("decoder", data, out / "decoder")
    _run("encoder", data, out / "encoder")
    init = out / "init"
    init.mkdir()
    for member in ("decoder", "encoder"):
        for suffix in ("safetensors", "json"):
            (init / f"{member}.{suffix}").write_bytes((out / member / f"{member}.{suffix}").read_bytes())
    return out


def test_decoder_learns_and_repeats(data: Path, pretrained: Path, tmp_path: Path) -> None:
    losses = _losses(pretrained / "decoder", "loss")
    assert losses[-1] < losses[0] - 0.5
    again = _run("decoder", data, tmp_path)
    record = json.loads((pretrained / "decoder" / "record.json").read_text(encoding="utf-8"))
    assert again["loss"] == record["loss"]


def test_encoder_learns_and_scores_retrieval(pretrained: Path) -> None:
    words = _losses(pretrained / "encoder", "words")
    assert words[-1] < words[0]
    record = json.loads((pretrained / "encoder" / "record.json").read_text(encoding="utf-8"))
    assert 0.0 <= record["en_r1"] <= record["en_r5"] <= 1.0


def test_joint_tuning_learns_answers_about_pictures(data: Path, pretrained: Path, tmp_path: Path) -> None:
    _run("joint", data, tmp_path, init=pretrained / "init")
    answers = _losses(tmp_path, "answer")
    assert answers[-1] < answers[0] - 0.5
    kept = {path.stem for path in (tmp_path / "latest").glob("*.safetensors")}
    assert kept == {"decoder", "encoder", "projector"}
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert 0.0 <= record["cider_en"] <= 10.0


def test_every_recipe_is_registered() -> None:
    assert set(RECIPES) == {"decoder", "encoder", "joint", "export", "restore"}


def test_fill_sample_learns_answers_only_and_numbers_branches() -> None:
    turns = [
        [EncodedTurn([10, 11], [20])],
        [EncodedTurn([12], [21, 22]), EncodedTurn([13], [23], weight=2.0)],
    ]
    sample = fill_sample(turns, num_image_tokens=3, sample_len=40)
    inputs, targets = sample["inputs"].tolist(), sample["targets"].tolist()
    assert inputs[:2] == [BOS_ID, USER_ID]
    assert inputs[2:5] == [IMAGE_ID] * 3
    learned = [target for target in targets if target != IGNORE]
    assert learned == [20, END_ID, 21, 22, END_ID, 23, END_ID]
    assert all(inputs[i - 0] == ASSISTANT_ID for i, t in enumerate(targets) if t in (20, 21, 23))
    assert sample["branches"].tolist()[:6] == [0] * 6
    first, second = (sample["positions"][sample["branches"] == n].tolist() for n in (1, 2))
    assert first[0] == second[0] == 6  # every branch starts right after the picture
    weights = [w for w, target in zip(sample["weights"], targets, strict=True) if target != IGNORE]
    assert weights[0] == weights[1] == 2.0  # two tokens: the root of 8 / 2
    assert weights[2] < weights[0]
    assert weights[5] == 2 * weights[0]


def test_talk_turns_are_single_exchanges() -> None:
    said = [BOS_ID, USER_ID, 1, 2, END_ID, ASSISTANT_ID, 3, END_ID]
    longer = [*said, USER_ID, 4, END_ID, ASSISTANT_ID, 5, END_ID]
    document = [BOS_ID, 6, 7, END_ID]
    sequences = [said, longer, document]
    offsets = np.cumsum([0, *map(len, sequences)])
    stream = TokenStream(np.concatenate([np.array(s, dtype=np.uint16) for s in sequences]), offsets)
    assert talk_turns(stream) == [EncodedTurn([1, 2], [3])]
    assert talk_turns(stream, max_len=4) == []


def test_fill_sample_leaves_out_what_does_not_fit() -> None:
    turns = [[EncodedTurn([1] * 50, [2])], [EncodedTurn([3], [4])]]
    sample = fill_sample(turns, num_image_tokens=3, sample_len=16)
    assert 1 not in sample["inputs"]
    assert 3 in sample["inputs"]
