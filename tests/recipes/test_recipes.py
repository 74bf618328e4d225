"""Every recipe for ten steps on a CPU, on data it makes: the loss falls, one seed gives one loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, IMAGE_ID, USER_ID
from localgpt.training.losses import IGNORE
from localgpt.training.packing import TokenStream
from recipes.common import RunOptions
from recipes.picture_rows import EncodedTurn, fill_sample, talk_turns
from recipes.registry import RECIPES, run_recipe
from tests.recipes.tiny_data import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


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
    assert {"decoder", "encoder", "joint", "export", "restore"} <= set(RECIPES)
    assert {"listener", "listener_real", "listener_prune", "listener_export"} <= set(RECIPES)


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
