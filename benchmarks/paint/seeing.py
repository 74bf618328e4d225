"""What is seen in a painted picture: things cut from the white ground and named, their colours, their places.

A thing counts as recognised when the judge's first of all names is its own (equal names are one). A colour
counts when the thing is recognised, has at least `SHARE` of it, by hue, of what the icon has that is really
painted so, more of it than the icon has by nature, and no more of any colour that does not belong there. A
relation counts when both things
are recognised in different parts of the picture and the middles of their pixels lie on the right side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.paint.wanted import Wanted
from recipes.judge_model import JudgeNetwork
from recipes.paint_data.composing import Thing
from recipes.scenes.icons import name_colours
from recipes.scenes.vocabulary import COLOURS

__all__ = ["SHARE", "Eye", "Seen", "parts_of"]

SHARE = 0.5  # of a colour, of what the icon has that is really painted so
_GROUND = 238  # a pixel whose channels all reach this is ground
_GRID = 96  # parts are told apart at this size
_LEAST_PART = 0.004  # of the picture; what is smaller belongs to no thing of its own
_LEAST_STEP = 0.04  # of the picture's side, between two middles
_MOST_PARTS = 5
_MARGIN = 0.06
_BELONGS = 0.15  # a colour with this share of an icon belongs to it
_MORE = 0.05  # of an icon, than it has of the colour by nature

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found: which of the wanted things were recognised, right colours and places."""

    recognised: tuple[bool, ...]
    has_colours: bool
    has_places: bool

    @property
    def is_right(self) -> bool:
        """All that was wanted."""
        return all(self.recognised) and self.has_colours and self.has_places


class Eye:
    """Looks at pictures.

    Args:
        judge: names things.
        device: where.
    """

    def __init__(self, judge: JudgeNetwork, device: str) -> None:
        self._judge, self._device = judge, device
        names = judge.config.names
        self._rows = {name: [i for i, other in enumerate(names) if other == name] for name in set(names)}

    def look(self, picture: Picture, wanted: Wanted) -> Seen:
        """Judge one picture, (H, W, 3)."""
        mask = ground_mask(picture)
        if not mask.any():
            return Seen((False,) * len(wanted.things), has_colours=False, has_places=False)
        if len(wanted.things) == 1:
            return self._look_at_one(picture, mask, wanted.things[0])
        return self._look_at_several(picture, mask, wanted)

    def name(self, picture: Picture, masks: Sequence[Mask]) -> NDArray[np.float32]:
        """Probability of every name, for each part of a picture: (N, names)."""
        size = self._judge.config.size
        crops = np.stack([crop_of(picture, mask, size) for mask in masks])
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float().to(self._device) / 127.5 - 1
        with torch.no_grad():
            found: NDArray[np.float32] = self._judge(pixels).float().softmax(dim=1).cpu().numpy()
        return found

    def _is(self, probabilities: NDArray[np.float32], noun: str) -> bool:
        return int(probabilities.argmax()) in self._rows.get(noun, [])

    def _look_at_one(self, picture: Picture, mask: Mask, thing: Thing) -> Seen:
        recognised = self._is(self.name(picture, [mask])[0], thing.noun)
        has_colour = thing.colour is None or has_colour_of(picture[mask], thing)
        return Seen((recognised,), has_colour, has_places=True)

    def _look_at_several(self, picture: Picture, mask: Mask, wanted: Wanted) -> Seen:
        parts = parts_of(mask)
        probabilities = self.name(picture, parts)
        right = [
            [number for number in range(len(parts)) if self._is(probabilities[number], thing.noun)]
            for thing in wanted.things
        ]
        recognised = tuple(bool(some) for some in right)
        has_places = False
        for chosen in itertools.product(*right):
            apart = all(not (parts[a] & parts[b]).any() for a, b in itertools.combinations(chosen, 2))
            middles = [middle_of(parts[number]) for number in chosen]
            has_places |= apart and all(
                stands(middles[a], middles[b], relation) for a, b, relation in wanted.relations
            )
        return Seen(recognised, has_colours=True, has_places=has_places)


def ground_mask(picture: Picture) -> Mask:
    """True where something is painted, (H, W)."""
    mask: Mask = picture.min(axis=2) < _GROUND
    return mask


def parts_of(mask: Mask) -> list[Mask]:
    """Parts that may be one thing: what hangs together, pairs of that, and halves where things touch."""
    height, width = mask.shape
    small = np.asarray(Image.fromarray(mask).resize((_GRID, _GRID), Image.Resampling.NEAREST))
    pieces = [piece for piece in _pieces(small) if piece.mean() >= _LEAST_PART]
    pieces = sorted(pieces, key=lambda piece: -int(piece.sum()))[:_MOST_PARTS]
    found = list(pieces)
    found += [a | b for a, b in itertools.combinations(pieces, 2)]
    for axis in (0, 1):
        lines = small.sum(axis=1 - axis)
        near, far = int(0.3 * _GRID), int(0.7 * _GRID)
        cut = near + int(lines[near:far].argmin())
        for side in (slice(None, cut), slice(cut, None)):
            half = np.zeros_like(small)
            half[(side, slice(None)) if axis == 0 else (slice(None), side)] = True
            found.append(small & half)
    unique = {piece.tobytes(): piece for piece in found if piece.mean() >= _LEAST_PART}
    if not unique:
        return [mask]
    size = (width, height)
    whole = [
        np.asarray(Image.fromarray(piece).resize(size, Image.Resampling.NEAREST)) for piece in unique.values()
    ]
    return [piece & mask for piece in whole]


def crop_of(picture: Picture, mask: Mask, size: int) -> Picture:
    """A part alone on white, in the middle of a square, (size, size, 3)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.full((size, size, 3), 255, dtype=np.uint8)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = np.where(mask[box][..., None], picture[box], 255).astype(np.uint8)
    side = max(part.shape[:2])
    canvas = Image.new("RGB", (round(side * (1 + 2 * _MARGIN)),) * 2, (255, 255, 255))
    spot = tuple((canvas.width - length) // 2 for length in (part.shape[1], part.shape[0]))
    canvas.paste(Image.fromarray(part), spot)  # type: ignore[arg-type]
    return np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR))


def has_colour_of(pixels: Picture, thing: Thing) -> bool:
    """Whether the pixels (N, 3) of a thing have the colour it was asked for."""
    assert thing.colour is not None
    level = thing.named.icon.levels[-1]
    painted = level.painted(thing.colour)
    real = colour_shares(painted[painted[..., 3] > 200][:, :3])
    natural = colour_shares(level.rgba[level.rgba[..., 3] > 200][:, :3])
    shares = colour_shares(pixels)
    wanted = shares[thing.colour]
    # Eyes, wheels and shadows stay as they are; what the really painted icon lacks must not prevail.
    others = [share for name, share in shares.items() if name != thing.colour and real[name] < _BELONGS]
    least = max(SHARE * real[thing.colour], natural[thing.colour] + _MORE)
    return wanted >= max([least, *others])


def colour_shares(pixels: Picture) -> dict[str, float]:
    """Share of each named colour of pixels (N, 3)."""
    numbers = name_colours(pixels)
    return {
        name: float((numbers == number).mean()) if len(pixels) else 0.0 for number, name in enumerate(COLOURS)
    }


def middle_of(mask: Mask) -> tuple[float, float]:
    """Mean place of a part's pixels, x and y in 0..1."""
    rows, columns = np.nonzero(mask)
    return float(columns.mean()) / mask.shape[1], float(rows.mean()) / mask.shape[0]


def stands(first: tuple[float, float], second: tuple[float, float], relation: str) -> bool:
    """Whether one middle stands to another as it should."""
    axis = 0 if relation in ("left", "right") else 1
    step = second[axis] - first[axis]
    return (step if relation in ("left", "above") else -step) >= _LEAST_STEP


def _pieces(mask: Mask) -> list[Mask]:
    """What hangs together, gaps of one pixel bridged."""
    left = mask.copy()
    pieces = []
    while left.any():
        piece = np.zeros_like(mask)
        piece.flat[int(left.argmax())] = True
        while True:
            grown = _grown(_grown(piece)) & mask
            if grown.sum() == piece.sum():
                break
            piece = grown
        pieces.append(piece)
        left &= ~piece
    return pieces


def _grown(mask: Mask) -> Mask:
    padded = np.pad(mask, 1)
    shifts = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
    return np.logical_or.reduce(shifts)
