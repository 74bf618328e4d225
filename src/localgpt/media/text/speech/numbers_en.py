"""Numbers in English words."""

from __future__ import annotations

from typing import Final

__all__ = ["cardinal", "digits", "number", "ordinal", "year"]

_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_SMALL: Final = tuple(_WORDS.split())
_TENS: Final = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES: Final = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS: Final = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_LARGEST: Final = 10**15  # from here on digit by digit


def cardinal(value: int) -> str:
    """42 as "forty two"; very large ones digit by digit."""
    if value < 0:
        return f"minus {cardinal(-value)}"
    if value >= _LARGEST:
        return digits(str(value))
    words: list[str] = []
    for scale, name in _SCALES:
        if value >= scale:
            words += [_below_thousand(value // scale), name]
            value %= scale
    if value or not words:
        words.append(_below_thousand(value))
    return " ".join(words)


def ordinal(value: int) -> str:
    """42 as "forty second"."""
    *before, last = cardinal(value).split()
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*before, _ORDINALS.get(last, regular)])


def digits(text: str) -> str:
    """Digits one by one; other characters are left out."""
    return " ".join(_SMALL[int(char)] for char in text if "0" <= char <= "9")


def number(text: str) -> str:
    """A written number with a sign, separators of thousands and decimals, as in "-1,234.50"."""
    plain = text.replace(",", "")
    sign = "minus " if plain[:1] in ("-", "−") else ""
    whole, _, fraction = plain.lstrip("+-−").partition(".")
    is_code = len(whole) > 1 and whole.startswith("0")
    words = digits(whole) if is_code else cardinal(int(whole or "0"))
    return f"{sign}{words} point {digits(fraction)}" if fraction else sign + words


def year(value: int) -> str:
    """1984 as "nineteen eighty four", 2005 as "two thousand five"."""
    high, low = divmod(value, 100)
    if not 1000 <= value <= 9999 or (high % 10 == 0 and low < 10):
        return cardinal(value)
    if low == 0:
        return f"{_below_thousand(high)} hundred"
    return f"{_below_thousand(high)} {'oh ' if low < 10 else ''}{_below_thousand(low)}"


def _below_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = [f"{_SMALL[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
        if rest:
            words.append(_SMALL[rest])
    elif rest or not words:
        words.append(_SMALL[rest])
    return " ".join(words)
