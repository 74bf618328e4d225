"""Contact sheets: painted pictures with their prompts, green where they were judged right, red where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["write_sheets"]

_COLUMNS, _ROWS, _SIDE, _TEXT = 8, 8, 128, 26
_GREEN, _RED = (40, 150, 60), (200, 50, 50)


def write_sheets(
    folder: Path, name: str, pictures: list[NDArray[np.uint8]], prompts: list[str], rights: list[bool]
) -> list[Path]:
    """Write all pictures of a set, 64 on a sheet; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    per_sheet = _COLUMNS * _ROWS
    for first in range(0, len(pictures), per_sheet):
        part = slice(first, first + per_sheet)
        sheet = _sheet(pictures[part], prompts[part], rights[part])
        paths.append(folder / f"{name}_{first // per_sheet + 1}.png")
        sheet.save(paths[-1])
    return paths


def _sheet(pictures: list[NDArray[np.uint8]], prompts: list[str], rights: list[bool]) -> Image.Image:
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + 8), rows * (_SIDE + _TEXT + 8)), (225, 225, 225))
    draw = ImageDraw.Draw(sheet)
    for number, (picture, prompt, right) in enumerate(zip(pictures, prompts, rights, strict=True)):
        x, y = number % _COLUMNS * (_SIDE + 8) + 4, number // _COLUMNS * (_SIDE + _TEXT + 8) + 4
        draw.rectangle((x - 3, y - 3, x + _SIDE + 2, y + _SIDE + 2), fill=_GREEN if right else _RED)
        sheet.paste(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x, y))
        for line in range(2):
            text = prompt[line * 21 : line * 21 + 21]
            draw.text((x, y + _SIDE + 2 + 12 * line), text, fill=(0, 0, 0))
    return sheet
