"""Keeps the wordings of the evaluation questions out of training.

A question clashes when, with countries and capitals left out, it equals a question of the evaluation or
shares five words (English) or eight Chinese characters in a row with one.
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
        if not shared:
            bare = _without_names(bare)
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
def _names_by_start() -> dict[str, tuple[str, ...]]:
    """Lower-case names of countries and capitals by first word or, in Chinese, first two characters."""
    names: set[str] = set()
    for country in load_countries():
        names |= {country.en.removeprefix("the "), country.zh, country.capital_en, country.capital_zh}
        names |= {*country.aliases_en, *country.aliases_zh}
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(
        (name.lower() for name in names if len(name) > 1), key=lambda name: (-len(name), name)
    ):
        start = _WORD.findall(name)[0].split("'")[0] if name.isascii() else name[:2]
        found[start] = (*found.get(start, ()), name)
    return found


def _without_names(text: str) -> str:
    """The text in lower case with the names of countries and capitals left out."""
    text = text.lower()
    starts = {word.split("'")[0] for word in _WORD.findall(text)}
    starts |= {text[i : i + 2] for i in range(len(text) - 1) if not text[i].isascii()}
    by_start = _names_by_start()
    for start in sorted(starts & by_start.keys()):
        for name in by_start[start]:
            if name in text:
                gap = r"(?:the )?\b{}\b(?:'s|’s|')?" if name.isascii() else "{}"
                text = re.sub(gap.format(re.escape(name)), " ", text)
    return text
