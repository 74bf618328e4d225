"""Sentences of our own texts: as words to count, and as lines to be spoken."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from recipes.text_data.rows import drop_near_copies, is_held_out, read_json_rows, read_rows

__all__ = ["chinese_runs", "english_runs", "segment", "spoken_lines", "training_texts"]

_ENGLISH_BREAK = re.compile(r"[^A-Za-z'\u2019 -]+")
_ENGLISH_WORD = re.compile(r"[A-Za-z][A-Za-z'\u2019]*")
_CHINESE_RUN = re.compile(r"[\u4e00-\u9fff]+")
_LONGEST_WORD = 4
_HAS_VOWEL = re.compile(r"[aeiouyAEIOUY]")


def training_texts(data: Path, language: str, max_chars: int) -> Iterator[str]:
    """Contents of training rows: pairs and dialogues first, then documents, until that many characters.

    Args:
        data: folder of the text sets.
        language: "en" or "zh".
        max_chars: of all together.
    """
    used = 0
    for text in _all_texts(data, language):
        used += len(text)
        yield text
        if used >= max_chars:
            return


def _all_texts(data: Path, language: str) -> Iterator[str]:
    for row in read_json_rows(data, "bilingual_en_zh"):
        if not is_held_out(row["en"]):
            yield row[language]
    for name in (f"sft_{language}", f"pretrain_{language}"):
        rows = read_rows(data, name)
        held_out = [row for row in rows if is_held_out(row.key)]
        for row in drop_near_copies(rows, held_out):
            yield from row.contents


def english_runs(text: str) -> Iterator[list[str]]:
    """Runs of words that stand together: figures and marks end them."""
    for part in _ENGLISH_BREAK.split(text):
        if words := [word.replace("\u2019", "'").strip("'") for word in _ENGLISH_WORD.findall(part)]:
            yield [word for word in words if word]


def chinese_runs(text: str) -> Iterator[str]:
    """Runs of characters without anything between."""
    yield from _CHINESE_RUN.findall(text)


def segment(run: str, known: Set[str]) -> list[str]:
    """A run of characters as words, the longest known one at each place."""
    words, at = [], 0
    while at < len(run):
        length = min(_LONGEST_WORD, len(run) - at)
        while length > 1 and run[at : at + length] not in known:
            length -= 1
        words.append(run[at : at + length])
        at += length
    return words


def spoken_lines(texts: Iterable[str], language: str, num: int, *, seed: int) -> list[str]:
    """Different lines that somebody might say in one breath, drawn at random.

    Args:
        texts: of `training_texts`.
        language: "en" for three to fourteen words, in lower case; "zh" for four to eighteen characters.
        num: most of them.
        seed: of the draw.
    """
    found: set[str] = set()
    for text in texts:
        if language == "en":
            for run in english_runs(text):
                if 3 <= len(run) <= 14 and all(_HAS_VOWEL.search(word) for word in run):
                    found.add(" ".join(run).lower())
        else:
            found.update(run for run in chinese_runs(text) if 4 <= len(run) <= 18)
    lines = sorted(found)
    random.Random(seed).shuffle(lines)
    return lines[:num]
