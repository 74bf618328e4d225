"""Where a prompt says that things are: "a red cube left of a blue ball", "从左到右是猫、狗和球".

Read are relations of two things (left, right, above, below, in the wordings below), chains of them
("a cat left of a dog left of a ball", "a cat left of a dog and above a ball"), and rows. What is not said
stays free; a prompt that contradicts itself tells nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Placed", "read_places"]

Span = tuple[int, int]
Pairs = list[tuple[int, int, str]]  # number of one thing, number of another, "left" or "above"

_EN: Final = {
    "left": r"(?:to|on|at) the left(?: side)? of|left of",
    "right": r"(?:to|on|at) the right(?: side)? of|right of",
    "above": r"above|over|on top of",
    "below": r"below|under|underneath|beneath",
}
_ZH: Final = {"left": "左[边侧面方]", "right": "右[边侧面方]", "above": "上[边面方]", "below": "下[边面方]"}
_EN_RELATION: Final = re.compile(
    r"\s+(?:is |are |stands |lies |sits )?(?:"
    + "|".join(f"(?P<{name}>{words})" for name, words in _EN.items())
    + r")\s+",
    re.IGNORECASE,
)
_ZH_SIDE: Final = "(?:" + "|".join(f"(?P<{name}>{words})" for name, words in _ZH.items()) + ")"
_ZH_AT: Final = re.compile(rf"(?P<a>[^，。,在]+)(?:位于|在)(?P<b>[^，。,]+?)的?{_ZH_SIDE}$")
_ZH_HAS: Final = re.compile(rf"(?P<b>[^，。,]+?)的?{_ZH_SIDE}(?:有|是)(?P<a>[^，。,]+)$")
_EN_ROW: Final = re.compile(r"(?P<row>.+?),? from (?:left to right|(?P<down>top to bottom))$", re.IGNORECASE)
_ZH_ROW: Final = re.compile(r"从(?:左到右|(?P<down>上到下))(?:依次)?(?:是|有)?(?P<row>.+)$")
_BEFORE: Final = re.compile(
    r"\s*(?:there (?:is|are)\s|an? (?:picture|photo|image|drawing) (?:of|with)\s"
    r"|(?:please )?(?:draw|paint|show)(?: me)?\s|图中有|图片里有|画|有)?\s*(?:[一-鿿]{2}背景上?的?有?)?\s*",
    re.IGNORECASE,
)
_BEHIND: Final = re.compile(
    r"\s+(?:(?:on|in front of|against) an? (?:[a-z]+ )*background|in (?:the|a|an) [a-z ]+)$|[\s.。!！,，]+$",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+|[、，和]")
_AND: Final = re.compile(r",?\s+and$", re.IGNORECASE)
_OPPOSITE: Final = {"right": "left", "below": "above"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing of a prompt, and where it belongs.

    Args:
        start: first character of its words.
        end: the one after their last.
        box: (x0, y0, x1, y1) in 0..1 of the picture's width and height.
    """

    start: int
    end: int
    box: tuple[float, float, float, float]


def read_places(prompt: str) -> list[Placed]:
    """The things whose place a prompt tells, in the order of its words; none where it tells nothing."""
    start = _BEFORE.match(prompt).end()  # type: ignore[union-attr]  # it matches nothing at the least
    end = len(prompt)
    while (tail := _BEHIND.search(prompt, start, end)) is not None:
        end = tail.start()
    spans, pairs = _read_rows(prompt, start, end) or _read_chinese(prompt, start, end) or ([], [])
    if not pairs:
        spans, pairs = _read_english(prompt, start, end)
    across = _bands(len(spans), [(a, b) for a, b, name in pairs if name == "left"])
    down = _bands(len(spans), [(a, b) for a, b, name in pairs if name == "above"])
    if not pairs or across is None or down is None:
        return []
    return [
        Placed(*span, (x[0], y[0], x[1], y[1]))
        for span, x, y in sorted(zip(spans, across, down, strict=True))
    ]


def _read_english(prompt: str, start: int, end: int) -> tuple[list[Span], Pairs]:
    spans: list[Span] = []
    pairs: Pairs = []
    subject, place = -1, start
    told: list[str] = []
    for found in [*_EN_RELATION.finditer(prompt, start, end), None]:
        until = end if found is None else found.start()
        goes_on = _AND.search(prompt, place, until) if found is not None and told else None
        span = (place, goes_on.start() if goes_on is not None else until)
        if span[0] >= span[1]:
            return [], []
        spans.append(span)
        number = len(spans) - 1
        if told:
            pairs.append(_pair(subject, number, told.pop()))
        subject = subject if goes_on is not None else number
        if found is not None:
            told.append(next(name for name, words in found.groupdict().items() if words))
            place = found.end()
    return (spans, pairs) if pairs else ([], [])


def _read_chinese(prompt: str, start: int, end: int) -> tuple[list[Span], Pairs] | None:
    text = prompt[:end]
    for pattern in (_ZH_AT, _ZH_HAS):
        if (found := pattern.match(text, start)) is not None:
            name = next(name for name in _ZH if found.group(name))
            return [found.span("a"), found.span("b")], [_pair(0, 1, name)]
    return None


def _read_rows(prompt: str, start: int, end: int) -> tuple[list[Span], Pairs] | None:
    text = prompt[:end]
    for pattern in (_EN_ROW, _ZH_ROW):
        if (found := pattern.match(text, start)) is None:
            continue
        spans, place = [], found.start("row")
        for mark in [*_BETWEEN.finditer(text, *found.span("row")), None]:
            until = found.end("row") if mark is None else mark.start()
            if place < until:
                spans.append((place, until))
            place = until if mark is None else mark.end()
        name = "above" if found.group("down") else "left"
        if len(spans) > 1:
            return spans, [(number, number + 1, name) for number in range(len(spans) - 1)]
    return None


def _pair(first: int, second: int, name: str) -> tuple[int, int, str]:
    return (second, first, _OPPOSITE[name]) if name in _OPPOSITE else (first, second, name)


def _bands(num: int, before: list[tuple[int, int]]) -> list[tuple[float, float]] | None:
    """Where along one axis each of `num` things belongs, 0..1; None where the order goes in a circle.

    Args:
        num: things.
        before: pairs of which the first comes before the second.
    """
    ranks = {number: 0 for pair in before for number in pair}
    for _ in range(len(ranks)):
        for first, second in before:
            ranks[second] = max(ranks[second], ranks[first] + 1)
    if any(ranks[first] >= ranks[second] for first, second in before):
        return None
    if any(rank >= len(ranks) for rank in ranks.values()):
        return None
    total = max(ranks.values(), default=0) + 1
    return [(ranks[i] / total, (ranks[i] + 1) / total) if i in ranks else (0.0, 1.0) for i in range(num)]
