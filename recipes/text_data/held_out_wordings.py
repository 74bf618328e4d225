"""Keeps the wordings of the evaluation questions out of training.

A question clashes when, with countries and capitals left out, it equals a question of the evaluation or shares five
words (English) or eight Chinese characters in a row with one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from recipes.text_data.countries import load_countries

__all__ = ["Wordings", "held_out_wordings", "question_forms"]

NUM_WORDS = 5
NUM_HAN = 8
EDGE_CHARS = 400  # a question stands at the start or the end of a long turn
_WORD = re.compile(r"[a-z0-9][a-z0-9'’]*")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SLOT = re.compile(r"\{\w+\}('s|’s|')?")


class Wordings:
    """A set of question wordings that others are compared with.

    Args:
        forms: wordings with `{slots}` for names.
    """

    def __init__(self, forms: Iterable[str]) -> None:
        self._grams: set[str] = set()
        self._whole: set[str] = set()
        for form in forms:
            bare = _SLOT.sub(" ", form)
            self._whole.add(_whole(bare))
            for text in (bare, *_SLOT.sub("\n", form).split("\n")):
                self._grams |= _grams(text)

    def clash(self, text: str) -> str | None:
        """What a question (with slots or real names) shares with the set; None when nothing."""
        if len(text) > 2 * EDGE_CHARS:
            return self.clash(text[:EDGE_CHARS]) or self.clash(text[-EDGE_CHARS:])
        bare = _SLOT.sub(" ", text)
        shared = self._grams & _grams(bare)
        if not shared and _may_name(bare):
            bare = _name_pattern().sub(" ", bare)
            shared = self._grams & _grams(bare)
        if shared:
            return min(shared)
        whole = _whole(bare)
        return whole if whole in self._whole else None


def question_forms(folder: Path | None = None) -> list[str]:
    """The wordings of the committed factbook questions."""
    folder = folder or Path(__file__).parents[2] / "benchmarks" / "questions"
    forms: dict[str, None] = {}
    for name in ("factbook_en", "factbook_zh"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            forms[json.loads(line)["form"]] = None
    return list(forms)


@lru_cache(maxsize=1)
def held_out_wordings() -> Wordings:
    """The evaluation's wordings."""
    return Wordings(question_forms())


def _grams(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    grams = {" ".join(words[i : i + NUM_WORDS]) for i in range(len(words) - NUM_WORDS + 1)}
    han = "".join(_HAN.findall(text))
    return grams | {han[i : i + NUM_HAN] for i in range(len(han) - NUM_HAN + 1)}


def _whole(text: str) -> str:
    return " ".join(_WORD.findall(text.lower())) + "".join(_HAN.findall(text))


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    names: set[str] = set()
    for country in load_countries():
        names |= {
            country.en,
            country.en.removeprefix("the "),
            country.zh,
            country.capital_en,
            country.capital_zh,
        }
        names |= {*country.aliases_en, *country.aliases_zh}
    return tuple(sorted((name for name in names if len(name) > 1), key=len, reverse=True))


@lru_cache(maxsize=1)
def _name_pattern() -> re.Pattern[str]:
    return re.compile("(?:" + "|".join(re.escape(name) for name in _names()) + ")('s|’s|')?", re.IGNORECASE)


@lru_cache(maxsize=1)
def _name_starts() -> tuple[frozenset[str], frozenset[str]]:
    english = frozenset(name.lower().split(" ")[0].split("'")[0] for name in _names() if name.isascii())
    return english, frozenset(name[:2] for name in _names() if not name.isascii())


def _may_name(text: str) -> bool:
    english, chinese = _name_starts()
    words = {word.split("'")[0] for word in _WORD.findall(text.lower())}
    return not words.isdisjoint(english) or any(text[i : i + 2] in chinese for i in range(len(text) - 1))
