"""Single icons in many sizes, places, colours and on many backgrounds: all icons of the set with their names."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.scenes.captions import article
from recipes.scenes.icons import Icon
from recipes.scenes.questions import Turn
from recipes.scenes.render import SIZE, draw_background
from recipes.scenes.stock import Stock, is_held_out_colour
from recipes.scenes.vocabulary import COLOUR_ZH, IconName, icon_names
from recipes.scenes.wordings import draw_wording
from recipes.vision_data.label_questions import label_captions, label_turns
from recipes.vision_data.labels import LabelName
from recipes.vision_data.packs import PicturePack

__all__ = ["NamedIcon", "icon_sample", "load_icons"]

_UNCOUNTED = (
    "skis",
    "glasses",
    "jeans",
    "shorts",
    "socks",
    "gloves",
    "scissors",
    "lungs",
    "fireworks",
    "beans",
)
_BARE_STARTS = ("o clock", "thirty", "keycap", "japanese", "input", "person ", "woman ", "man ", "people ")


@dataclass(frozen=True, slots=True)
class NamedIcon:
    """A cut-out with its name: short nouns of the scene vocabulary where there is one, else the set's own name."""

    icon: Icon
    name: LabelName
    keywords: tuple[str, ...]


def load_icons(pack: PicturePack, numbers: list[int]) -> list[NamedIcon]:
    """Cut out the icons of some rows of the set."""
    vocabulary = {name.icon: name for name in icon_names()}
    found = []
    for number in numbers:
        row = pack.rows[number]
        name = vocabulary.get(row["name"]) or _icon_name(row)
        pixels = np.asarray(Image.open(io.BytesIO(pack.coded(number))).convert("RGB"))
        label = LabelName(name.en, name.zh, _is_counted(name.en), name.group)
        found.append(NamedIcon(Icon.from_picture(name, pixels), label, tuple(row.get("keywords") or ())))
    return found


def _icon_name(row: dict[str, Any]) -> IconName:
    return IconName(
        row["name"], row["name"], row["name_zh"].replace(": ", ""), "个", row["name"].split()[-1], False
    )


def _is_counted(name: str) -> bool:
    last = name.split()[-1]
    plural = last.endswith("s") and not last.endswith(("ss", "us", "is", "rus"))
    return (
        not plural
        and not name.startswith(_BARE_STARTS)
        and not name.endswith(("clock", "thirty", "fog", "ice"))
    )


def icon_sample(
    named: NamedIcon, others: list[LabelName], stock: Stock, rng: random.Random
) -> tuple[NDArray[np.uint8], dict[str, list[str]], list[Turn]]:
    """One picture of one icon: pixels (192, 192, 3), captions and turns; never a held-out colour."""
    background, canvas = draw_background(rng, stock)
    colours = [
        c for c in named.icon.colours
        if c not in (named.icon.colour, background.colour) and not is_held_out_colour(named.name.en, c)
    ]  # fmt: skip
    colour = rng.choice(colours) if colours and rng.random() < 0.3 else None
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
    turns = label_turns(named.name, others, rng)
    known = colour or named.icon.colour
    if known:
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
