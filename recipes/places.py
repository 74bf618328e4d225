"""Places of grid cells at the start of learning: seen from the first step, and near places alike.

The first family's projector began with a random table of 0.02 beside contents that grow to 0.37. It was never
learned: after training it was as random and as small, and left and right stayed at chance (docs/lab-log.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["place_table"]

_STD = 0.15


def place_table(side: int, width: int, *, std: float = _STD) -> Tensor:
    """Sines and cosines of rows and columns, to be learned from there.

    Half of the width tells the row, half the column, in wave lengths from four sides to a quarter of one: the
    longest grow steadily along a side.

    Args:
        side: cells along a side.
        width: of a place, a multiple of four.
        std: standard deviation over the table.

    Returns:
        (side * side, width) float32, row by row.
    """
    half = width // 2
    waves = torch.logspace(math.log10(0.25), math.log10(4.0), half // 2)  # per side
    angles = 2 * math.pi * waves * (torch.arange(side)[:, None] + 0.5) / side  # (side, half / 2)
    axis = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)  # (side, half)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    table = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return table * (std / table.std())
