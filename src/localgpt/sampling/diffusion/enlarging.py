"""Pictures made larger by a network that doubles their sides, in tiles so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TILE", "enlarge"]

TILE: Final = 192  # side of the part that is enlarged at once, in pixels before


class Doubling(Protocol):
    """A network that doubles sides; a pixel depends on those at most `margin` away."""

    margin: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 3, 2 * H, 2 * W)."""
        ...


@torch.no_grad()
def enlarge(
    doubling: Doubling, pixels: Tensor, side: int, *, before_tile: Callable[[], None] = lambda: None
) -> Tensor:
    """Square pictures at another size.

    Args:
        doubling: called as often as it takes to reach the size; what is too large then is made smaller with
            all pixels counted.
        pixels: (B, 3, S, S) in [-1, 1].
        side: wanted.
        before_tile: called before each part of the work; what it raises ends it.

    Returns:
        (B, 3, side, side) in [-1, 1].
    """
    while pixels.shape[-1] < side:
        pixels = _doubled(doubling, pixels, before_tile).clamp(-1, 1)
    if pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)


def _doubled(doubling: Doubling, pixels: Tensor, before_tile: Callable[[], None]) -> Tensor:
    """Tile by tile; the same as at once, up to rounding."""
    height, width = pixels.shape[2:]
    out = pixels.new_empty(len(pixels), 3, 2 * height, 2 * width)
    margin = doubling.margin
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            before_tile()
            bottom, right = min(height, top + TILE), min(width, left + TILE)
            first, start = max(0, top - margin), max(0, left - margin)
            around = pixels[:, :, first : bottom + margin, start : right + margin]
            done = doubling(around)
            rows = slice(2 * (top - first), 2 * (bottom - first))
            columns = slice(2 * (left - start), 2 * (right - start))
            out[:, :, 2 * top : 2 * bottom, 2 * left : 2 * right] = done[:, :, rows, columns]
    return out
