"""How people type: lower case, no punctuation, a slip of the finger. Slots in braces stay whole."""

from __future__ import annotations

import random
import re

__all__ = ["casual"]

_PIECES = re.compile(r"(\{\w+\})")


def casual(form: str, rng: random.Random, *, typo: float = 0.08) -> str:
    """A wording as somebody in a hurry would type it."""
    if rng.random() < 0.3:
        form = form.rstrip("?.!。？！")
    elif rng.random() < 0.05:
        form = form.rstrip("?.？。") + ("??" if form.isascii() else "？？")
    if rng.random() < typo:
        parts = _PIECES.split(form)
        spots = [i for i, part in enumerate(parts) if len(part) > 5 and part.isascii() and part[0] != "{"]
        if spots:
            spot = rng.choice(spots)
            parts[spot] = _slip(parts[spot], rng)
            form = "".join(parts)
    return form


def _slip(text: str, rng: random.Random) -> str:
    """Two letters swapped, one doubled or one left out."""
    spots = [i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha()]
    if not spots:
        return text
    at = rng.choice(spots)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + (text[at] * 2 if kind == 1 else "") + text[at + 1 :]
