"""A text as sounds: runs of one language each, normalised, with the marks between them.

Everything a voice is given goes through `spoken_phrases`, in training as in use.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from localgpt.media.text.speech.chinese import chinese_sounds, is_ideograph, prepare_chinese
from localgpt.media.text.speech.english import english_sounds, prepare_english
from localgpt.media.text.speech.normalize import main_language, normalize
from localgpt.media.text.speech.symbols import MARKS, SpokenLanguage

__all__ = ["Phrase", "prepare", "spoken_phrases", "unspoken_letters"]

_MARKS: Final = frozenset(MARKS)
_PIECE: Final = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|[,.?!]|\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Sounds of one language, in the alphabet of `symbols`."""

    language: SpokenLanguage
    symbols: str


def spoken_phrases(text: str, language: SpokenLanguage | None = None) -> list[Phrase]:
    """The sounds of a text, in order; empty where nothing of it can be said.

    Args:
        text: any; letters of other scripts are left out (see `unspoken_letters`).
        language: of numbers without neighbours; None for the text's own.
    """
    main = language or main_language(text)
    found: list[tuple[SpokenLanguage, list[str]]] = []
    for piece in _pieces(normalize(text, main)):
        if not piece[0].isalpha() and not is_ideograph(piece[0]):
            if found:
                found[-1][1].append(piece if piece in _MARKS else " ")
            continue
        own: SpokenLanguage = "zh" if is_ideograph(piece[0]) else "en"
        sounds = chinese_sounds(piece) if own == "zh" else english_sounds(piece)
        if not sounds:
            continue
        if not found or found[-1][0] != own:
            found.append((own, []))
        found[-1][1].append(sounds)
    return [
        Phrase(language=own, symbols=symbols)
        for own, parts in found
        if (symbols := _tidy("".join(parts), own))
    ]


def unspoken_letters(text: str) -> list[str]:
    """Letters and digits of scripts that have no sounds here, each once, in order of their codes."""
    plain = _plain_letters(normalize(text))
    return sorted({char for char in plain if char.isalnum() and not _is_known(char)})


def prepare() -> None:
    """Read all tables, which takes a moment, before the first text is spoken."""
    prepare_english()
    prepare_chinese()


def _pieces(text: str) -> list[str]:
    """Words, runs of ideographs, marks and single other characters."""
    pieces: list[str] = []
    for piece in _PIECE.findall(_plain_letters(text)):
        if pieces and is_ideograph(piece[0]) and is_ideograph(pieces[-1][-1]):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _plain_letters(text: str) -> str:
    """Latin letters without their accents; ligatures of them in parts."""
    text = text.translate(_LIGATURES)
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(char for char in parts if not unicodedata.combining(char)))


def _is_known(char: str) -> bool:
    return (char.isascii() and char.isalnum()) or is_ideograph(char)


def _tidy(symbols: str, language: SpokenLanguage) -> str:
    """One mark where there are several, no space beside it, none at the beginning.

    In Chinese there are no spaces, and questions and calls end as statements do: there was no recording of
    one to learn from, and a mark that a voice never learned would be worse.
    """
    if language == "zh":
        symbols = symbols.translate(_STATED)
    symbols = re.sub(r"\s*([,.?!])[\s,.?!]*", r"\1", symbols)
    symbols = re.sub(r"\s+", "" if language == "zh" else " ", symbols)
    return symbols.strip().lstrip(",.?!")


_STATED: Final = str.maketrans("?!", "..")
_LIGATURES: Final = str.maketrans({
    "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
    "ı": "i",
})  # fmt: skip
