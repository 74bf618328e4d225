"""Reading the picture set, and the product's path from a file's bytes to the network's pixels."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.vision.generate import Pixels
from localgpt.media.image import decode_image, to_pixels

__all__ = ["CaptionedSet", "find_images", "grey_pixels", "stretched"]


@dataclass(frozen=True, slots=True)
class CaptionedSet:
    """Rows of one split, in the order of the file, and the bytes of their pictures."""

    rows: tuple[dict[str, Any], ...]
    blob: bytes

    @classmethod
    def read(cls, data: Path, name: str, *, split: str = "val", limit: int | None = None) -> CaptionedSet:
        """Read `NAME.jsonl.xz` and `NAME.bin` from the data folder or its `images` folder."""
        folder = find_images(data, name)
        with lzma.open(folder / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
            rows = [row for row in map(json.loads, lines) if row["split"] == split]
        return cls(tuple(rows[:limit]), (folder / f"{name}.bin").read_bytes())

    def data(self, number: int) -> bytes:
        """The file of one picture."""
        row = self.rows[number]
        return self.blob[row["offset"] : row["offset"] + row["bytes"]]

    def captions(self, language: str) -> list[list[str]]:
        """The human captions of every picture, without empty ones."""
        return [[text for text in row[language] if text.strip()] for row in self.rows]

    def loader(self, size: int) -> Callable[[int], Pixels]:
        """Pixels by number, as the product reads them."""
        return lambda number: to_pixels(decode_image(self.data(number)), size)

    def stretched_loader(self, size: int, ratio: float) -> Callable[[int], Pixels]:
        """The same for pictures stretched to `ratio` = width / height and saved again."""
        return lambda number: to_pixels(decode_image(stretched(self.data(number), ratio)), size)


def find_images(data: Path, name: str) -> Path:
    """The folder that holds a picture set: the data folder itself or `images` in it.

    Raises:
        FileNotFoundError: neither holds it.
    """
    for folder in (data / "images", data):
        if (folder / f"{name}.jsonl.xz").is_file():
            return folder
    raise FileNotFoundError(f"{data} holds no {name}.jsonl.xz; expected the data folder, see --data")


def stretched(data: bytes, ratio: float) -> bytes:
    """A picture made wider (`ratio` > 1) or higher, as a PNG file; nothing is cropped away."""
    image = Image.fromarray(decode_image(data))
    width, height = image.size
    size = (round(height * ratio), height) if ratio > 1 else (width, round(width / ratio))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def grey_pixels(size: int) -> Pixels:
    """The blank picture: middle grey everywhere, through the product's path."""
    return to_pixels(np.full((size, size, 3), 128, dtype=np.uint8), size)
