"""What a painter reads: one form of a text for all ways to type it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["clean_prompt", "token_spans"]

_ENDS: Final = " .。!！,，;；"
_SHOUTS: Final = re.compile(r"[A-Z][a-z]|[AI] ")  # an ordinary beginning of a sentence


def clean_prompt(text: str) -> str:
    """The text in one line, without marks at its end, and without the capital of a sentence's beginning."""
    words = " ".join(text.split()).rstrip(_ENDS)
    return words[0].lower() + words[1:] if _SHOUTS.match(words) else words


def token_spans(pieces: list[bytes], text: str) -> list[tuple[int, int]]:
    """Which characters of a text each of its tokens stands for.

    Args:
        pieces: bytes of each token, in order; together the text in UTF-8.
        text: what was encoded.

    Returns:
        First character and the one after the last, for each token; a token of a part of a character has it.
    """
    char_of_byte = [number for number, char in enumerate(text) for _ in char.encode("utf-8", "surrogatepass")]
    spans, place = [], 0
    for piece in pieces:
        chars = char_of_byte[place : place + len(piece)]
        spans.append((chars[0], chars[-1] + 1) if chars else (len(text), len(text)))
        place += len(piece)
    return spans
