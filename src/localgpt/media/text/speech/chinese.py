"""Chinese characters to sounds in Zhuyin with a tone behind each syllable; pypinyin knows the readings."""

from __future__ import annotations

from typing import Final

from localgpt.media.text.speech.symbols import TONES, ZHUYIN

__all__ = ["chinese_sounds", "is_ideograph", "prepare_chinese", "with_tone"]

_FIRST: Final = TONES[0]
_KNOWN: Final = frozenset(ZHUYIN + TONES)


def chinese_sounds(text: str) -> str:
    """Zhuyin of a run of characters; those without a reading are left out. Tones change as in speech."""
    from pypinyin import Style, lazy_pinyin

    syllables = lazy_pinyin(
        text, style=Style.BOPOMOFO, errors="ignore", neutral_tone_with_five=True, tone_sandhi=True
    )
    return "".join(map(with_tone, syllables))


def with_tone(syllable: str) -> str:
    """A syllable in Zhuyin with its tone written, the first one too; empty for what is none."""
    kept = "".join(char for char in syllable if char in _KNOWN)
    if not kept or kept[0] in TONES or kept != syllable:
        return ""
    return kept if kept[-1] in TONES else kept + _FIRST


def is_ideograph(char: str) -> bool:
    """Whether a character belongs to the Chinese script."""
    code = ord(char)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or code == 0x3007 or 0x20000 <= code <= 0x323AF
    )


def prepare_chinese() -> None:
    """Read pypinyin's tables before the first character is asked for."""
    chinese_sounds("你")
