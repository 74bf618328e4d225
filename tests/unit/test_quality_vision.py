"""The measure of the picture models: reading replies, balanced questions, scores, and whole runs."""

from __future__ import annotations

import asyncio
import io
import json
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.quality_vision import PARTS, measure, parse, table
from benchmarks.vision.answers import read_colour, read_number, read_place, read_yes_no, says
from benchmarks.vision.captions import score_captions, tokens_of
from benchmarks.vision.generate import Answerer, Ask
from benchmarks.vision.models import load_training_folder
from benchmarks.vision.photos import WORDINGS, count_of, photo_questions
from benchmarks.vision.retrieval import embed_texts, recalls
from benchmarks.vision.rows import CaptionedSet, stretched
from benchmarks.vision.scenes import SceneQuestion, is_right
from benchmarks.vision.tally import accuracy_by, majority_by
from localgpt.media.image import decode_image
from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.runtime.local import LocalService
from localgpt.tasks import AskRequest, DescribeRequest, ImagePart, SamplingOptions
from recipes.scenes import wordings as scene_wordings
from recipes.vision_data import photo_wordings
from tests import tiny
from tests.tiny_folder import write_family

# What a reply says


@pytest.mark.parametrize(
    ("reply", "language", "expected"),
    [
        ("Yes.", "en", True),
        ("yes, there is a dog.", "en", True),
        ("No, there is no dog.", "en", False),
        ("There is a dog in the picture.", "en", True),
        ("There is a cat in the picture.", "en", None),  # another thing than was asked about
        ("There is no dog.", "en", False),
        ("There isn't a dog here.", "en", False),
        ("The answer is yes.", "en", True),
        ("A brown snowman in november knows.", "en", None),  # "no" and "not" only inside words
        ("A dog runs.", "en", None),
        ("Yes and no.", "en", None),
        ("I am not sure.", "en", None),
        ("I don't know.", "en", None),
        ("", "en", None),
        ("**Yes**", "en", True),
        ("Yesterday.", "en", None),
        ("是的，图中有狗。", "zh", True),
        ("有。", "zh", True),
        ("对。", "zh", True),
        ("图里有一只狗。", "zh", True),
        ("图里有一只猫。", "zh", None),
        ("有一只狗。", "zh", True),
        ("有一只猫。", "zh", None),
        ("对面是山。", "zh", None),
        ("没有，图中没有狗。", "zh", False),
        ("图中没有狗。", "zh", False),
        ("不是。", "zh", False),
        ("否", "zh", False),
        ("是的，图中没有狗。", "zh", None),
        ("对不起，我不知道。", "zh", None),
        ("有没有狗？没有。", "zh", False),
        ("狗在跑。", "zh", None),
    ],
)
def test_yes_and_no(reply: str, language: str, expected: bool | None) -> None:
    topic = "dog" if language == "en" else "狗"
    assert read_yes_no(reply, language, topic) is expected


@pytest.mark.parametrize(
    ("reply", "language", "expected"),
    [
        ("There are three dogs.", "en", 3),
        ("3", "en", 3),
        ("２ dogs", "en", 2),
        ("12 dogs", "en", 12),
        ("1.5 dogs", "en", None),
        ("There is a dog.", "en", 1),
        ("There are no dogs.", "en", 0),
        ("A couple of dogs.", "en", 2),
        ("Someone is alone.", "en", None),  # "one" only inside words
        ("A lot of dogs.", "en", None),
        ("dogs", "en", None),
        ("图中有两只狗。", "zh", 2),
        ("三", "zh", 3),
        ("4只", "zh", 4),
        ("有十二个人。", "zh", 12),
        ("二十个", "zh", 20),
        ("一起玩的有三个人。", "zh", 3),
        ("一群狗在一起。", "zh", None),
        ("没有狗。", "zh", 0),
        ("三明治有两个。", "zh", 2),
    ],
)
def test_numbers(reply: str, language: str, expected: int | None) -> None:
    assert read_number(reply, language) == expected


@pytest.mark.parametrize(
    ("reply", "language", "expected"),
    [
        ("The car is red.", "en", "red"),
        ("It's grey", "en", "gray"),
        ("A dark gray cat.", "en", "gray"),
        ("reddish, bored, blueprint", "en", None),
        ("red and green", "en", None),
        ("红色", "zh", "red"),
        ("红", "zh", "red"),
        ("是粉红色的。", "zh", "pink"),
        ("西红柿是绿色的。", "zh", "green"),  # the noun holds another colour
        ("红绿灯是黄色的。", "zh", "yellow"),
        ("橘子是橙色的。", "zh", "orange"),
        ("黄瓜", "zh", None),
        ("红色和蓝色", "zh", None),
        ("颜色很好看", "zh", None),
    ],
)
def test_colours(reply: str, language: str, expected: str | None) -> None:
    assert read_colour(reply, language) == expected


@pytest.mark.parametrize(
    ("reply", "language", "expected"),
    [
        ("The cat is to the left of the dog.", "en", "left"),
        ("Above.", "en", "above"),
        ("It is under the table", "en", "below"),
        ("leftover, upright, bright", "en", None),
        ("left or right", "en", None),
        ("猫在狗的左边。", "zh", "left"),
        ("上面", "zh", "above"),
        ("下", "zh", "below"),
        ("照片上的猫", "zh", None),
    ],
)
def test_places(reply: str, language: str, expected: str | None) -> None:
    assert read_place(reply, language) == expected


def test_says_compares_meanings_and_whole_words() -> None:
    assert says("There are two dogs.", "2", "count", "en")
    assert not says("There are two dogs.", "3", "count", "en")
    assert says("It is an apple.", "apple", "phrase", "en")
    assert says("Two apples.", "apple", "phrase", "en")
    assert not says("A pineapple.", "apple", "phrase", "en")
    assert says("左边是一只 狗。", "狗", "phrase", "zh")
    assert not says("anything", "unreadable", "colour", "en")


def test_a_longer_noun_is_not_the_shorter_one_in_it() -> None:
    question = SceneQuestion(0, "en", "relation", "phrase", "What is left of the cat?", "dog")
    assert is_right(question, "A dog.")
    assert not is_right(question, "A hot dog.")
    chinese = SceneQuestion(0, "zh", "relation", "phrase", "猫的左边是什么？", "狗")
    assert is_right(chinese, "是一只狗。")
    assert not is_right(chinese, "是一个热狗。")


# Questions about photographs


def make_rows(num: int) -> list[dict[str, Any]]:
    """Captions of `num` pictures: dogs, men and snow in turn, some of them several."""
    subjects = [
        ("a dog runs on the road", "狗在跑"),
        ("two dogs run on the road", "两只狗"),
        ("three dogs run on the road", "三只狗"),
        ("a man stands in the snow", "男人在雪里"),
        ("two men stand on grey stones", "两个男人"),
    ]
    rows = []
    for number in range(num):
        english, chinese = subjects[number % len(subjects)]
        rows.append({"file": f"{number}.jpg", "en": [english] * 5, "zh": [chinese] * 5})
    return rows


def test_questions_are_balanced_and_true() -> None:
    rows = make_rows(200)
    questions = photo_questions(rows, num_yes_no=60, num_count=30)
    assert questions == photo_questions(rows, num_yes_no=60, num_count=30)
    yes_no = [q for q in questions if q.kind == "yes_no"]
    assert len(yes_no) == 60
    for topic in {q.topic for q in yes_no}:
        answers = Counter(q.answer for q in yes_no if q.topic == topic)
        assert answers["yes"] == answers["no"]
    counts = Counter((q.topic, q.answer) for q in questions if q.kind == "count")
    assert counts == {("dog", n): 6 for n in "123"} | {("person", n): 6 for n in "12"}
    for q in questions:
        caption = rows[q.picture]["en"][0]
        if q.topic == "a dog":
            assert ("dog" in caption) is (q.answer == "yes")
        if q.kind == "count":
            assert {"1": "a ", "2": "two ", "3": "three "}[q.answer] in caption


def test_the_wording_does_not_tell_the_answer() -> None:
    yes_no = [q for q in photo_questions(make_rows(200), num_yes_no=60) if q.kind == "yes_no"]
    by_text: dict[str, list[str]] = {}
    for q in yes_no:
        by_text.setdefault(q.texts["en"], []).append(q.answer)
    assert all(answers.count("yes") == answers.count("no") for answers in by_text.values())


@pytest.mark.parametrize(
    ("captions", "noun", "expected"),
    [
        (["two dogs run", "two brown dogs", "dogs run"], "dog", 2),
        (["two dogs run", "three dogs run", "dogs run"], "dog", None),
        (["a dog runs"] * 5, "dog", 1),
        (["a dog runs"] * 4 + ["a dog runs after another"], "dog", None),
        (["a dog runs"] * 3 + ["grass", "sand"], "dog", None),  # too few say so
        (["a woman and two men"] * 5, "person", None),  # three in all: not told by the number alone
        (["a man and a woman"] * 5, "person", None),
        (["four children jump", "four kids", "a group of children"], "person", 4),
    ],
)
def test_counts_must_agree(captions: list[str], noun: str, expected: int | None) -> None:
    assert count_of(captions, noun) == expected


def test_no_wording_of_the_measure_is_one_of_training() -> None:
    asked = {_shape(form) for forms in WORDINGS.values() for form in forms}
    trained: set[str] = set()
    for wordings in (scene_wordings, photo_wordings):
        trained |= {_shape(form) for forms in _forms(wordings.TRAINING) for form in forms}
        held_out = {kind: forms for kind, forms in wordings.EVALUATION.items() if kind != "describe"}
        asked |= {_shape(form) for forms in _forms(held_out) for form in forms}
    assert len(asked) > 60
    assert len(trained) > 400
    assert not trained & asked


def _forms(wordings: dict[str, dict[str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    return [forms for by_language in wordings.values() for forms in by_language.values()]


def _shape(form: str) -> str:
    """A wording without case, marks and names of slots."""
    return re.sub(r"[^\w_]", "", re.sub(r"\{[^}]*\}", "_", form.lower()))


# Scores


def test_caption_tokens() -> None:
    assert tokens_of("A dog's ball, red-white!\n", "en") == "a dogs ball redwhite"
    assert tokens_of("一只狗，在玩 iPad 2。", "zh") == "一 只 狗 在 玩 ipad 2"


def test_a_caption_equal_to_its_references_scores_best() -> None:
    pytest.importorskip("pycocoevalcap")
    references = [["a dog runs on the grass", "the dog runs fast"], ["a man sits on a red bench"] * 2]
    right = score_captions(["A dog runs on the grass.", "A man sits on a red bench."], references, "en")
    wrong = score_captions(["A man sits on a red bench.", "A dog runs on the grass."], references, "en")
    empty = score_captions(["", ""], references, "en")
    assert right is not None
    assert wrong is not None
    assert empty is not None
    assert right["cider"] > 3 > wrong["cider"]
    assert right["bleu4"] == pytest.approx(1.0, abs=1e-6)
    assert empty["cider"] == 0


def test_recalls() -> None:
    images = torch.eye(6)
    texts = torch.cat(
        [torch.eye(6), torch.eye(6).roll(1, dims=0)]
    )  # every second caption names the next picture
    owners = torch.arange(6).repeat(2)
    figures = recalls(images, texts, owners)
    assert figures["image_to_text_r1"] >= 0.5
    assert figures["image_to_text_r5"] == 1.0
    assert figures["text_to_image_r1"] == 0.5


def test_accuracy_and_majority() -> None:
    kinds = ["count", "count", "count", "yes_no"]
    assert accuracy_by(kinds, [True, False, False, True]) == {"all": 0.5, "count": 1 / 3, "yes_no": 1.0}
    assert majority_by(kinds, ["1", "1", "2", "yes"]) == {"all": 0.75, "count": 2 / 3, "yes_no": 1.0}
    by_form = majority_by(["r"] * 4, ["left", "yes", "yes", "no"], ["place", "yes_no", "yes_no", "yes_no"])
    assert by_form == {"all": 0.75, "r": 0.75}


# Pictures and models


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four captioned pictures, ten icons and two backgrounds, in the format of the data folder."""
    folder = tmp_path_factory.mktemp("data") / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = make_rows(4)
    write_set(folder, "flickr8k", [noise(rng, 40) for _ in rows], rows)
    names = ["red apple", "cat", "bus", "key", "guitar", "umbrella", "pizza", "anchor", "star", "robot"]
    icons = [icon(number) for number in range(len(names))]
    write_set(folder, "fluent_emoji_3d", icons, [{"file": f"{n}.png", "name": n} for n in names])
    write_set(folder, "coco_unlabelled", [noise(rng, 64)] * 2, [{"file": f"{n}.jpg"} for n in range(2)])
    return folder.parent


def noise(rng: np.random.Generator, side: int) -> np.ndarray:
    coarse = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side)))


def icon(number: int) -> np.ndarray:
    picture = np.full((96, 96, 3), 255, dtype=np.uint8)
    picture[16:80, 20 + number : 76 - number] = (200, 40 + 8 * number, 40)
    return picture


def write_set(folder: Path, name: str, pictures: list[np.ndarray], rows: list[dict[str, Any]]) -> None:
    blob = b""
    lines = []
    for picture, row in zip(pictures, rows, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "WEBP", lossless=True)
        lines.append(row | {"split": "val", "offset": len(blob), "bytes": len(buffer.getvalue())})
        blob += buffer.getvalue()
    (folder / f"{name}.bin").write_bytes(blob)
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def test_stretching_keeps_everything(data: Path) -> None:
    pictures = CaptionedSet.read(data, "flickr8k")
    wide = decode_image(stretched(pictures.data(0), 4 / 3))
    high = decode_image(stretched(pictures.data(0), 3 / 4))
    assert wide.shape == (40, 53, 3)
    assert high.shape == (53, 40, 3)
    assert np.abs(wide[:, 0].astype(int) - decode_image(pictures.data(0))[:, 0]).max() < 12


def test_batched_answers_equal_the_product(data: Path) -> None:
    family = tiny.make_family()
    pictures = CaptionedSet.read(data, "flickr8k")
    questions = ["What is this?", DESCRIBE_PROMPTS["en"], "这是什么？"]
    asks = [
        Ask(picture, text, 12, is_description=text == DESCRIBE_PROMPTS["en"])
        for text in questions
        for picture in range(4)
    ]
    answerer = Answerer(family, batch=3)
    got = answerer.answers(asks, pictures.loader(tiny.ENCODER.image_size))

    async def product() -> list[str]:
        service = LocalService(family)
        options = SamplingOptions(temperature=0, max_tokens=12)
        replies = []
        for ask in asks:
            image = ImagePart(data=pictures.data(ask.picture), media_type="image/webp")
            request: Any = AskRequest(id="1", image=image, question=ask.text, options=options)
            if ask.text == DESCRIBE_PROMPTS["en"]:
                request = DescribeRequest(id="1", image=image, language="en", options=options)
            replies.append((await service.run(request)).text)
        await service.close()
        return replies

    assert got == asyncio.run(product())
    assert len(set(got)) > 6  # the tiny models answer differently, so the comparison means something


def test_vectors_are_those_of_the_encoder(data: Path) -> None:
    family = tiny.make_family()
    pictures = CaptionedSet.read(data, "flickr8k")
    load = pictures.loader(tiny.ENCODER.image_size)
    answerer = Answerer(family, batch=3)
    assert answerer.answers([], load, range(4)) == []
    with torch.inference_mode():
        expected = family.encoder.encode_image(torch.from_numpy(np.stack([load(n) for n in range(4)])))
    torch.testing.assert_close(torch.stack([answerer.vectors[n] for n in range(4)]), expected)
    texts = embed_texts(family, ["a dog", "two red apples on the grass", ""], batch=2)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))


def test_a_whole_run(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    model = write_family(tmp_path / "family")
    args = parse(["--data", str(data), "--model", str(model), "--limit", "4", "--replies", "2"])
    first, again = measure(args), measure(args)
    assert first.figures == again.figures
    assert first.replies == again.replies
    assert set(first.figures) == set(PARTS)
    assert set(first.figures["captions"]["en"]) == {"as stored", "4:3", "3:4"}
    assert first.figures["photos"]["zh"]["num"] == first.figures["photos"]["en"]["num"]
    assert first.figures["scenes"]["en"]["num"]["all"] >= 4
    shown = table(first, show_replies=2)
    assert "CIDEr" in shown
    assert "majority" in shown
    json.dumps(first.figures)


def test_descriptions_by_the_service_are_those_of_the_copy(data: Path, tmp_path: Path) -> None:
    model = write_family(tmp_path / "family")
    args = [
        "--data",
        str(data),
        "--model",
        str(model),
        "--limit",
        "1",
        "--parts",
        "captions",
        "--languages",
        "en",
    ]
    copied, served = measure(parse(args)), measure(parse([*args, "--served"]))
    assert served.replies == copied.replies and served.figures == copied.figures
    assert set(served.seconds) >= {"served en", "served 4:3", "served 3:4"}
    with pytest.raises(SystemExit):
        parse([*args, "--served", "--dtype", "float32"])


def test_float_checkpoints_of_a_training_run(data: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    parts = {
        "decoder": tiny.make_decoder(),
        "encoder": tiny.make_encoder(),
        "projector": tiny.make_projector(),
    }
    for name, module in parts.items():
        state = {key: value.clone() for key, value in module.state_dict().items() if key != "lm_head.weight"}
        save_file(state, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.json").write_text(json.dumps(module.config.to_dict()), encoding="utf-8")
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(tiny.make_tokenizer().to_str(), encoding="utf-8")
    family = load_training_folder(tmp_path, tokenizer, device="cpu", dtype="float32")
    load = CaptionedSet.read(data, "flickr8k").loader(tiny.ENCODER.image_size)
    asks = [Ask(0, "What is this?", 8)]
    expected = Answerer(tiny.make_family()).answers(asks, load)
    assert Answerer(family).answers(asks, load) == expected


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--data", ".", "--parts", "captions,smells"])
    assert "smells" in capsys.readouterr().err
