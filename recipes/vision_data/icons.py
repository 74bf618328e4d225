"""Single icons in many sizes, places, colours and on many backgrounds: the whole set with its names."""

from __future__ import annotations

import io
import random
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.scenes.captions import article
from recipes.scenes.icons import Icon
from recipes.scenes.render import SIZE, draw_background
from recipes.scenes.stock import Stock, is_held_out_colour
from recipes.scenes.turns import Turn
from recipes.scenes.vocabulary import COLOUR_ZH, IconName, icon_names
from recipes.scenes.wordings import draw_wording
from recipes.vision_data.label_questions import label_captions, label_turns
from recipes.vision_data.labels import LabelName
from recipes.vision_data.packs import PicturePack

__all__ = ["NamedIcon", "icon_sample", "load_icons"]

_MASS_WORDS = (
    "fog foggy ice rice popcorn bacon butter salt garlic bread fire snow rain water om zzz dna infinity "
    "sushi mate camping volleyball badminton spaghetti broccoli money wood tea yarn thread sake dango oden "
    "falafel"
)
_MASS = frozenset(_MASS_WORDS.split())
_HEAD_ENDS = (
    " with ",
    " in ",
    " at ",
    " behind ",
    " of ",
    " under ",
    " on ",
    " without ",
    " from ",
    " up",
    " down",
)
_BARE_STARTS = ("women ", "men ", "people ", "no ", "night ", "sunrise", "sunset", "input ", "bust")


@dataclass(frozen=True, slots=True)
class NamedIcon:
    """A cut-out with its name: the noun of the scene vocabulary where there is one, else the set's own."""

    icon: Icon
    name: LabelName
    keywords: dict[str, tuple[str, ...]]
    can_be_painted: bool


def load_icons(pack: PicturePack, numbers: list[int]) -> list[NamedIcon]:
    """Cut out the icons of some rows of the set."""
    vocabulary = {name.icon: name for name in icon_names()}
    found = []
    for number in numbers:
        row = pack.rows[number]
        name = vocabulary.get(row["name"]) or _icon_name(row)
        pixels = np.asarray(Image.open(io.BytesIO(pack.coded(number))).convert("RGB"))
        label = LabelName(name.en, name.zh, _is_counted(name.en), name.group)
        words = {"en": tuple(row.get("keywords") or ()), "zh": tuple(row.get("keywords_zh") or ())}
        found.append(NamedIcon(Icon.from_picture(name, pixels), label, words, row["name"] in vocabulary))
    return found


def _icon_name(row: dict[str, Any]) -> IconName:
    english, chinese = row["name"], row["name_zh"].replace(": ", "")
    english = re.sub(r"\b(woman|women|man|men|worker) s\b", r"\1's", english)
    english = re.sub(r"\b(woman|man|person) (\w+ hair|beard)$", r"\1 with \2", english)
    english = re.sub(r"^(woman|man|person) bald$", r"bald \1", english).replace("japan", "Japan")
    words = english.split()
    if english.endswith("o clock"):
        english, chinese = f"clock at {words[0]} o'clock", f"{chinese}的时钟"
    elif len(words) == 2 and words[1] == "thirty":
        english, chinese = f"clock at half past {words[0]}", f"{chinese}的时钟"
    elif "face" in words and not set(chinese) & set("脸头表"):
        chinese = f"{chinese}的表情"
    return IconName(row["name"], english, chinese, "个", _head(english).split()[-1], False)


def _head(name: str) -> str:
    """The name up to what follows its noun: "kissing face" of "kissing face with smiling eyes"."""
    ends = [place for place in (name.find(end) for end in _HEAD_ENDS) if place > 0]
    return name[: min(ends)] if ends else name


def _is_counted(name: str) -> bool:
    if name.startswith(("woman ", "man ", "person ")):
        return True
    last = _head(name).split()[-1]
    is_plural = last.endswith("s") and not last.endswith(("ss", "us", "is", "rus"))
    return not is_plural and last not in _MASS and not name.startswith(_BARE_STARTS)


def icon_sample(
    named: NamedIcon, others: list[LabelName], stock: Stock, rng: random.Random
) -> tuple[NDArray[np.uint8], dict[str, list[str]], list[Turn]]:
    """One picture of one icon: pixels (192, 192, 3), captions and turns; never a held-out colour."""
    background, canvas = draw_background(rng, stock)
    colours = [
        c for c in named.icon.colours
        if c not in (named.icon.colour, background.colour) and not is_held_out_colour(named.name.en, c)
    ]  # fmt: skip
    colour = rng.choice(colours) if colours and named.can_be_painted and rng.random() < 0.4 else None
    size = rng.randint(64, 184)
    cut = named.icon.picture(colour, size)
    scale = size / max(cut.size)
    cut = cut.resize(
        (max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.BILINEAR
    )
    cut = cut.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR) if rng.random() < 0.2 else cut
    cut = cut.convert("RGBA")
    spot = (rng.randint(0, max(0, SIZE - cut.width)), rng.randint(0, max(0, SIZE - cut.height)))
    canvas.paste(cut, spot, cut.getchannel("A"))
    captions = label_captions(named.name, rng, kind="icon")
    for language, words in named.keywords.items():
        if words:
            some = rng.sample(words, min(3, len(words)))
            listed = (
                f"{named.name.zh}：{'、'.join(some)}。"
                if language == "zh"
                else f"{captions['en'][0][:-1]}: {', '.join(some)}."
            )
            captions[language].append(listed)
    turns = label_turns(named.name, others, rng, kind="icon")
    known = colour or named.icon.colour
    if known and named.can_be_painted:
        phrase = f"{known} {named.name.en}"
        phrase = article(phrase) if named.name.is_counted else phrase
        captions["en"].append(f"{phrase[0].upper()}{phrase[1:]}.")
        captions["zh"].append(f"{COLOUR_ZH[known]}的{named.name.zh}。")
        turns += _colour_turns(named.name, known, rng)
    return np.asarray(canvas), captions, turns


def _colour_turns(name: LabelName, colour: str, rng: random.Random) -> list[Turn]:
    turns = []
    for language in ("en", "zh"):
        wording, wants_word = draw_wording(rng, "colour", language)
        chinese = language == "zh"
        slots = {"a": name.zh if chinese else name.en, "m": "个", "colour": rng.choice(("colour", "color"))}
        question = wording.format(**slots)
        question = question[0].upper() + question[1:] if question.startswith("col") else question
        sentence = f"{name.zh}是{COLOUR_ZH[colour]}的。" if chinese else f"The {name.en} is {colour}."
        word = COLOUR_ZH[colour] if chinese else colour.capitalize()
        turns.append(Turn("colour", language, question, word if wants_word else sentence, (word,)))
    return turns
