"""What people would type to get a composition, in English and Chinese: always the whole truth about it."""

from __future__ import annotations

import random

from localgpt.media.text.prompts import clean_prompt
from recipes.paint_data.composing import Composition, Thing
from recipes.scenes.captions import RELATION_EN, RELATION_ZH, article, number_zh, shown_colour
from recipes.scenes.vocabulary import COLOUR_ZH, NUMBERS_EN, plural

__all__ = ["name_prompt", "photo_prompts", "prompts_of", "thing_words"]

_FORMS = {
    "en": ("{p}", "{p}", "{p}", "{p}", "a picture of {p}", "an icon of {p}", "draw {p}", "a drawing of {p}"),
    "zh": ("{p}", "{p}", "{p}", "{p}", "{p}的图片", "画{p}", "图中有{p}", "{p}的图标"),
}
_BARE_SHARE = 0.25  # of single things that are called without article or number
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def prompts_of(made: Composition, language: str, rng: random.Random, *, number: int = 3) -> list[str]:
    """Some prompts for one composition, each in the one form that is read (`clean_prompt`)."""
    return [_prompt(made, language, rng) for _ in range(number)]


def name_prompt(thing: Thing, language: str) -> str:
    """The plainest prompt for one thing: "a red apple", "一个红色的苹果"."""
    return clean_prompt(thing_words(thing, language, random.Random(0)))


def thing_words(thing: Thing, language: str, rng: random.Random, *, count: int = 1) -> str:
    """A thing with its number and its colour, where that is not its own or for once is told all the same."""
    named = thing.named
    colour = thing.colour or (named.icon.colour if named.can_be_painted and rng.random() < 0.25 else None)
    if language == "zh":
        painted = f"{COLOUR_ZH[colour]}的" if colour else ""
        return number_zh(count, named.icon.name.measure) + painted + (named.name.zh or named.name.en)
    shown = shown_colour(colour, rng)
    noun = named.name.en if count == 1 else plural(named.name.en)
    words = f"{shown} {noun}" if shown else noun
    if count > 1:
        return f"{NUMBERS_EN[count]} {words}"
    return article(words) if named.name.is_counted else words


def photo_prompts(captions: list[str], language: str, rng: random.Random, *, number: int = 3) -> list[str]:
    """Prompts for a photograph: they say that it is one, since all else is painted on white."""
    some = [captions[rng.randrange(len(captions))] for _ in range(number)]
    form = "照片：{c}" if language == "zh" else "a photo of {c}"
    return [clean_prompt(form.format(c=clean_prompt(text))) for text in some]


def _prompt(made: Composition, language: str, rng: random.Random) -> str:
    first = made.things[0]
    if made.kind == "two":
        words = _relation(made, language, rng)
    elif made.kind == "count":
        words = thing_words(first, language, rng, count=len(made.things))
    elif made.kind == "one":
        words = _one(first, language, rng)
    else:
        words = _three(made, language, rng)
    told = _with_backdrop(words, made.behind, language, rng)
    is_plain = made.kind in ("one", "count")
    return clean_prompt((rng.choice(_FORMS[language]) if is_plain else "{p}").format(p=told))


def _one(thing: Thing, language: str, rng: random.Random) -> str:
    if rng.random() >= _BARE_SHARE:
        return thing_words(thing, language, rng)
    if language == "zh":
        colour = f"{COLOUR_ZH[thing.colour]}的" if thing.colour else ""
        return colour + (thing.named.name.zh or thing.noun)
    return f"{shown_colour(thing.colour, rng)} {thing.noun}" if thing.colour else thing.noun


def _relation(made: Composition, language: str, rng: random.Random) -> str:
    first, second, relation = *made.things, made.relation
    if rng.random() < 0.5:
        first, second, relation = second, first, _OPPOSITE[relation]
    one, two = (thing_words(thing, language, rng) for thing in (first, second))
    if language == "zh":
        words = rng.choice(RELATION_ZH[relation])
        return f"{one}在{two}的{words}" if rng.random() < 0.7 else f"{two}的{words}有{one}"
    verb = "is " if rng.random() < 0.15 else ""
    return f"{one} {verb}{rng.choice(RELATION_EN[relation])} {two}"


def _three(made: Composition, language: str, rng: random.Random) -> str:
    words = [thing_words(thing, language, rng) for thing in made.things]
    if made.kind == "corner" and language == "en":
        level, upright = rng.choice(RELATION_EN["left"]), rng.choice(RELATION_EN["above"])
        return f"{words[0]} {level} {words[1]} and {upright} {words[2]}"
    if language == "zh":
        listed = f"{words[0]}、{words[1]}和{words[2]}"
        return f"从左到右是{listed}" if made.kind == "row" else listed
    listed = f"{words[0]}, {words[1]} and {words[2]}"
    return f"{listed} from left to right"


def _with_backdrop(words: str, behind: str, language: str, rng: random.Random) -> str:
    """The words with what is behind; white is told now and then."""
    if not behind and rng.random() < 0.9:
        return words
    if language == "zh":
        name = {"": "白色", "gradient": "渐变", "photograph": "照片"}.get(behind) or COLOUR_ZH[behind]
        return f"{name}背景上有{words}" if rng.random() < 0.4 else f"{name}背景上的{words}"
    name = {"": "white", "gradient": "gradient", "photograph": "photo"}.get(behind) or shown_colour(
        behind, rng
    )
    return f"{words} on {article(str(name))} background"
