"""Numbers in Chinese characters."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["cardinal", "counting", "digits", "number"]

_DIGITS: Final = "零一二三四五六七八九"
_SCALES: Final = ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十"))
_LARGEST: Final = 10**16  # from here on digit by digit


def digits(text: str, *, one: str = "一") -> str:
    """Digits one by one; telephone numbers have 幺 for 一. Other characters are left out."""
    return "".join(_DIGITS[int(char)] for char in text if "0" <= char <= "9").replace("一", one)


def cardinal(value: int) -> str:
    """10305 as 一万零三百零五; very large ones digit by digit."""
    if value < 0:
        return f"负{cardinal(-value)}"
    if value >= _LARGEST:
        return digits(str(value))
    words = _cardinal(value) if value else _DIGITS[0]
    return words[1:] if words.startswith("一十") else words


def counting(value: int) -> str:
    """Before a measure word: 2 is 两."""
    words = cardinal(value)
    if words == "二":
        return "两"
    return re.sub("(?<![十零])二(?=[千万亿])", "两", words)


def number(text: str, *, counts: bool = False) -> str:
    """A written number with a sign, separators of thousands and decimals; `counts` before a measure word."""
    plain = text.replace(",", "")
    sign = "负" if plain[:1] in ("-", "−") else ""
    whole, _, fraction = plain.lstrip("+-−").partition(".")
    is_code = len(whole) > 1 and whole.startswith("0")
    value = int(whole or "0")
    words = digits(whole) if is_code else counting(value) if counts and not fraction else cardinal(value)
    return f"{sign}{words}点{digits(fraction)}" if fraction else sign + words


def _cardinal(value: int) -> str:
    """1 and more, by 亿 and 万; a zero stands for places that are left out."""
    for scale, name in _SCALES:
        if value >= scale:
            high, low = divmod(value, scale)
            gap = _DIGITS[0] if 0 < low < scale // 10 else ""
            return _cardinal(high) + name + gap + (_cardinal(low) if low else "")
    return _DIGITS[value]
