"""The languages that the family's own ears and voice know, by the names that requests give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from localgpt.errors import InputError
from localgpt.tasks import Language

__all__ = ["spoken_language"]

_BY_NAME: Final[Mapping[str, Language]] = {
    "en": "en", "english": "en", "zh": "zh", "chinese": "zh", "mandarin": "zh", "cmn": "zh",
}  # fmt: skip


def spoken_language(told: str | None, who_knows: str) -> Language | None:
    """The language that a request names, as a code or a word, with or without a region: zh, zh-CN, Chinese.

    Args:
        told: of the request; None leaves it open, and so does the answer.
        who_knows: for the refusal, such as "the embedded listener knows".

    Raises:
        InputError: it is none of the two.
    """
    if told is None:
        return None
    found = _BY_NAME.get(told.strip().lower().partition("-")[0])
    if found is None:
        raise InputError(
            f"language is {told!r}; {who_knows} en and zh; pull a model that knows others", param="language"
        )
    return found
