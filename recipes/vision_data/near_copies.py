"""Finding training pictures that are nearly a held-out one, by difference hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["NEAR_BITS", "difference_hash", "near_any"]

NEAR_BITS = 6


def difference_hash(picture: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 cells is brighter than its right neighbour."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BILINEAR), dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes(), "big")


def near_any(
    hashes: NDArray[np.uint64], held_out: NDArray[np.uint64], *, bits: int = NEAR_BITS
) -> NDArray[np.bool_]:
    """Which of `hashes` (N,) are within `bits` bits of any of `held_out` (M,)."""
    near = np.zeros(len(hashes), dtype=bool)
    for start in range(0, len(hashes), 256):
        part = hashes[start : start + 256]
        if len(held_out):
            near[start : start + 256] = (np.bitwise_count(part[:, None] ^ held_out[None]) <= bits).any(axis=1)
    return near
