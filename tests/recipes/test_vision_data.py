from __future__ import annotations

import io
import json
import lzma
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.scenes.questions import is_right
from recipes.scenes.vocabulary import COLOURS, icon_names
from recipes.vision_data.facts import caption_facts, clean_caption
from recipes.vision_data.labels import label_names
from recipes.vision_data.near_copies import difference_hash, near_any
from recipes.vision_data.packs import PicturePack, is_held_out, split_of
from recipes.vision_data.photo_questions import photo_questions, photo_turns, question_rates
from recipes.vision_data.photo_words import ACTIVITIES, NOUNS, PLACES
from recipes.vision_data.prepare import SETS, PrepareOptions, prepare

DOG = (
    ["A brown dog runs through the snow .", "A brown dog is running in snow .", "The dog runs .",
     "A dog running through deep snow .", "A dog in the snow ."],
    ["一只狗在雪地里奔跑。", "雪地里奔跑的狗。", "一只狗正在雪里跑。", "雪中的狗。", "奔跑的狗。"],
)  # fmt: skip
MEN = (
    ["Two men are sitting on a bench .", "Two men sit on a park bench .", "Two old men talk .",
     "Two men in hats on a bench .", "The two men are seated ."],
    ["两个男人坐在长椅上。", "坐着的两个男人。", "两个老人在聊天。", "长椅上的男人。", "两个人坐着。"],
)  # fmt: skip


def test_facts_are_what_captions_agree_on() -> None:
    facts = caption_facts(*DOG)
    assert {"dog", "snow"} <= set(facts.present)
    assert {"cat", "man", "car", "ocean"} <= set(facts.absent)
    assert facts.counts == {"dog": 1}
    assert facts.colours == {"dog": "brown"}
    assert facts.active == (("dog", "running"),)
    assert ("dog", "sleeping") in facts.inactive
    assert ("dog", "jumping") not in facts.inactive
    assert (facts.place, facts.animal) == ("snow", "dog")
    assert "running through the snow" in {doing.phrase for doing in facts.doings}


def test_counts_need_agreement() -> None:
    assert caption_facts(*MEN).counts["man"] == 2
    assert "man" not in caption_facts([*MEN[0], "Three men on a bench ."]).counts
    assert (
        caption_facts(["A brown dog and a black dog play .", "Two dogs play .", "Dogs play ."]).counts["dog"]
        == 2
    )
    assert "dog" not in caption_facts(["A dog .", "Some dogs ."]).counts
    assert (
        caption_facts(["Three children run .", "three young kids running .", "kids run"]).counts["child"] == 3
    )


def test_what_a_caption_leaves_open_is_not_denied() -> None:
    assert "dog" not in caption_facts(["An animal in a field .", "An animal ."]).absent
    assert "man" not in caption_facts(["A person on a hill .", "A climber ."]).absent
    assert "tree" not in caption_facts(["A boy smiles .", "A boy ."]).absent
    assert "tree" in caption_facts(["A boy in a pool .", "A boy swims in the pool ."]).absent
    assert "dog" not in caption_facts(["A boy smiles ."], ["一个男孩和狗。"]).absent


def test_a_colour_with_company_is_no_colour() -> None:
    assert caption_facts(["A black and white dog ."]).colours == {}
    assert caption_facts(["A man in a red shirt .", "A man with a blue shirt ."]).colours == {}
    assert caption_facts(["A man in a red shirt .", "A man ."]).colours == {"shirt": "red"}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("captions", [DOG, MEN])
def test_photo_answers_are_right(
    captions: tuple[list[str], list[str]], language: str, *, evaluation: bool
) -> None:
    for seed in range(8):
        turns = photo_questions(*captions, random.Random(seed), language=language, evaluation=evaluation)
        assert {"yesno", "count", "describe"} <= {turn.kind for turn in turns}
        for turn in turns:
            assert "{" not in turn.q + turn.a
            assert not turn.accepted or is_right(turn, turn.a), turn


def test_rates_level_yes_and_no_for_each_noun() -> None:
    cats = (["A cat sleeps .", "A cat is asleep on a bed ."], ["睡觉的猫。"])
    pictures = [DOG] * 30 + [MEN] * 60 + [cats] * 10
    facts = [caption_facts(*captions) for captions in pictures]
    rates = question_rates(facts)
    for noun in ("dog", "cat"):
        expected = dict.fromkeys(("yes", "no"), 0.0)
        for fact in facts:
            expected["yes"] += (noun in fact.present) * rates.chance("there", noun, "yes")
            expected["no"] += (noun in fact.absent) * rates.chance("there", noun, "no")
        assert expected["yes"] == pytest.approx(expected["no"])
    assert all(turn.q for turn in photo_turns(*DOG, random.Random(0), rates))


def test_captions_become_answers() -> None:
    assert clean_caption("a man 's dog , running .", "en") == "A man's dog, running."
    assert clean_caption("The dogs ' ball", "en") == "The dogs' ball."
    assert clean_caption(" 一只 狗。。", "zh") == "一只狗。"


def test_words_are_used_consistently() -> None:
    for noun in NOUNS.values():
        assert noun.words, noun.en
        assert noun.words_zh, noun.en
        assert noun.ruled_out_in <= {*PLACES, "dogs"}, noun.en
    for name, activity in ACTIVITIES.items():
        assert activity.clashes <= set(ACTIVITIES)
        assert name not in activity.clashes


def test_near_copies_are_found() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(20)]
    hashes = np.array([difference_hash(p) for p in pictures], dtype=np.uint64)
    assert near_any(hashes, hashes[:1]).tolist() == [True] + [False] * 19
    changed = hashes[0] ^ np.uint64(0b111)
    assert near_any(np.array([changed]), hashes[:1]).all()


def test_splits_follow_the_rows_or_their_names() -> None:
    assert split_of({"file": "a", "split": "extra"}) == "train"
    assert split_of({"file": "a", "split": "val"}) == "val"
    names = [f"{number}.jpg" for number in range(2000)]
    assert 150 < sum(is_held_out(name) for name in names) < 250
    assert split_of({"file": names[0]}) == ("val" if is_held_out(names[0]) else "train")


def _write_pack(folder: Path, name: str, pictures: list[Image.Image], rows: list[dict[str, Any]]) -> None:
    blob = b""
    lines = []
    for picture, row in zip(pictures, rows, strict=True):
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", lossless=True)
        lines.append(
            json.dumps({**row, "offset": len(blob), "bytes": len(buffer.getvalue())}, ensure_ascii=False)
        )
        blob += buffer.getvalue()
    (folder / f"{name}.bin").write_bytes(blob)
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small raw sets that look like the real ones, in a flat folder."""
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(1)

    def noise(size: int, number: int) -> list[Image.Image]:
        small = [Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)) for _ in range(number)]
        return [picture.resize((size, size)) for picture in small]

    icons = []
    for number, name in enumerate(icon_names()[:12]):
        canvas = Image.new("RGB", (192, 192), (255, 255, 255))
        colour = list(COLOURS.values())[number % 6]
        ImageDraw.Draw(canvas).rectangle((40, 40, 120 + 4 * number, 150), fill=colour)
        icons.append(
            (canvas, {"file": f"{number}.png", "name": name.icon, "name_zh": name.zh, "keywords": ["a"]})
        )
    _write_pack(folder, "fluent_emoji_3d", [p for p, _ in icons], [row for _, row in icons])
    _write_pack(folder, "coco_unlabelled", noise(40, 30), [{"file": f"c{n}.jpg"} for n in range(30)])
    flickr = noise(48, 12)
    flickr[1] = flickr[11].copy()  # a training picture that is a held-out one
    rows = [
        {"file": f"f{n}.jpg", "split": ("val" if n > 9 else "extra" if n == 0 else "train"),
         "en": (DOG, MEN)[n % 2][0], "zh": (DOG, MEN)[n % 2][1]}
        for n in range(12)
    ]  # fmt: skip
    _write_pack(folder, "flickr8k", flickr, rows)
    places = [{"file": f"s{n}.jpg", "label": ("sea", "street", "forest")[n % 3]} for n in range(12)]
    _write_pack(folder, "scenes6", noise(32, 12), places)
    tiny = [{"file": f"t{n}.jpg", "wnid": ("n02123045", "n02085620", "n07873807")[n % 3]} for n in range(9)]
    _write_pack(folder, "tiny_imagenet_part", noise(64, 9), tiny)
    grocery = [
        {"file": f"g{n}.jpg", "split": "train", "label": "x", "coarse": ("Apple", "Milk", "Zucchini")[n % 3]}
        for n in range(9)
    ]
    _write_pack(folder, "grocery", noise(30, 9), grocery)
    return folder


def _prepared(data: Path, out: Path, workers: int) -> dict[str, Any]:
    return prepare(PrepareOptions(data=data, out=out, workers=workers, scenes=24, seed=3))


def test_sets_have_the_shape_that_recipes_read(data: Path, tmp_path: Path) -> None:
    manifest = _prepared(data, tmp_path, 1)
    assert set(manifest["sets"]) == set(SETS)
    for name, size in SETS.items():
        images = np.load(tmp_path / f"images_{name}.npy", mmap_mode="r")
        lines = (tmp_path / f"samples_{name}.jsonl").read_text(encoding="utf-8").splitlines()
        samples = [json.loads(line) for line in lines]
        assert images.shape == (len(samples), size, size, 3)
        assert images.dtype == np.uint8
        assert all(images[number].any() for number in range(len(images)))
        assert [sample["image"] for sample in samples] == list(range(len(samples)))
        assert {sample["split"] for sample in samples} <= {"train", "val"}
        for sample in samples:
            objects = sample.pop("objects", [])
            assert (len(objects) > 0) == (name == "scenes")
            assert all(noun >= 1 and 0 <= min(box) < max(box) <= 1 for noun, _, *box in objects)
            assert set(sample) == {"image", "split", "captions", "turns", "label"}
            assert sample["captions"]["en"]
            assert all(set(turn) - {"weight"} == {"lang", "kind", "q", "a"} for turn in sample["turns"])
        assert any(sample["turns"] for sample in samples)
    photographs = manifest["sets"]["flickr8k"]
    assert (photographs["pictures"], photographs["train"]) == (11, 9)


def test_workers_do_not_change_the_result(data: Path, tmp_path: Path) -> None:
    manifests = [_prepared(data, tmp_path / str(workers), workers) for workers in (1, 2)]
    assert manifests[0] == manifests[1]
    for path in sorted((tmp_path / "1").iterdir()):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_a_pack_decodes_to_squares(data: Path) -> None:
    pack = PicturePack.open(data, "grocery")
    assert pack.pixels(0, 20).shape == (20, 20, 3)
    assert pack.chosen("val").rows == []
    assert [name.en for name in label_names("grocery", pack.rows).values()] == [
        "apple", "carton of milk", "zucchini",
    ]  # fmt: skip
