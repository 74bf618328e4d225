"""Ways of writing that are one to a reader: made alike, before numbers are put into words."""

from __future__ import annotations

import re
import unicodedata
from re import Match
from typing import Final

__all__ = ["plain_forms"]

_RAISED: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
_LONGEST_BASE: Final = 2  # letters; behind a longer word a raised number is a footnote's
_SQUARED_UNITS: Final = frozenset({"m", "cm", "km", "mm", "s", "ft"})
_SIGNS: Final = str.maketrans({"−": "-", "‐": "-", "‑": "-", "〜": "~", "’": "'", "⁄": "/"})
_DECIMAL_COMMA: Final = re.compile(r"(?<![\d,.])(\d{1,3}(?:\.\d{3})*|\d+),(\d{2})(?=\s?€)")
_STEPS: Final = tuple(
    (re.compile(pattern, re.MULTILINE), into)
    for pattern, into in (
        (r"^\s*(?:[*+-]|#{1,6})\s+(?=\S)", ""),  # a list's points and a heading's mark in Markdown
        (r"(?<=\d)\*\*(?=\d)", "^"),
        (r"\*{2,}|_{2,}|`+", ""),
        (r"(?<=\d)T(?=\d\d:\d\d)", " "),
        (r"(?<=[\d%年月日号时点分])\s?[–—]\s?(?=\d)", "-"),
        (r"(?<![\w.)\]])\.(?=\d)", "0."),
        (r"(?<=\d)(\s?[ckm]?m|\s?[A-Za-z]*/s)\^(?=[23](?!\d))", r"\1"),  # m^2 and m/s^2 are units
        (r"[-=]+>", "→"),
        (r"<=", "≤"),
        (r">=", "≥"),
        (r"!=", "≠"),
        (r"={2,}", "="),
    )
)


def plain_forms(text: str) -> str:
    """The same text in compatible characters, without the marks of Markdown."""
    text = re.sub(r"(?<=\d)\s?(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", text)
    text = re.sub(
        r"(^|(?<=\D))(\d{1,3})((?: 000)+)(?!\d)", lambda match: match[0].replace(" 000", "000"), text
    )
    text = re.sub(r"([A-Za-z]+|(?<=[\dπ)]))([⁰¹²³⁴-⁹⁻]+|ⁿ)", _raised, text)
    # A full-width comma would become one that looks like part of a number.
    text = unicodedata.normalize("NFKC", text.replace("，", ", ")).translate(_SIGNS)
    for pattern, into in _STEPS:
        text = pattern.sub(into, text)
    return _DECIMAL_COMMA.sub(lambda match: f"{match[1].replace('.', '')}.{match[2]}", text)


def _raised(match: Match[str]) -> str:
    """A power as in x^2; units keep theirs, as do the words that have footnotes."""
    before = match.string[: match.start()].rstrip()[-1:]
    is_unit = match[1] in _SQUARED_UNITS and (before.isdigit() or before == "/")
    if is_unit or len(match[1]) > _LONGEST_BASE:
        return match[0]
    return f"{match[1]}^{match[2].translate(_RAISED)}"
