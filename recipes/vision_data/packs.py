"""Reading the raw image sets: `NAME.bin` holds the coded pictures, `NAME.jsonl.xz` one row for each."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["HELD_OUT_SHARE", "PicturePack", "is_held_out", "split_of"]

HELD_OUT_SHARE = 10  # one row in ten is held out where a set has no split of its own


def is_held_out(key: str, share: int = HELD_OUT_SHARE) -> bool:
    """Whether a key belongs to the held-out one in `share`, by its SHA-256."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % share == 0


def split_of(row: dict[str, Any]) -> str:
    """The split of a row, "train" or "val": its own, or by its file name; "extra" rows are for training."""
    split = row.get("split")
    if split is None:
        return "val" if is_held_out(row["file"]) else "train"
    return "train" if split in ("train", "extra") else "val"


@dataclass(slots=True)
class PicturePack:
    """One raw set; pictures are decoded when asked for.

    Args:
        path: the `.bin` file.
        rows: what the `.jsonl.xz` beside it says, in its order.
    """

    path: Path
    rows: list[dict[str, Any]]
    _blob: mmap.mmap | None = field(default=None, repr=False)

    @classmethod
    def open(cls, data: Path, name: str) -> PicturePack:
        """Open a set in `data` or `data/images`.

        Raises:
            FileNotFoundError: the set is in neither.
        """
        folder = data / "images" if (data / "images" / f"{name}.bin").exists() else data
        with lzma.open(folder / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return cls(folder / f"{name}.bin", rows)

    def __getstate__(self) -> tuple[Path, list[dict[str, Any]]]:
        return self.path, self.rows

    def __setstate__(self, state: tuple[Path, list[dict[str, Any]]]) -> None:
        self.path, self.rows = state
        self._blob = None

    def chosen(self, split: str) -> PicturePack:
        """The same set with the rows of one split only."""
        return PicturePack(self.path, [row for row in self.rows if split_of(row) == split])

    def coded(self, number: int) -> bytes:
        """The file of row `number` as it is stored."""
        if self._blob is None:
            with self.path.open("rb") as file:
                self._blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        row = self.rows[number]
        return self._blob[row["offset"] : row["offset"] + row["bytes"]]

    def picture(self, number: int) -> Image.Image:
        """Row `number` decoded, RGB."""
        return Image.open(io.BytesIO(self.coded(number))).convert("RGB")

    def pixels(self, number: int, size: int) -> NDArray[np.uint8]:
        """Row `number` squashed to a square, (size, size, 3) uint8."""
        picture = self.picture(number)
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(picture)
