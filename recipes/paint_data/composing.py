"""Compositions for the painter: one to four icons, where they stand, and what is behind them.

A composition depends on nothing but its random numbers, its split and the stock. What is behind the things
is white unless its prompts name it. Training never shows a held-out (noun, colour) or (noun, noun, relation).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.scenes.render import RELATIONS, SIZE, draw_background
from recipes.scenes.stock import Stock, is_held_out_colour, is_held_out_relation
from recipes.vision_data.icons import NamedIcon

__all__ = ["KINDS", "Composition", "Thing", "allowed_colours", "compose", "place_things"]

KINDS = {"one": 52, "two": 32, "row": 6, "corner": 4, "count": 6}
BEHIND = {"white": 68, "plain": 12, "gradient": 8, "photograph": 12}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_FAINT = 40  # of 255: what is left of an icon's white ground is not pasted
_APART = 14  # pixels that the middles of two related things may differ in the other direction


@dataclass(frozen=True, slots=True)
class Thing:
    """An icon of a composition.

    Args:
        named: the icon.
        colour: what it is painted in; None leaves it as it is.
        box: (x0, y0, x1, y1) in pixels of the picture.
    """

    named: NamedIcon
    colour: str | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def noun(self) -> str:
        """Its English name."""
        return self.named.name.en


@dataclass(frozen=True, slots=True)
class Composition:
    """A picture and what its prompts may say.

    Args:
        pixels: (192, 192, 3) uint8.
        kind: one of `KINDS`.
        things: in the order of their places: from left to right, from top to bottom, first the corner.
        relation: of the first thing to the second where they are two, else "".
        behind: a colour, "gradient" or "photograph"; "" for white.
    """

    pixels: NDArray[np.uint8]
    kind: str
    things: tuple[Thing, ...]
    relation: str
    behind: str


def allowed_colours(named: NamedIcon, *, split: str = "train") -> list[str]:
    """In what an icon may be painted."""
    if not named.can_be_painted:
        return []
    return [
        colour
        for colour in named.icon.colours
        if colour != named.icon.colour and (split != "train" or not is_held_out_colour(named.name.en, colour))
    ]


def compose(
    rng: random.Random, icons: list[NamedIcon], stock: Stock, *, split: str = "train", kind: str | None = None
) -> Composition:
    """Draw one composition.

    Args:
        rng: decides everything; the same state gives the same composition.
        icons: what there is; those that can be painted stand together more often.
        stock: photographs to stand before.
        split: "train" leaves out what is held out.
        kind: one of `KINDS`; drawn by their weights where none is given.
    """
    kind = kind or rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    behind, canvas = _backdrop(rng, stock)
    num = {"one": 1, "two": 2, "row": 3, "corner": 3, "count": rng.randint(2, 4)}[kind]
    relation = rng.choice(RELATIONS) if kind == "two" else ""
    while True:
        things = [_thing(rng, icons, behind, split, is_alone=kind == "one") for _ in range(num)]
        if kind == "count":
            things = [things[0]] * num
        if split != "train" or kind == "count" or _may_stand_together(things, kind, relation):
            break
    spots = _spots(rng, kind, num, relation)
    placed = [_paste(rng, canvas, thing, *spot) for thing, spot in zip(things, spots, strict=True)]
    return Composition(np.asarray(canvas), kind, tuple(placed), relation, behind)


def place_things(
    rng: random.Random, things: list[Thing], relations: list[tuple[int, int, str]]
) -> NDArray[np.uint8]:
    """Some things on white as they are wanted, (192, 192, 3): one, two in a relation, or a row.

    Args:
        rng: decides size and place.
        things: with their colours.
        relations: of two, the one of the first to the second.
    """
    canvas = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    kind = {1: "one", 2: "two"}.get(len(things), "row")
    spots = _spots(rng, kind, len(things), relations[0][2] if kind == "two" else "")
    for thing, spot in zip(things, spots, strict=True):
        _paste(rng, canvas, thing, *spot)
    return np.asarray(canvas)


def _backdrop(rng: random.Random, stock: Stock) -> tuple[str, Image.Image]:
    wanted = rng.choices(list(BEHIND), weights=list(BEHIND.values()))[0]
    if wanted == "white" or (wanted == "photograph" and not stock.photographs):
        return "", Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    while True:
        background, canvas = draw_background(rng, stock)
        if background.kind == wanted and background.colour != "white":
            return background.colour or wanted, canvas


def _thing(rng: random.Random, icons: list[NamedIcon], behind: str, split: str, *, is_alone: bool) -> Thing:
    while True:
        named = rng.choice(icons)
        if not is_alone and not named.can_be_painted and rng.random() < 0.9:
            continue
        colours = [colour for colour in allowed_colours(named, split=split) if colour != behind]
        if colours and rng.random() < (0.35 if is_alone else 0.55):
            return Thing(named, rng.choice(colours))
        if named.icon.colour != behind or not behind:
            return Thing(named)


def _may_stand_together(things: list[Thing], kind: str, relation: str) -> bool:
    """No two of one name, and none in a relation that is held out."""
    nouns = [thing.noun for thing in things]
    groups = [thing.named.name.group or thing.noun for thing in things]
    if len(set(groups)) < len(groups):
        return False
    pairs = {"two": [(0, 1, relation)], "row": [(0, 1, "left"), (1, 2, "left"), (0, 2, "left")]}.get(
        kind, [(0, 1, "left"), (0, 2, "above"), (2, 1, "left"), (1, 2, "above")] if kind == "corner" else []
    )
    return not any(is_held_out_relation(nouns[a], nouns[b], name) for a, b, name in pairs)


def _spots(rng: random.Random, kind: str, num: int, relation: str) -> list[tuple[float, float, int]]:
    """Middle x, middle y and longer side of each thing, in pixels."""
    if kind == "one":
        size = round(rng.triangular(84, 184, 164))
        free = (SIZE - size) / 2
        x, y = (SIZE / 2 + free * rng.uniform(-0.6, 0.6) for _ in range(2))
        return [(x, y, size)]
    if kind == "two":
        return _two_spots(rng, relation)
    size = rng.randint(50, 60) if num > 2 else rng.randint(64, 88)
    centre = SIZE / 2
    if kind == "corner":
        size, near, far = rng.randint(58, 78), SIZE * 0.27, SIZE * 0.73
        return [
            (x + _jitter(rng), y + _jitter(rng), size) for x, y in ((near, near), (far, near), (near, far))
        ]
    if num == 4:
        near, far, size = SIZE * 0.28, SIZE * 0.72, rng.randint(60, 82)
        grid = ((near, near), (far, near), (near, far), (far, far))
        return [(x + _jitter(rng), y + _jitter(rng), size) for x, y in grid]
    step = SIZE / num
    level = centre + rng.uniform(-30, 30)
    return [(step * (number + 0.5), level + _jitter(rng), size) for number in range(num)]


def _two_spots(rng: random.Random, relation: str) -> list[tuple[float, float, int]]:
    sizes = rng.randint(66, 92), rng.randint(66, 92)
    gap = rng.uniform(2, SIZE - sum(sizes) - 2)
    start = rng.uniform(1, SIZE - sum(sizes) - gap)
    along = (start + sizes[0] / 2, start + sizes[0] + gap + sizes[1] / 2)
    level = SIZE / 2 + rng.uniform(-34, 34)
    across = (level + rng.uniform(-_APART, _APART), level + rng.uniform(-_APART, _APART))
    spots = [(along[i], across[i], sizes[i]) for i in range(2)]
    if relation in ("above", "below"):
        spots = [(across[i], along[i], sizes[i]) for i in range(2)]
    return spots if relation in ("left", "above") else spots[::-1]


def _jitter(rng: random.Random) -> float:
    return rng.uniform(-6, 6)


def _paste(rng: random.Random, canvas: Image.Image, thing: Thing, x: float, y: float, size: int) -> Thing:
    """Put a thing on the canvas; gives it with its box."""
    cut = thing.named.icon.picture(thing.colour, size)
    scale = size / max(cut.size)
    shape = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    cut = cut.resize(shape, Image.Resampling.BICUBIC)
    if thing.named.can_be_painted:  # signs, clocks and letters stay as they are
        if rng.random() < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.2:
            cut = cut.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, expand=True)
    cut = cut.convert("RGBA")
    left = min(max(0, round(x - cut.width / 2)), max(0, SIZE - cut.width))
    top = min(max(0, round(y - cut.height / 2)), max(0, SIZE - cut.height))
    solid = cut.getchannel("A").point(lambda alpha: 0 if alpha < _FAINT else alpha)
    canvas.paste(cut, (left, top), solid)
    return replace(thing, box=(left, top, left + cut.width, top + cut.height))
