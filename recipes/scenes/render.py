"""The scene renderer: icons on a background, with exact boxes, colours and relations.

A scene depends on nothing but its random numbers, its split and the stock. Training scenes never show a
held-out (noun, colour) or (noun, noun, relation); held-out scenes show them often.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.scenes.icons import Icon, name_colours
from recipes.scenes.stock import Stock, is_held_out_colour, is_held_out_relation
from recipes.scenes.vocabulary import COLOURS, IconName

__all__ = [
    "KINDS",
    "RELATIONS",
    "SIZE",
    "Background",
    "Scene",
    "SceneObject",
    "draw_background",
    "relation_of",
    "render_scene",
]

SIZE = 192
RELATIONS = ("left", "right", "above", "below")
MIN_SIDE = 34  # pixels of the longer side; nothing smaller can be named
KINDS = {"single": 10, "colour": 22, "count": 20, "groups": 14, "relation": 20, "mixed": 14}
_ALPHA = 96  # an object reaches as far as its alpha is above this
_CLEAR = 14  # pixels between two middles before one counts as left of or above the other
_TRIES = 40


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One icon in a scene.

    Args:
        name: how it is called.
        colour: its colour name, where that is clear.
        is_painted: whether the colour is not the icon's own.
        box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
    """

    name: IconName
    colour: str | None
    is_painted: bool
    box: tuple[int, int, int, int]

    @property
    def middle(self) -> tuple[float, float]:
        """Middle of the box, (x, y)."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> int:
        """Area of the box in pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Background:
    """What is behind the objects: `kind` "plain", "gradient" or "photograph"; `colour` of a plain one."""

    kind: str
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and all that is known about it: `pixels` is (192, 192, 3) uint8; `kind` is one of `KINDS`."""

    pixels: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    background: Background
    kind: str

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each English noun."""
        return dict(Counter(thing.name.en for thing in self.objects))

    def of(self, noun: str) -> list[SceneObject]:
        """The objects of one English noun."""
        return [thing for thing in self.objects if thing.name.en == noun]


def relation_of(first: SceneObject, second: SceneObject) -> frozenset[str]:
    """In which of `RELATIONS` the first object clearly stands to the second: one for each axis at most."""
    return _relations(first.box, second.box)


def _relations(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> frozenset[str]:
    found = []
    for axis, (before, after) in enumerate((("left", "right"), ("above", "below"))):
        distance = (second[axis] + second[axis + 2] - first[axis] - first[axis + 2]) / 2
        sides = first[axis + 2] - first[axis] + second[axis + 2] - second[axis]
        if abs(distance) > max(_CLEAR, 0.3 * sides):
            found.append(before if distance > 0 else after)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An object to place: `size` is its longer side in pixels."""

    icon: Icon
    colour: str | None
    size: int

    @property
    def known_colour(self) -> str | None:
        return self.colour or self.icon.colour


def render_scene(rng: random.Random, stock: Stock, *, split: str = "train", kind: str | None = None) -> Scene:
    """Draw one scene.

    Args:
        rng: decides everything; the same state gives the same scene.
        stock: icons and photographs of the split.
        split: "train" leaves out what is held out; "val" prefers it.
        kind: one of `KINDS`; drawn by their weights where none is given.
    """
    kind = kind or rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    while True:
        background, canvas = draw_background(rng, stock)
        wanted = _Chooser(rng, stock, background, split).choose(kind)
        placed = _place(rng, wanted, stock, canvas, split=split, kind=kind)
        if placed and (kind != "relation" or len(placed) == 2):
            return Scene(np.asarray(canvas), tuple(placed), background, kind)


# Backgrounds


def draw_background(rng: random.Random, stock: Stock) -> tuple[Background, Image.Image]:
    """A plain, gradient or photographed background, and its (192, 192) picture."""
    draw = rng.random()
    if draw < 0.3 and stock.photographs:
        return Background("photograph"), _photograph(rng, stock)
    if draw < 0.55:
        return Background("gradient"), _gradient(rng)
    colour = rng.choice(list(COLOURS))
    for _ in range(20):
        rgb = _shade(rng, COLOURS[colour])
        if name_colours(np.array([rgb], dtype=np.uint8))[0] == list(COLOURS).index(colour):
            return Background("plain", colour), Image.new("RGB", (SIZE, SIZE), rgb)
    return Background("plain", colour), Image.new("RGB", (SIZE, SIZE), COLOURS[colour])


def _shade(rng: random.Random, base: tuple[int, int, int]) -> tuple[int, int, int]:
    """A neighbour of a colour: up to a third towards white or a fifth towards black, and a little noise."""
    mix = rng.uniform(-0.2, 0.34)
    end = 255 if mix > 0 else 0
    red, green, blue = (max(0, min(255, round(v + (end - v) * abs(mix) + rng.uniform(-9, 9)))) for v in base)
    return red, green, blue


def _gradient(rng: random.Random) -> Image.Image:
    first, second = (np.array([rng.uniform(0, 255) for _ in range(3)], dtype=np.float32) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    along = axis[None, :] * np.float32(np.cos(angle)) + axis[:, None] * np.float32(np.sin(angle))
    if rng.random() < 0.3:
        along = np.sqrt(axis[None, :] ** 2 + axis[:, None] ** 2) - np.float32(0.7)
    share = np.clip(along * np.float32(0.5) + np.float32(0.5), 0, 1)[..., None]
    return Image.fromarray((first + (second - first) * share).astype(np.uint8))


def _photograph(rng: random.Random, stock: Stock) -> Image.Image:
    pack = rng.choice(stock.photographs)
    picture = pack.picture(rng.randrange(len(pack.rows)))
    width, height = picture.size
    side = rng.uniform(0.6, 1.0)
    x, y = rng.uniform(0, width * (1 - side)), rng.uniform(0, height * (1 - side))
    box = (x, y, x + width * side, y + height * side)
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else picture


# Which objects


class _Chooser:
    """Draws the objects of a scene for one background."""

    def __init__(self, rng: random.Random, stock: Stock, background: Background, split: str) -> None:
        self.rng, self.stock, self.background, self.split = rng, stock, background, split

    def choose(self, kind: str) -> list[_Wanted]:
        rng = self.rng
        if kind == "single":
            return [self._thing(self._icon([]), 60, 150)]
        if kind == "count":
            number = rng.randint(1, 6)
            return self._group(self._icon([]), number, number)
        if kind == "groups":
            return self._groups()
        if kind == "relation":
            return self._several(2, 46, 84)
        if kind == "colour":
            return self._coloured(rng.randint(2, 4))
        return self._several(rng.randint(3, 5), 40, 62)

    def _icon(self, taken: list[Icon], *, paintable: bool = False) -> Icon:
        while True:
            icon = self.rng.choice(self.stock.icons)
            if self.background.kind == "photograph" and icon.name.is_common:
                continue
            if paintable and not icon.colours and self.rng.random() < 0.98:
                continue
            if all(icon.name.group != other.name.group for other in taken):
                return icon

    def _colour(self, icon: Icon, chance: float) -> str | None:
        """A colour to paint an icon with, or None to leave it: never hidden on the background."""
        rng = self.rng
        allowed = [
            c
            for c in icon.colours
            if c != icon.colour
            and c != self.background.colour
            and (self.split != "train" or not is_held_out_colour(icon.name.en, c))
            and self._shows(icon, c)
        ]
        if not allowed or (rng.random() >= chance and self._shows(icon, None)):
            return None
        held_out = [c for c in allowed if is_held_out_colour(icon.name.en, c)]
        return rng.choice(held_out if held_out and rng.random() < 0.5 else allowed)

    def _shows(self, icon: Icon, colour: str | None) -> bool:
        """Whether an icon stands out from a plain background."""
        if self.background.kind != "plain" or self.background.colour is None:
            return True
        if (colour or icon.colour) == self.background.colour:
            return False
        mean = self.stock.mean_colour(icon, colour)
        behind = COLOURS[self.background.colour]
        return sum((a - b) ** 2 for a, b in zip(mean, behind, strict=True)) > 70**2

    def _thing(self, icon: Icon, low: int, high: int, chance: float = 0.4) -> _Wanted:
        return _Wanted(icon, self._colour(icon, chance), self.rng.randint(low, high))

    def _group(self, icon: Icon, number: int, total: int) -> list[_Wanted]:
        """Some of one kind, near one size; all of one colour more often than not."""
        rng = self.rng
        high = {1: 120, 2: 84, 3: 68, 4: 58, 5: 52}.get(total, 46)
        size = rng.randint(max(MIN_SIDE, high // 2), high)
        colour = self._colour(icon, 0.35)
        mixed = rng.random() < 0.25
        return [
            _Wanted(
                icon,
                self._colour(icon, 0.8) if mixed else colour,
                max(MIN_SIDE, min(high, round(size * rng.uniform(0.85, 1.15)))),
            )
            for _ in range(number)
        ]

    def _groups(self) -> list[_Wanted]:
        rng = self.rng
        total = rng.randint(3, 7)
        first = rng.randint(1, total - 1)
        numbers = [first, total - first]
        if numbers[1] > 2 and rng.random() < 0.4:
            numbers = [first, 1, total - first - 1]
        icons: list[Icon] = []
        for _ in numbers:
            icons.append(self._icon(icons))
        return [w for icon, n in zip(icons, numbers, strict=True) for w in self._group(icon, n, total)]

    def _several(self, number: int, low: int, high: int) -> list[_Wanted]:
        icons: list[Icon] = []
        for _ in range(number):
            icons.append(self._icon(icons))
        return [self._thing(icon, low, high) for icon in icons]

    def _coloured(self, number: int) -> list[_Wanted]:
        rng = self.rng
        icons: list[Icon] = []
        for _ in range(number):
            icons.append(self._icon(icons, paintable=True))
        if rng.random() < 0.3:  # the same thing twice, so that the colour tells which
            icons[-1] = icons[0]
        return [self._thing(icon, 44, 100 - 10 * number, chance=0.85) for icon in icons]


# Where they stand


def _place(
    rng: random.Random, wanted: list[_Wanted], stock: Stock, canvas: Image.Image, *, split: str, kind: str
) -> list[SceneObject]:
    """Paste the objects that find room; the first always does."""
    placed: list[SceneObject] = []
    axis = rng.randrange(2) if kind == "relation" else None
    overlap = 0.06 if kind in ("colour", "mixed") else 0.0
    for want in sorted(wanted, key=lambda w: -w.size):
        cut = _transformed(rng, stock, want)
        inner = cut.getchannel("A").point(lambda v: 255 * (v > _ALPHA)).getbbox()
        if inner is None:
            continue
        shape = (inner[2] - inner[0], inner[3] - inner[1])
        spot = _free_spot(rng, shape, want, placed, (split, axis, overlap), _hides(stock, canvas, want))
        if spot is None:
            continue
        box = (spot[0], spot[1], spot[0] + inner[2] - inner[0], spot[1] + inner[3] - inner[1])
        canvas.paste(cut, (spot[0] - inner[0], spot[1] - inner[1]), cut.getchannel("A"))
        placed.append(SceneObject(want.icon.name, want.known_colour, want.colour is not None, box))
    return placed


def _transformed(rng: random.Random, stock: Stock, want: _Wanted) -> Image.Image:
    """The cut-out at its size, mirrored half the time and tilted a little now and then, RGBA."""
    cut = stock.cut_out(want.icon, want.colour, want.size)
    scale = want.size / max(cut.size)
    shape = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    cut = cut.resize(shape, Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.25:
        cut = cut.rotate(rng.uniform(-18, 18), Image.Resampling.BILINEAR, expand=True)
    return cut.convert("RGBA")


def _free_spot(
    rng: random.Random,
    shape: tuple[int, int],
    want: _Wanted,
    placed: list[SceneObject],
    rules: tuple[str, int | None, float],
    hides: Callable[[tuple[int, int, int, int]], bool],
) -> tuple[int, int] | None:
    """Top left corner where an object of `shape` (width, height) may stand; None when no try fits."""
    width, height = shape
    for attempt in range(_TRIES):
        x, y = rng.randint(0, max(0, SIZE - width)), rng.randint(0, max(0, SIZE - height))
        box = (x, y, x + width, y + height)
        if all(_may_stand(box, want, other, rules) for other in placed) and (attempt > 30 or not hides(box)):
            return x, y
    return None


def _hides(stock: Stock, canvas: Image.Image, want: _Wanted) -> Callable[[tuple[int, int, int, int]], bool]:
    """Tells whether the background in the middle of a box has nearly the colour of the object."""
    mean = stock.mean_colour(want.icon, want.colour)
    behind = np.asarray(canvas.resize((8, 8), Image.Resampling.BOX)).tolist()

    def hides(box: tuple[int, int, int, int]) -> bool:
        x, y = (box[0] + box[2]) * 4 // SIZE, (box[1] + box[3]) * 4 // SIZE
        there = behind[min(7, y)][min(7, x)]
        return bool(sum((a - b) ** 2 for a, b in zip(mean, there, strict=True)) < 55**2)

    return hides


def _may_stand(
    box: tuple[int, int, int, int], want: _Wanted, other: SceneObject, rules: tuple[str, int | None, float]
) -> bool:
    split, axis, overlap = rules
    across = min(box[2], other.box[2]) - max(box[0], other.box[0])
    down = min(box[3], other.box[3]) - max(box[1], other.box[1])
    if across > -2 and down > -2:
        smaller = min((box[2] - box[0]) * (box[3] - box[1]), other.area)
        if overlap == 0.0 or max(0, across) * max(0, down) > overlap * smaller:
            return False
    relations = _relations(box, other.box)
    if axis is not None and not (relations & frozenset(RELATIONS[2 * axis : 2 * axis + 2])):
        return False
    noun, second = want.icon.name.en, other.name.en
    return split != "train" or not any(is_held_out_relation(noun, second, r) for r in relations)
