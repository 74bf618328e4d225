"""Names of other services' models that a model here answers to, so that stock clients work unchanged.

An alias also answers to its own dated versions (`gpt-4o-2024-08-06`, `gpt-3.5-turbo-0125`). The setting
`model_aliases` replaces the whole table; an empty one switches aliases off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["DEFAULT_ALIASES", "aliases_of", "target_of"]

_CHAT = (
    "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4o", "gpt-4o-mini",
    "gpt-4-turbo", "gpt-4", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct",
)  # fmt: skip
_EMBEDDINGS = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
_PICTURES = ("gpt-image-1", "gpt-image-1-mini", "dall-e-3", "dall-e-2")
_VOICE = (
    "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "tts-1", "tts-1-hd", "gpt-4o-mini-tts",
    "gpt-realtime", "gpt-realtime-mini", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
)  # fmt: skip

DEFAULT_ALIASES: Final[Mapping[str, str]] = dict.fromkeys(
    (*_CHAT, *_EMBEDDINGS, *_PICTURES, *_VOICE), EMBEDDED_MODEL_ID
)
"""Alias to model. The embedded family is one model for all of them."""

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


def aliases_of(settings: Settings) -> Mapping[str, str]:
    """The table in force."""
    return DEFAULT_ALIASES if settings.model_aliases is None else settings.model_aliases


def target_of(name: str, aliases: Mapping[str, str]) -> str | None:
    """The model that an alias, or a dated version of one, stands for; None if it is no alias."""
    return aliases.get(name) or aliases.get(_DATE.sub("", name))
