from __future__ import annotations

import random
import re
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.vision import photos
from recipes.scenes.captions import scene_captions
from recipes.scenes.icons import name_colours
from recipes.scenes.questions import QUESTION_KINDS, Turn, is_right, scene_questions
from recipes.scenes.render import KINDS, SIZE, Scene, relation_of, render_scene
from recipes.scenes.stock import Stock, is_held_out_colour, is_held_out_relation
from recipes.scenes.vocabulary import COLOUR_ZH, COLOURS, NUMBERS_EN, icon_names
from recipes.scenes.wordings import EVALUATION, TRAINING
from recipes.text_data.held_out_wordings import Wordings
from recipes.vision_data import photo_wordings

COLOUR_LIST = list(COLOURS)


@pytest.fixture(scope="module")
def stock() -> Stock:
    """Ten icons of the vocabulary's names, each a plain shape in one colour on white."""
    names = {name.en: name for name in icon_names()}
    nouns = ("apple", "fish", "book", "star", "key", "bucket", "drum", "candle", "magnet", "tooth")
    pictures = []
    for number, noun in enumerate(nouns):
        name = names[noun]
        canvas = Image.new("RGB", (192, 192), (255, 255, 255))
        shape = (30, 40, 30 + 60 + 7 * number, 40 + 110 - 6 * number)
        draw = ImageDraw.Draw(canvas)
        colour = COLOURS[("red", "blue", "green", "orange", "purple")[number % 5]]
        (draw.rectangle if number % 2 else draw.ellipse)(shape, fill=colour)
        pictures.append((name, np.asarray(canvas)))
    return Stock.of_pictures(pictures)


def _scenes(stock: Stock, number: int, *, split: str = "train", kind: str | None = None) -> list[Scene]:
    return [render_scene(random.Random(f"{split}-{i}"), stock, split=split, kind=kind) for i in range(number)]


def test_same_random_numbers_same_scene(stock: Stock) -> None:
    first, second = (render_scene(random.Random(5), stock) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert first.objects == second.objects
    turns = [scene_questions(first, random.Random(1), language="zh") for _ in range(2)]
    assert turns[0] == turns[1]


def test_boxes_fit_what_is_drawn(stock: Stock) -> None:
    checked = 0
    for scene in _scenes(stock, 60, kind="single"):
        if scene.background.kind != "plain":
            continue
        far = np.abs(scene.pixels.astype(int) - scene.pixels[_corner(scene)]).max(axis=2) > 24
        rows, columns = np.flatnonzero(far.any(axis=1)), np.flatnonzero(far.any(axis=0))
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.subtract(seen, scene.objects[0].box)).max() <= 2
        checked += 1
    assert checked > 15


def _corner(scene: Scene) -> tuple[int, int]:
    """A corner that the only object leaves free."""
    x0, y0, x1, y1 = scene.objects[0].box
    corners = [(y, x) for y in (0, SIZE - 1) for x in (0, SIZE - 1)]
    return next((y, x) for y, x in corners if not (y0 <= y < y1 and x0 <= x < x1))


def test_counted_things_do_not_overlap_and_are_all_of_one_kind(stock: Stock) -> None:
    numbers = set()
    for scene in _scenes(stock, 80, kind="count"):
        assert len(scene.counts) == 1
        numbers.add(len(scene.objects))
        for i, first in enumerate(scene.objects):
            assert first.box[0] >= 0
            assert first.box[2] <= SIZE
            for second in scene.objects[:i]:
                a, b = first.box, second.box
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert numbers == {1, 2, 3, 4, 5, 6}


def test_colours_are_those_of_the_pixels(stock: Stock) -> None:
    for scene in _scenes(stock, 60, kind="relation"):
        for thing in scene.objects:
            x, y = (int(v) for v in thing.middle)
            shown = COLOUR_LIST[int(name_colours(scene.pixels[y, x][None])[0])]
            if thing.colour:
                assert shown == thing.colour
    for scene in _scenes(stock, 40):
        if scene.background.colour:
            assert all(thing.colour != scene.background.colour for thing in scene.objects)


def test_relation_scenes_have_a_clear_relation(stock: Stock) -> None:
    for scene in _scenes(stock, 60, kind="relation"):
        first, second = scene.objects
        relations = relation_of(first, second)
        assert relations
        (x1, y1), (x2, y2) = first.middle, second.middle
        truth = {"left": x1 < x2, "right": x1 > x2, "above": y1 < y2, "below": y1 > y2}
        assert all(truth[relation] for relation in relations)


def test_training_shows_nothing_held_out(stock: Stock) -> None:
    held_out = [(n.en, c) for n, c in product(icon_names(), COLOURS) if is_held_out_colour(n.en, c)]
    assert 0.05 < len(held_out) / (len(icon_names()) * len(COLOURS)) < 0.15
    for scene in _scenes(stock, 300):
        for thing in scene.objects:
            assert not (thing.is_painted and is_held_out_colour(thing.name.en, thing.colour or ""))
        for first, second in product(scene.objects, repeat=2):
            for relation in relation_of(first, second):
                assert not is_held_out_relation(first.name.en, second.name.en, relation)


def test_held_out_scenes_show_what_training_leaves_out(stock: Stock) -> None:
    things = [t for scene in _scenes(stock, 200, split="val") for t in scene.objects if t.is_painted]
    assert any(is_held_out_colour(t.name.en, t.colour or "") for t in things)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("evaluation", [False, True])
def test_answers_are_right_by_their_own_rule(stock: Stock, language: str, evaluation: bool) -> None:
    kinds = set()
    for number, scene in enumerate(_scenes(stock, 80)):
        for turn in scene_questions(scene, random.Random(number), language=language, evaluation=evaluation):
            assert "{" not in turn.q + turn.a
            kinds.add(turn.kind)
            if turn.accepted:
                assert is_right(turn, turn.a), turn
    assert kinds == set(QUESTION_KINDS)


def test_counts_colours_and_presence_are_true(stock: Stock) -> None:
    for number, scene in enumerate(_scenes(stock, 100)):
        for turn in scene_questions(scene, random.Random(number), kinds=("count", "colour", "yesno")):
            _check(scene, turn)


def _check(scene: Scene, turn: Turn) -> None:
    named = [t for t in scene.objects if re.search(rf"\b({t.name.en}|{t.name.en_plural})\b", turn.q)]
    shown = [c for c in (*COLOURS, "grey") if re.search(rf"\b{c}\b", turn.q)]
    colour = "gray" if shown[:1] == ["grey"] else (shown or [None])[0]
    if turn.kind == "colour":
        assert {t.colour for t in named} & set(turn.accepted)
        return
    if colour:
        named = [t for t in named if t.colour == colour]
    if turn.kind == "yesno":
        assert turn.accepted == (("yes",) if named else ("no",))
    elif not re.search(r"objects|things|items", turn.q):
        assert turn.accepted[0] == NUMBERS_EN[len(named)]
    else:
        assert turn.accepted[0] == NUMBERS_EN[len(scene.objects)]


def test_yes_and_no_are_balanced(stock: Stock) -> None:
    answers = [
        turn.accepted[0]
        for number, scene in enumerate(_scenes(stock, 250))
        for turn in scene_questions(scene, random.Random(number), kinds=("yesno", "relation"))
        if turn.accepted[0] in ("yes", "no")
    ]
    assert 0.42 < answers.count("yes") / len(answers) < 0.58


def test_replies_are_judged_by_what_they_say_last() -> None:
    turn = Turn("colour", "en", "What color is the car?", "The car is red.", ("red",))
    assert is_right(turn, "Red")
    assert is_right(turn, "the car is RED.")
    assert not is_right(turn, "The red car is blue.")
    assert not is_right(turn, "It is bored.")
    count = Turn("count", "zh", "有几个三明治？", "有两个三明治。", ("两", "2", "二"))
    assert is_right(count, "图中有两个三明治。")
    assert not is_right(count, "三个")
    absent = Turn("yesno", "zh", "有猫吗？", "没有", ("不", "没", "否"))
    assert is_right(absent, "没有，图中没有猫。")
    assert not is_right(absent, "有，图中有猫。")


def test_captions_name_every_thing(stock: Stock) -> None:
    for number, scene in enumerate(_scenes(stock, 40)):
        for caption in scene_captions(scene, "en", random.Random(number)):
            assert caption[0].isupper()
            assert caption.endswith(".")
        listed = " ".join(scene_captions(scene, "zh", random.Random(number), number=8))
        assert any(thing.name.zh in listed for thing in scene.objects)


def test_no_training_wording_is_close_to_one_of_the_evaluation() -> None:
    held_out = [form for forms in photos.WORDINGS.values() for form in forms]
    for table in (EVALUATION, photo_wordings.EVALUATION):
        held_out += [f for k, by in table.items() if k != "describe" for forms in by.values() for f in forms]
    wordings = Wordings(held_out)
    for table in (TRAINING, photo_wordings.TRAINING):
        for by_language in table.values():
            for form in (form for forms in by_language.values() for form in forms):
                assert wordings.clash(form) is None, form


def test_every_colour_and_kind_has_words() -> None:
    assert set(COLOUR_ZH) == set(COLOURS)
    for table in (TRAINING, EVALUATION):
        assert all(set(forms) == {"en", "zh"} for forms in table.values())
    assert set(EVALUATION) < set(TRAINING)  # easier steps are for training only
    assert sum(KINDS.values()) == 100
