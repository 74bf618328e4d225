"""Things that human captions mention whenever they are in the picture, with the words that betray them.

Independent of the word lists of training. A noun is absent for sure only where no caption of either language
holds any of its words or of its hints: words of things it may be part of or be called by. The table is
`nouns.tsv`: name, Chinese name, words, hints, Chinese hints.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Noun", "load_nouns"]


@dataclass(frozen=True, slots=True)
class Noun:
    """One thing to ask about.

    Args:
        name: English, with its article where it takes one ("a dog", "snow").
        zh: Chinese.
        words: English words (whole words) of captions that mention it.
        hints: further English words that make its absence doubtful.
        zh_hints: Chinese pieces that make its absence doubtful.
    """

    name: str
    zh: str
    words: frozenset[str]
    hints: frozenset[str]
    zh_hints: tuple[str, ...]


@cache
def load_nouns() -> tuple[Noun, ...]:
    """All nouns, in the order of the table."""
    with Path(__file__).with_name("nouns.tsv").open(encoding="utf-8", newline="") as lines:
        return tuple(
            Noun(
                row["name"],
                row["zh"],
                frozenset(row["words"].split()),
                frozenset(row["hints"].split()),
                tuple(row["zh_hints"].split()),
            )
            for row in csv.DictReader(lines, delimiter="\t")
        )
