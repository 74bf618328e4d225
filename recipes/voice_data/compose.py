"""Chinese sentences as recorded words: the longest match at each place, whole sentences only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["PAUSE", "cover", "cut_clauses", "wordings"]

PAUSE = ""  # between clips, where a comma stands
_LONGEST = 8  # characters of a recorded word
_COMMAS = "，、；：,"
_ENDS = re.compile(r"[。！？!?…\n]+")
_SPOKEN = re.compile(r"[\u4e00-\u9fff，、；：,]+")


def cut_clauses(text: str) -> list[str]:
    """Sentences of a text that have Chinese characters and commas only."""
    return [part for part in _ENDS.split(text) if _SPOKEN.fullmatch(part) and part[0] not in _COMMAS]


def cover(sentence: str, words: Mapping[str, object] | set[str]) -> list[str] | None:
    """The words of a sentence in order, with `PAUSE` for commas; None where a part was never recorded."""
    found: list[str] = []
    at = 0
    while at < len(sentence):
        if sentence[at] in _COMMAS:
            if found and found[-1] != PAUSE:
                found.append(PAUSE)
            at += 1
            continue
        for length in range(min(_LONGEST, len(sentence) - at), 0, -1):
            if sentence[at : at + length] in words:
                found.append(sentence[at : at + length])
                at += length
                break
        else:
            return None
    return found[:-1] if found and found[-1] == PAUSE else found


def wordings(
    texts: Iterable[str], words: set[str], *, least: int, most: int, num: int
) -> list[tuple[str, Sequence[str]]]:
    """The first `num` different sentences of `least` to `most` recorded words, with these words."""
    found: dict[str, list[str]] = {}
    for text in texts:
        for sentence in cut_clauses(text):
            if sentence in found or len(sentence) > most * _LONGEST:
                continue
            covered = cover(sentence, words)
            if covered is not None and least <= sum(word != PAUSE for word in covered) <= most:
                found[sentence] = covered
                if len(found) >= num:
                    return list(found.items())
    return list(found.items())
