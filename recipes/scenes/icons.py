"""Icons on white become cut-outs: mask, sizes, natural colour, and recoloured versions.

Shape legend: H, W height and width of an icon; all pictures are uint8 RGB or RGBA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.scenes.vocabulary import COLOURS, NATURAL_COLOURS, SMALL_BODY, IconName

__all__ = ["Icon", "Level", "cut_out", "name_colours"]

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIZES = (192, 128, 88, 60)
_WHITE = 249  # every channel of the background reaches this in spite of lossy coding
_MIN_BODY = 0.62  # share of an icon that must change for it to count as recoloured
_MIN_SMALL_BODY = 0.3  # the same for things called by the colour of their body alone, as a car
_MIN_NATURAL = 0.4  # share of an icon that must have the colour it is said to have by nature
_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def cut_out(picture: Array) -> Array:
    """Alpha mask for an icon drawn on white.

    Args:
        picture: (H, W, 3); white that touches the border, and larger areas of pure white, become transparent.

    Returns:
        (H, W, 4), cropped to the icon, with a soft edge whose colours come from inside.
    """
    white = picture.min(axis=2) >= _WHITE
    outside = _flood(white) | _large_holes(picture.min(axis=2))
    inside = ~outside
    solid = _shrink(inside)
    colours = _bleed(picture, solid)
    alpha = _blur(inside.astype(np.float32))
    alpha = np.clip((alpha - 0.35) / 0.6, 0, 1) * inside
    rgba = np.dstack([colours, (alpha * 255).round().astype(np.uint8)])
    rows, columns = np.flatnonzero(alpha.max(axis=1) > 0.1), np.flatnonzero(alpha.max(axis=0) > 0.1)
    if not len(rows):
        return rgba
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _neighbours(mask: NDArray[np.bool_], *, outside: bool) -> list[NDArray[np.bool_]]:
    padded = np.pad(mask, 1, constant_values=outside)
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def _flood(white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """White pixels connected to the border."""
    seed = np.zeros_like(white)
    seed[0], seed[-1], seed[:, 0], seed[:, -1] = white[0], white[-1], white[:, 0], white[:, -1]
    return _spread(seed, white)


def _large_holes(lowest: Array) -> NDArray[np.bool_]:
    """Pure white areas at least seven pixels wide with a sharp edge, such as the inside of a handle."""
    pure = lowest >= 254
    core = pure
    for _ in range(3):
        core = _shrink(core)
    left = core.copy()
    holes = np.zeros_like(pure)
    while left.any():
        seed = np.zeros_like(pure)
        seed.flat[int(left.argmax())] = True
        area = _spread(seed, pure)
        left &= ~area
        ring = area
        for _ in range(3):
            ring = np.logical_or.reduce(_neighbours(ring, outside=False)) | ring
        if np.median(lowest[ring & ~area]) < 225:  # a highlight fades out instead
            holes |= area
    return holes


def _spread(seed: NDArray[np.bool_], within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All pixels of `within` connected to the seed."""
    while True:
        grown = (np.logical_or.reduce(_neighbours(seed, outside=False)) | seed) & within
        if grown.sum() == seed.sum():
            return seed
        seed = grown


def _shrink(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce(_neighbours(mask, outside=False)) & mask)


def _bleed(picture: Array, solid: NDArray[np.bool_]) -> Array:
    """Colours of solid pixels, spread four pixels outwards."""
    colours = picture.astype(np.float32) * solid[..., None]
    known = solid.astype(np.float32)
    for _ in range(4):
        total = np.zeros_like(colours)
        count = np.zeros_like(known)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                total += np.roll(colours, (dy, dx), axis=(0, 1))
                count += np.roll(known, (dy, dx), axis=(0, 1))
        new = (known == 0) & (count > 0)
        colours[new] = total[new] / count[new][:, None]
        known[new] = 1
    return np.asarray(colours.clip(0, 255).round(), dtype=np.uint8)


def _blur(mask: Floats) -> Floats:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    weights = {-1: 0.25, 0: 0.5, 1: 0.25}
    out = np.zeros_like(mask)
    for dy, wy in weights.items():
        for dx, wx in weights.items():
            out += wy * wx * padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
    return out


def _hsv(rgb: Array) -> tuple[Floats, Floats, Floats]:
    """Hue in degrees, saturation and value in 0..1."""
    values = rgb.astype(np.float32) / 255
    top, low = values.max(axis=-1), values.min(axis=-1)
    spread = np.maximum(top - low, 1e-6)
    r, g, b = values[..., 0], values[..., 1], values[..., 2]
    hue = np.where(
        top == r, (g - b) / spread % 6, np.where(top == g, (b - r) / spread + 2, (r - g) / spread + 4)
    )
    return hue * 60, (top - low) / np.maximum(top, 1e-6), top


def name_colours(rgb: Array) -> NDArray[np.int64]:
    """Number of the colour name of every pixel, in the order of `COLOURS`.

    Args:
        rgb: (..., 3).

    Returns:
        (...) int64; the regions of hue, saturation and value were set by eye.
    """
    hue, saturation, value = _hsv(rgb)
    number = {name: i for i, name in enumerate(COLOURS)}
    out = np.full(hue.shape, number["red"], dtype=np.int64)
    for name, low, high in (
        ("orange", 17, 42), ("yellow", 42, 66), ("green", 66, 168), ("blue", 168, 256), ("purple", 256, 296),
        ("pink", 296, 337),
    ):  # fmt: skip
        out[(hue >= low) & (hue < high)] = number[name]
    out[((hue >= 337) | (hue < 20)) & (saturation < 0.55) & (value > 0.7)] = number["pink"]
    out[(hue < 45) & (value < 0.62) & (saturation > 0.2)] = number["brown"]
    out[(hue > 12) & (hue < 40) & (value < 0.8) & (saturation > 0.2) & (saturation < 0.62)] = number["brown"]
    plain = saturation < 0.16
    out[plain] = number["gray"]
    out[plain & (value > 0.83)] = number["white"]
    out[(saturation < 0.35) & (value < 0.38)] = number["black"]
    out[value < 0.2] = number["black"]
    return out


def _body(rgba: Array, least: float) -> Floats:
    """(H, W) in 0..1: how much of each pixel belongs to the icon's main colour; zeros where there is none."""
    hue, saturation, value = _hsv(rgba[..., :3])
    opaque = rgba[..., 3] > 128
    vivid = opaque & (saturation > 0.28) & (value > 0.25)
    candidates = []
    if vivid.any():
        histogram = np.bincount((hue[vivid] // 10).astype(int) % 36, minlength=36).astype(np.float32)
        smooth = sum(np.roll(histogram, k) for k in (-2, -1, 0, 1, 2))
        centre = float(np.argmax(smooth)) * 10 + 5
        distance = np.abs((hue - centre + 180) % 360 - 180)
        near = np.clip((48 - distance) / 14, 0, 1) * np.clip((saturation - 0.16) / 0.12, 0, 1)
        candidates.append(near * np.clip((value - 0.18) / 0.1, 0, 1))
    pale = np.clip((0.3 - saturation) / 0.08, 0, 1) * np.clip((value - 0.32) / 0.1, 0, 1)
    candidates.append(pale)
    shares = [float((c * opaque).sum() / max(1, opaque.sum())) for c in candidates]
    best = int(np.argmax(shares))
    if shares[best] < least:
        return np.zeros(hue.shape, dtype=np.float32)
    return np.asarray(candidates[best] * opaque, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Level:
    """An icon at one size.

    Shapes: `rgba` (H, W, 4), `body` (H, W) share of the main colour, `light` (H, W) in 1/100 of usual.
    """

    rgba: Array
    body: Array
    light: Array

    def painted(self, colour: str) -> Array:
        """The icon with its main colour changed and its shading kept, (H, W, 4)."""
        body = self.body[..., None] * np.float32(1 / 255)
        relative = self.light[..., None] * np.float32(0.01)
        base = np.array(COLOURS[colour], dtype=np.float32)
        shaded = base * np.clip(relative, 0.35, 1) + (255 - base) * np.clip((relative - 1) * 0.45, 0, 0.4)
        mixed = self.rgba[..., :3] * (1 - body) + shaded * body
        return np.dstack([mixed.astype(np.uint8), self.rgba[..., 3]])


@dataclass(frozen=True, slots=True)
class Icon:
    """One nameable icon.

    Args:
        name: how it is called.
        levels: the cut-out at falling sizes.
        colour: its natural colour name, where that is clear.
        colours: the colours it can be painted in.
    """

    name: IconName
    levels: tuple[Level, ...]
    colour: str | None = None
    colours: tuple[str, ...] = ()

    @classmethod
    def from_picture(cls, name: IconName, picture: Array) -> Icon:
        """Cut an icon out of its white background and see which colours it can take."""
        rgba = cut_out(picture)
        has_small_body = name.en in SMALL_BODY
        body = _body(rgba, _MIN_SMALL_BODY if has_small_body else _MIN_BODY)
        light = rgba[..., :3].astype(np.float32) @ _WEIGHTS
        usual = float(np.median(light[body > 0.5])) if (body > 0.5).any() else 255.0
        relative = np.clip(light / max(usual, 1.0) * 100, 0, 255)
        levels = tuple(_resize(rgba, body * 255, relative, size) for size in _SIZES)
        colours: tuple[str, ...] = ()
        if body.any():
            least = 0.2 if has_small_body else 0.5
            colours = tuple(c for c in COLOURS if _share(levels[-1].painted(c), c) >= least)
        wanted = NATURAL_COLOURS.get(name.en)
        natural = (
            wanted if wanted and _share(rgba, wanted) >= (0.2 if has_small_body else _MIN_NATURAL) else None
        )
        return cls(name, levels, natural, colours)

    def picture(self, colour: str | None, size: int) -> Image.Image:
        """Premultiplied (RGBa) cut-out, the smallest level whose longer side is at least `size` pixels."""
        level = next((lv for lv in reversed(self.levels) if max(lv.body.shape) >= size), self.levels[0])
        return Image.fromarray(level.rgba if colour is None else level.painted(colour)).convert("RGBa")


def _share(rgba: Array, colour: str) -> float:
    """Share of the opaque pixels that have a colour name."""
    opaque = rgba[rgba[..., 3] > 200][:, :3]
    return float((name_colours(opaque) == list(COLOURS).index(colour)).mean()) if len(opaque) else 0.0


def _resize(rgba: Array, body: Floats, relative: Floats, size: int) -> Level:
    scale = size / max(body.shape)
    shape = (max(1, round(body.shape[1] * scale)), max(1, round(body.shape[0] * scale)))

    def scaled(picture: Image.Image) -> Array:
        return np.asarray(
            picture.resize(shape, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC)
        )

    planes = [scaled(Image.fromarray(plane.round().astype(np.uint8))) for plane in (body, relative)]
    return Level(scaled(Image.fromarray(rgba)), *planes)
