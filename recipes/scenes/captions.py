"""Captions of scenes in English and Chinese, and the phrases that captions and answers share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.scenes.render import Scene, SceneObject, relation_of
from recipes.scenes.vocabulary import COLOUR_ZH, NUMBERS_EN, NUMBERS_ZH, IconName

__all__ = [
    "RELATION_EN",
    "RELATION_ZH",
    "Group",
    "article",
    "groups_of",
    "list_caption",
    "noun_phrase",
    "number_zh",
    "scene_captions",
    "shown_colour",
]

RELATION_EN = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
RELATION_ZH = {
    "left": ("左边", "左侧", "左面"),
    "right": ("右边", "右侧", "右面"),
    "above": ("上面", "上方", "上边"),
    "below": ("下面", "下方", "下边"),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True, slots=True)
class Group:
    """All objects of one noun and one colour."""

    name: IconName
    colour: str | None
    count: int


def groups_of(objects: Sequence[SceneObject]) -> list[Group]:
    """Objects gathered by noun and colour, in their order."""
    found: dict[tuple[IconName, str | None], int] = {}
    for thing in objects:
        key = (thing.name, thing.colour)
        found[key] = found.get(key, 0) + 1
    return [Group(name, colour, count) for (name, colour), count in found.items()]


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    sounds_like_you = words.startswith(("unicorn", "ukulele", "uni"))
    return f"{'an' if words[0] in 'aeiou' and not sounds_like_you else 'a'} {words}"


def number_zh(count: int, measure: str) -> str:
    """Number and measure word: 2 gives 两 before every measure word."""
    return f"{NUMBERS_ZH[count]}{measure}"


def shown_colour(colour: str | None, rng: random.Random) -> str | None:
    """The colour's English name in one of its spellings."""
    return "grey" if colour == "gray" and rng.random() < 0.5 else colour


def noun_phrase(group: Group, language: str, rng: random.Random, *, with_colour: bool = True) -> str:
    """The words for a group: "two red apples", "an apple", "两个红色的苹果"."""
    name, colour = group.name, group.colour if with_colour else None
    if language == "zh":
        return number_zh(group.count, name.measure) + (f"{COLOUR_ZH[colour]}的" if colour else "") + name.zh
    shown = shown_colour(colour, rng)
    noun = name.en if group.count == 1 else name.en_plural
    words = f"{shown} {noun}" if shown else noun
    return article(words) if group.count == 1 else f"{NUMBERS_EN[group.count]} {words}"


def _joined(phrases: list[str], language: str) -> str:
    if language == "zh":
        return phrases[0] if len(phrases) == 1 else "、".join(phrases[:-1]) + "和" + phrases[-1]
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def scene_captions(scene: Scene, language: str, rng: random.Random, *, number: int = 4) -> list[str]:
    """Different captions of one scene: counts, colours, relations, background.

    Args:
        scene: what to describe.
        language: "en" or "zh".
        rng: draws the forms.
        number: captions at most; equal ones are dropped.
    """
    captions: list[str] = []
    for _ in range(number * 2):
        if len(captions) == number:
            break
        use_relation = len(scene.objects) == 2 or rng.random() < 0.3
        text = _relation_caption(scene, language, rng) if use_relation and rng.random() < 0.7 else None
        text = text or list_caption(scene, language, rng)
        if text not in captions:
            captions.append(text)
    return captions


def list_caption(scene: Scene, language: str, rng: random.Random) -> str:
    """One sentence that names everything in the scene."""
    groups = groups_of(scene.objects)
    with_colour = rng.random() < 0.8
    if not with_colour:
        groups = groups_of([SceneObject(t.name, None, False, t.box) for t in scene.objects])
    rng.shuffle(groups)
    phrases = [noun_phrase(group, language, rng) for group in groups]
    text = _joined(phrases, language)
    colour = scene.background.colour
    if language == "zh":
        behind = f"{COLOUR_ZH[colour]}背景上" if colour and rng.random() < 0.5 else ""
        if behind:
            return rng.choice((f"{behind}有{text}。", f"{behind}的{text}。"))
        return rng.choice((f"图中有{text}。", f"{text}。", f"有{text}。", f"图片里有{text}。"))
    background = shown_colour(colour, rng)
    behind = f" on {article(background)} background" if background and rng.random() < 0.5 else ""
    verb = "is" if groups[0].count == 1 else "are"
    forms = (f"{text}{behind}.", f"There {verb} {text}{behind}.", f"A picture of {text}{behind}.")
    sentence = rng.choice(forms)
    return sentence[0].upper() + sentence[1:]


def _relation_caption(scene: Scene, language: str, rng: random.Random) -> str | None:
    single = [thing for thing in scene.objects if len(scene.of(thing.name.en)) == 1]
    if len(single) < 2:
        return None
    first, second = rng.sample(single, 2)
    relations = sorted(relation_of(first, second))
    if not relations:
        return None
    relation = rng.choice(relations)
    with_colour = rng.random() < 0.6
    one, two = (
        noun_phrase(Group(t.name, t.colour, 1), language, rng, with_colour=with_colour)
        for t in (first, second)
    )
    if language == "zh":
        words = rng.choice(RELATION_ZH[relation])
        return rng.choice((f"{one}在{two}的{words}。", f"{two}的{words}有{one}。"))
    words = rng.choice(RELATION_EN[relation])
    sentence = rng.choice(
        (f"{one} {words} {two}.", f"{one} is {words} {two}.", f"There is {one} {words} {two}.")
    )
    return sentence[0].upper() + sentence[1:]
