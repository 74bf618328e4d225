"""What scenes are made of: cut-out icons and photographs, and what is kept out of training."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.scenes.icons import Icon
from recipes.scenes.vocabulary import NATURAL_COLOURS, IconName, icon_names
from recipes.vision_data.packs import PicturePack

__all__ = ["ICON_SET", "Stock", "is_held_out_colour", "is_held_out_relation"]

ICON_SET = "fluent_emoji_3d"
_HELD_OUT_SHARE = 10
_MOST_KEPT = 1500  # cut-outs, some 40 KB each


@dataclass(slots=True)
class Stock:
    """Icons by English noun, and photographs for backgrounds.

    Args:
        icons: all nameable icons, in a fixed order.
        photographs: sets to draw backgrounds from; none means plain and gradient backgrounds only.
    """

    icons: list[Icon]
    photographs: list[PicturePack] = field(default_factory=list)
    _painted: dict[tuple[str, str | None, int], Image.Image] = field(default_factory=dict, repr=False)
    _means: dict[tuple[str, str | None], tuple[float, float, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls, data: Path, *, split: str = "train", workers: int = 1, icons: list[Icon] | None = None
    ) -> Stock:
        """Read icons and photographs of one split.

        Args:
            data: folder with the image sets, flat or in images/.
            split: "train" or "val"; photographs of the other split are never shown.
            workers: processes that cut the icons out (13 s on one).
            icons: of another stock, which saves that time.
        """
        sets = ("coco_unlabelled", "flickr8k") if split == "train" else ("coco_unlabelled",)
        photographs = [PicturePack.open(data, name).chosen(split) for name in sets]
        if icons is not None:
            return cls(icons, photographs)
        pack = PicturePack.open(data, ICON_SET)
        rows: dict[str, int] = {}
        for number, row in enumerate(pack.rows):
            rows.setdefault(row["name"], number)
        pairs = [(name, pack.coded(rows[name.icon])) for name in icon_names() if name.icon in rows]
        if workers == 1:
            return cls([_cut_out(pair) for pair in pairs], photographs)
        with ProcessPoolExecutor(workers) as pool:
            return cls(list(pool.map(_cut_out, pairs, chunksize=8)), photographs)

    @classmethod
    def of_pictures(cls, pictures: Iterable[tuple[IconName, np.ndarray]]) -> Stock:
        """Stock of icons drawn on white, (H, W, 3) uint8 each, without photographs."""
        return cls([Icon.from_picture(name, picture) for name, picture in pictures])

    def cut_out(self, icon: Icon, colour: str | None, size: int) -> Image.Image:
        """Premultiplied cut-out with its longer side near `size` or above; kept for the next time."""
        level = next((lv for lv in reversed(icon.levels) if max(lv.body.shape) >= size), icon.levels[0])
        key = (icon.name.icon, colour, max(level.body.shape))
        if key not in self._painted:
            if len(self._painted) >= _MOST_KEPT:
                self._painted.clear()
            self._painted[key] = icon.picture(colour, size)
        return self._painted[key]

    def mean_colour(self, icon: Icon, colour: str | None) -> tuple[float, float, float]:
        """Mean RGB of the opaque part of an icon, 0..255."""
        key = (icon.name.icon, colour)
        if key not in self._means:
            level = icon.levels[-1]
            rgba = level.rgba if colour is None else level.painted(colour)
            inside = rgba[rgba[..., 3] > 200][:, :3]
            mean = inside.mean(axis=0) if len(inside) else np.full(3, 128.0)
            self._means[key] = (float(mean[0]), float(mean[1]), float(mean[2]))
        return self._means[key]


def _cut_out(pair: tuple[IconName, bytes]) -> Icon:
    name, coded = pair
    return Icon.from_picture(name, np.asarray(Image.open(io.BytesIO(coded)).convert("RGB")))


def _falls_out(key: str) -> bool:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % _HELD_OUT_SHARE == 0


@cache
def is_held_out_colour(noun: str, colour: str) -> bool:
    """Whether a painted (noun, colour) is never shown in training; a thing's natural colour always may be."""
    return NATURAL_COLOURS.get(noun) != colour and _falls_out(f"{noun}|{colour}")


@cache
def is_held_out_relation(first: str, second: str, relation: str) -> bool:
    """Whether "first is `relation` second" is never shown in training.

    Args:
        first: English noun.
        second: English noun.
        relation: "left", "right", "above" or "below"; the two sides of one fact give the same answer.
    """
    if relation in ("right", "below"):
        first, second = second, first
        relation = {"right": "left", "below": "above"}[relation]
    return first != second and _falls_out(f"{first}|{relation}|{second}")
