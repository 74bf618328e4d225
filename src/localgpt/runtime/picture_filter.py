"""Filters of what may be painted: an interface for operators, and a short list of words.

A filter sees every prompt before anything is painted, and every picture, previews too, before anybody gets
it. Which one is in force is the operator's choice alone (setting `picture_filter`); no request can change it:

* `words` (default): `WordFilter`. It refuses prompts that sexualise children, and what the operator's own
  list holds. It is a list of words and no more: it knows no meaning, and does not look at pictures. Whoever
  offers painting to others should use a filter that does.
* `off`: everything passes.
* `package.module:name`: the operator's own, an installed class or function that is called without arguments
  and gives a `PictureFilter`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from localgpt.errors import ConfigError

__all__ = ["NoFilter", "PictureFilter", "WordFilter", "make_filter"]

_CHILDREN: Final = (
    "child", "children", "kid", "minor", "underage", "preteen", "pre-teen", "teen", "teenage", "teenager",
    "toddler", "baby", "babies", "infant", "little girl", "little boy", "schoolgirl", "schoolboy",
    "loli", "shota",
    "儿童", "小孩", "孩子", "幼女", "幼童", "女童", "男童", "萝莉", "正太", "未成年", "小学生", "初中生",
)  # fmt: skip
_SEXUAL: Final = (
    "nude", "naked", "nsfw", "porn", "porno", "pornographic", "erotic", "sexual", "sexy", "sex", "genitals",
    "undressed", "topless", "hentai",
    "裸体", "裸露", "全裸", "色情", "性感", "性爱", "情色", "黄色图片", "脱衣",
)  # fmt: skip
_MOST_WORDS_BYTES: Final = 1 << 20


class PictureFilter(Protocol):
    """Says what may not be painted. Called from several threads."""

    def refuse_prompt(self, prompt: str) -> str | None:
        """Why a prompt is not painted, as its author shall read it; None where it is."""

    def refuse_picture(self, picture: bytes) -> str | None:
        """Why a picture (PNG) is shown to nobody; None where it is."""


class NoFilter:
    """Lets everything pass."""

    def refuse_prompt(self, prompt: str) -> str | None:
        """Never."""
        return None

    def refuse_picture(self, picture: bytes) -> str | None:
        """Never."""
        return None


class WordFilter(NoFilter):
    """Refuses prompts by their words; pictures are not looked at.

    Args:
        more: further words and phrases of which none may be in a prompt.
    """

    def __init__(self, more: Sequence[str] = ()) -> None:
        self._children, self._sexual = _pattern(_CHILDREN), _pattern(_SEXUAL)
        self._more = _pattern(more) if more else None

    def refuse_prompt(self, prompt: str) -> str | None:
        """Where it sexualises children, or holds one of the operator's words."""
        text = _plain(prompt)
        if self._children.search(text) and self._sexual.search(text):
            return "sexual pictures of children are not painted"
        found = None if self._more is None else self._more.search(text)
        return None if found is None else f"pictures of {found.group()!r} are not painted here"


def make_filter(name: str, words_file: Path | None = None) -> PictureFilter:
    """The filter of that name.

    Args:
        name: `words`, `off`, or `package.module:name`.
        words_file: words and phrases for `words`, one a line; lines that begin with # are remarks.

    Raises:
        ConfigError: there is no such filter, or the file cannot be read or is not for this filter.
    """
    if name == "words":
        return WordFilter(_read_words(words_file) if words_file else ())
    if words_file is not None:
        raise ConfigError(
            f"picture_filter_words is for the filter 'words', got {name!r}; leave one of them out"
        )
    if name == "off":
        return NoFilter()
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ConfigError(f"picture_filter is {name!r}; expected words, off or package.module:name")
    try:
        found: PictureFilter = getattr(import_module(module), attribute)()
    except Exception as error:  # the operator's own code may fail in any way
        raise ConfigError(
            f"picture_filter {name} cannot be made ({type(error).__name__}: {error})"
        ) from error
    for method in ("refuse_prompt", "refuse_picture"):
        if not callable(getattr(found, method, None)):
            raise ConfigError(f"picture_filter {name} gives a {type(found).__name__} without {method}")
    return found


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Matches any of them and their plurals, as whole words where they are written with Latin letters."""
    parts = []
    for word in words:
        text = re.escape(_plain(word))
        is_latin = word.isascii()
        parts.append(rf"(?<![a-z0-9]){text}(?:e?s)?(?![a-z0-9])" if is_latin else text)
    return re.compile("|".join(parts))


def _plain(text: str) -> str:
    """A text as it is compared: one form of each letter, no marks that are not seen, single spaces."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return " ".join(seen.casefold().split())


def _read_words(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_WORDS_BYTES:
            raise ConfigError(f"{path} has more than {_MOST_WORDS_BYTES:,} bytes of words; shorten it")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read picture_filter_words {path} ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"picture_filter_words {path} is no text in UTF-8; save it so") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
