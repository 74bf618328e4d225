"""English words to sounds: a lexicon first, then parts of words, then rules for letters.

The lexicon is made of the CMU Pronouncing Dictionary (data/LICENSE-CMUDICT) by `recipes.letters`.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from localgpt.media.text.speech.letters import guess_sounds

__all__ = ["english_sounds", "prepare_english", "spell"]

_NAME: Final = "data/english.txt.xz"
_LETTERS: Final = {
    "a": "ˈeɪ", "b": "bˈi", "c": "sˈi", "d": "dˈi", "e": "ˈi", "f": "ˈɛf", "g": "ʤˈi", "h": "ˈeɪʧ",
    "i": "ˈaɪ", "j": "ʤˈeɪ", "k": "kˈeɪ", "l": "ˈɛl", "m": "ˈɛm", "n": "ˈɛn", "o": "ˈoʊ", "p": "pˈi",
    "q": "kjˈu", "r": "ˈɑɹ", "s": "ˈɛs", "t": "tˈi", "u": "jˈu", "v": "vˈi", "w": "dˈʌbəljˌu",
    "x": "ˈɛks", "y": "wˈaɪ", "z": "zˈi",
}  # fmt: skip
_VOICELESS: Final = "pkfθt"
_HISSING: Final = ("s", "z", "ʃ", "ʒ", "ʧ", "ʤ")
_MOST_SPELLED: Final = 5  # letters of a word in capitals that is spelled where the lexicon lacks it
_HARD: Final = re.compile(r"[^aeiouy']+")
# Short words that are no abbreviations even in a text of capitals; IT and US may be.
_FREQUENT_WORDS = (
    "a an the is am are was be and or but not no yes to of in on at by for as if so do did go get let up out "
    "off all any can has had have i he him his she her we our you my me who why how one two six ten new old "
    "now own see say way day man men use too may its"
)
_FREQUENT: Final = frozenset(_FREQUENT_WORDS.split())


def english_sounds(word: str) -> str:
    """IPA of one word of Latin letters, with apostrophes, in any case; empty where it has no letter."""
    plain = word.replace("’", "'").strip("'")
    lower = plain.lower()
    if not re.search("[a-z]", lower):
        return ""
    known = _lexicon()
    if plain.isupper() and 1 < len(plain) <= _MOST_SPELLED and _is_spelled(lower):
        return spell(lower)
    if lower in known:
        return known[lower]
    if len(lower) == 1 or _HARD.fullmatch(lower):
        return spell(lower)
    if "'" in lower:
        base, _, ending = plain.rpartition("'")
        if ending == "s":
            return _with_s(english_sounds(base))
        return "".join(english_sounds(part) for part in plain.split("'"))
    if lower.endswith("s") and lower[:-1] in known:
        return _with_s(known[lower[:-1]])
    return _compound(lower, known) or guess_sounds(lower)


def spell(letters: str) -> str:
    """The names of letters, each a word of its own."""
    return " ".join(_LETTERS[char] for char in letters.lower() if char in _LETTERS)


def prepare_english() -> None:
    """Read lexicon and rules before the first word is asked for."""
    _lexicon()
    guess_sounds("a")


def _is_spelled(word: str) -> bool:
    """Capitals are said letter by letter, unless they are a frequent word or a known one of four letters."""
    return word not in _FREQUENT and (len(word) < 4 or word not in _lexicon())


def _with_s(sounds: str) -> str:
    if not sounds:
        return sounds
    if sounds.endswith(_HISSING):
        return f"{sounds}ɪz"
    return sounds + ("s" if sounds[-1] in _VOICELESS else "z")


def _compound(word: str, known: Mapping[str, str]) -> str:
    """Two words of the lexicon written as one, each of four letters or more: the longest first one."""
    for cut in range(len(word) - 4, 3, -1):
        if word[:cut] in known and word[cut:] in known:
            return known[word[:cut]] + known[word[cut:]].replace("ˈ", "ˌ")
    return ""


@cache
def _lexicon() -> Mapping[str, str]:
    data = lzma.decompress(files("localgpt.media.text.speech").joinpath(_NAME).read_bytes())
    return dict(line.split("\t") for line in data.decode("utf-8").splitlines())
