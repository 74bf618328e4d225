"""A question with its answer, and how a reply to it is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recipes.scenes.vocabulary import COLOUR_ZH, COLOURS, NUMBERS_EN, NUMBERS_ZH, icon_names

__all__ = ["DIRECTIONS", "Turn", "is_right", "no_forms", "number_forms", "yes_forms"]

_ZH_YES, _ZH_NO = ("是", "有", "对", "在"), ("不", "没", "否")
DIRECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "left": ("left",), "right": ("right",), "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
    },
    "zh": {"left": ("左",), "right": ("右",), "above": ("上",), "below": ("下",)},
}  # fmt: skip
_EXTRA_EN: dict[int, tuple[str, ...]] = {0: ("no", "none"), 1: ("a", "an")}
_EXTRA_ZH: dict[int, tuple[str, ...]] = {0: ("没有",), 2: ("二",)}
_NOUNS_WITH_NUMBERS: tuple[str, ...] = (
    "一共", "一起", *(n.zh for n in icon_names() if set(n.zh) & set("".join(NUMBERS_ZH)))
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer.

    Args:
        kind: one of `QUESTION_KINDS`.
        lang: "en" or "zh".
        q: question.
        a: answer to learn.
        accepted: short forms that a right reply holds (see `is_right`); empty where only people can judge.
        weight: how much the answer is learned, beside the usual 1.
    """

    kind: str
    lang: str
    q: str
    a: str
    accepted: tuple[str, ...] = ()
    weight: float = 1.0

    def to_dict(self) -> dict[str, str | float]:
        """As `samples_NAME.jsonl` stores it; a weight of 1 is left out."""
        told: dict[str, str | float] = {"lang": self.lang, "kind": self.kind, "q": self.q, "a": self.a}
        return told if self.weight == 1.0 else {**told, "weight": self.weight}


def yes_forms(language: str) -> tuple[str, ...]:
    """Ways to start a reply that says yes."""
    return _ZH_YES if language == "zh" else ("yes",)


def no_forms(language: str) -> tuple[str, ...]:
    """Ways to start a reply that says no."""
    return _ZH_NO if language == "zh" else ("no",)


def number_forms(count: int, language: str) -> tuple[str, ...]:
    """Ways to write a number from 0 to 10."""
    if language == "zh":
        return (NUMBERS_ZH[count], str(count), *_EXTRA_ZH.get(count, ()))
    return (NUMBERS_EN[count], str(count), *_EXTRA_EN.get(count, ()))


def is_right(turn: Turn, reply: str) -> bool:
    """Whether a reply gives the answer of a turn.

    Yes and no questions are judged by the start of the reply, others by the last of the accepted or rival
    words in it: rivals are the other colours, numbers and directions where the answer is one. English is
    compared by whole words without case.
    """
    text = reply.lower().strip()
    if turn.accepted in (("yes",), ("no",)):
        words = re.findall(r"[a-z]+", text)
        return bool(words) and words[0] in turn.accepted
    if turn.accepted in (_ZH_YES, _ZH_NO):
        no = text.startswith(_ZH_NO) or text.startswith(("图中没", "图里没", "图片里没"))
        yes = not no and text.startswith((*_ZH_YES, "图中有", "图里有", "图片里有"))
        return no if turn.accepted == _ZH_NO else yes
    for noun in _NOUNS_WITH_NUMBERS if turn.kind == "count" else ():
        text = text.replace(noun, "")
    places = [(_last(form, text), form in turn.accepted) for form in {*turn.accepted, *_rivals(turn)}]
    found = [(place, right) for place, right in places if place >= 0]
    return bool(found) and max(found)[1]


def _last(form: str, text: str) -> int:
    """End of the last place where a form stands in a text; -1 where it does not."""
    pattern = re.escape(form.lower())
    pattern = rf"(?<![a-z0-9]){pattern}(?![a-z0-9])" if form.isascii() else pattern
    return max((match.end() for match in re.finditer(pattern, text)), default=-1)


def _rivals(turn: Turn) -> list[str]:
    chinese = turn.lang == "zh"
    if set(turn.accepted) & ({c[0] for c in COLOUR_ZH.values()} if chinese else set(COLOURS)):
        return [c[0] for c in COLOUR_ZH.values()] if chinese else [*COLOURS, "grey"]
    if turn.kind == "count":
        return [*NUMBERS_ZH, "二"] if chinese else [*NUMBERS_EN, *map(str, range(11))]
    directions = DIRECTIONS[turn.lang]
    if turn.kind == "relation" and any(turn.accepted == forms for forms in directions.values()):
        return [form for forms in directions.values() for form in forms]
    return []
