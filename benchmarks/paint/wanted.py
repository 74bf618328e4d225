"""What is to be painted: names, names with colours, two things in relation, three things; by fixed seeds.

Half of the colours were never seen on their thing, and half of the relations never between their things,
by the rules that training leaves out (`recipes.scenes.stock`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from localgpt.media.text.prompts import clean_prompt
from recipes.paint_data.composing import Thing, allowed_colours
from recipes.paint_data.prompts import name_prompt
from recipes.scenes.captions import RELATION_EN, RELATION_ZH
from recipes.scenes.render import RELATIONS
from recipes.scenes.stock import is_held_out_colour, is_held_out_relation
from recipes.vision_data.icons import NamedIcon

_TRIES = 200_000  # a set of few icons may have no relation that is held out

__all__ = ["Wanted", "wanted_colours", "wanted_objects", "wanted_relations", "wanted_rows"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prompt and what must be seen.

    Args:
        prompts: by language.
        things: with the colour that each must have; one for the sets of single things.
        relations: number of a thing, number of another, and how the first stands to the second.
        is_new: whether training left it out.
    """

    prompts: dict[str, str]
    things: tuple[Thing, ...]
    relations: tuple[tuple[int, int, str], ...] = ()
    is_new: bool = False


def wanted_objects(icons: list[NamedIcon], num: int = 200, *, seed: int = 11) -> list[Wanted]:
    """Names of the whole set, in their own colours."""
    chosen = random.Random(seed).sample(icons, min(num, len(icons)))
    return [_wanted(Thing(named)) for named in chosen]


def wanted_colours(icons: list[NamedIcon], num: int = 100, *, seed: int = 12) -> list[Wanted]:
    """Things in colours that are not their own, half of them new."""
    pairs = [(named, colour) for named in icons for colour in allowed_colours(named, split="val")]
    random.Random(seed).shuffle(pairs)
    found = []
    for is_new in (True, False):
        some = [pair for pair in pairs if is_held_out_colour(pair[0].name.en, pair[1]) == is_new]
        found += [_wanted(Thing(*pair), is_new=is_new) for pair in some[: num // 2]]
    return found


def wanted_relations(icons: list[NamedIcon], num: int = 200, *, seed: int = 13) -> list[Wanted]:
    """Two things that can be told apart by their names, half of the relations new between them."""
    rng, able = random.Random(seed), [named for named in icons if named.can_be_painted]
    found: list[Wanted] = []
    for is_new in (True, False):
        some: list[Wanted] = []
        for number in range(_TRIES):
            if len(some) == num // 2:
                break
            first, second = (Thing(named) for named in rng.sample(able, 2))
            relation = RELATIONS[number % len(RELATIONS)]
            is_held_out = is_held_out_relation(first.noun, second.noun, relation)
            if is_held_out == is_new and _group(first) != _group(second):
                some.append(_related(first, second, relation, rng, is_new=is_new))
        found += some
    return found


def wanted_rows(icons: list[NamedIcon], num: int = 100, *, seed: int = 14) -> list[Wanted]:
    """Three things from left to right."""
    rng, able = random.Random(seed), [named for named in icons if named.can_be_painted]
    found: list[Wanted] = []
    while len(found) < num:
        things = tuple(Thing(named) for named in rng.sample(able, 3))
        if len({_group(thing) for thing in things}) < len(things):
            continue
        en, zh = ([name_prompt(thing, language) for thing in things] for language in ("en", "zh"))
        prompts = {
            "en": f"{en[0]}, {en[1]} and {en[2]} from left to right",
            "zh": f"从左到右是{zh[0]}、{zh[1]}和{zh[2]}",
        }
        found.append(Wanted(prompts, things, ((0, 1, "left"), (1, 2, "left"))))
    return found


def _wanted(thing: Thing, *, is_new: bool = False) -> Wanted:
    return Wanted({language: name_prompt(thing, language) for language in ("en", "zh")}, (thing,), (), is_new)


def _related(first: Thing, second: Thing, relation: str, rng: random.Random, *, is_new: bool) -> Wanted:
    (en_1, en_2), (zh_1, zh_2) = ([name_prompt(t, lang) for t in (first, second)] for lang in ("en", "zh"))
    prompts = {
        "en": clean_prompt(f"{en_1} {rng.choice(RELATION_EN[relation])} {en_2}"),
        "zh": clean_prompt(f"{zh_1}在{zh_2}的{rng.choice(RELATION_ZH[relation])}"),
    }
    return Wanted(prompts, (first, second), ((0, 1, relation),), is_new)


def _group(thing: Thing) -> str:
    return thing.named.name.group or thing.noun
