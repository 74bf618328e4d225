"""Which sums of two-digit numbers training never shows."""

from __future__ import annotations

import re

from recipes.text_data.rows import is_held_out

__all__ = ["is_held_out_sum", "shows_held_out_sum"]

MODULUS = 10
_SUM = re.compile(r"(?<![\d.])(\d\d)\s*(?:\+|plus|and|加上?|与|和)\s*(\d\d)(?![\d.]|\d)", re.IGNORECASE)


def is_held_out_sum(first: int, second: int) -> bool:
    """Whether this pair (in either order) is kept for the questions; about every tenth is."""
    low, high = sorted((first, second))
    return low >= 10 and high <= 99 and is_held_out(f"{low}+{high}", modulus=MODULUS)


def shows_held_out_sum(text: str) -> bool:
    """Whether a text asks for or shows a held-out sum."""
    return any(is_held_out_sum(int(found[1]), int(found[2])) for found in _SUM.finditer(text))
