"""Rendered val scenes with questions about colour, count and relation, in the evaluation wordings."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.vision.answers import KINDS, says
from benchmarks.vision.generate import Pixels
from localgpt.media.image import to_pixels
from recipes.scenes.questions import Turn, scene_questions
from recipes.scenes.render import render_scene
from recipes.scenes.stock import Stock
from recipes.scenes.vocabulary import icon_names

__all__ = ["SCENE_KINDS", "SceneQuestion", "is_right", "make_scenes", "read_scenes"]

SCENE_KINDS = ("colour", "count", "relation")
SEED = 20


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """One question about scene number `scene`; `form` says how replies are read (see `answers.says`)."""

    scene: int
    language: str
    kind: str
    form: str
    text: str
    answer: str


def read_scenes(
    data: Path, num: int, size: int, *, workers: int = 1
) -> tuple[list[Pixels], list[SceneQuestion]]:
    """Render val scenes from the icons and photographs of the data folder."""
    return make_scenes(Stock.load(data, split="val", workers=workers), num, size)


def make_scenes(stock: Stock, num: int, size: int) -> tuple[list[Pixels], list[SceneQuestion]]:
    """The first `num` scenes as the product reads them, and one question of each kind and language.

    Every scene depends on its number alone; a scene without, say, a clear relation has no such question.
    """
    pixels, questions = [], []
    for number in range(num):
        scene = render_scene(random.Random(f"{SEED} {number}"), stock, split="val")
        pixels.append(to_pixels(scene.pixels, size))
        for language in ("en", "zh"):
            rng = random.Random(f"{SEED} {number} {language}")
            turns = scene_questions(
                scene, rng, kinds=SCENE_KINDS, language=language, evaluation=True, per_kind=1, split="val"
            )
            questions += [_question(number, turn) for turn in turns]
    return pixels, questions


def _question(number: int, turn: Turn) -> SceneQuestion:
    form, answer = _form(turn), turn.accepted[0]
    return SceneQuestion(number, turn.lang, turn.kind, form, turn.q, answer)


def _form(turn: Turn) -> str:
    """How the answer is to be read: the first reader of its kind that understands it, else as a phrase."""
    readers = {"colour": ("colour",), "count": ("count",), "relation": ("yes_no", "place")}[turn.kind]
    return next((form for form in readers if KINDS[form](turn.accepted[0], turn.lang) is not None), "phrase")


def is_right(question: SceneQuestion, reply: str) -> bool:
    """Whether a reply gives the answer; a longer noun ("hot dog") is not taken for the shorter one in it."""
    if question.form == "phrase":
        names = {name.zh if question.language == "zh" else name.en for name in icon_names()}
        reply = reply if question.language == "zh" else reply.lower()
        for name in sorted(names, key=len, reverse=True):
            if question.answer in name and name != question.answer:
                reply = reply.replace(name, " ")
    return says(reply, question.answer, question.form, question.language)
