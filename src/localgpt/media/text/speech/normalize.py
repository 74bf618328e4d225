"""Written text as words: numbers, dates, times, units, currencies, signs and abbreviations of both languages.

What surrounds a number decides its language: a neighbouring Chinese character, else the script that most of
the text is in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from re import Match, Pattern
from typing import Final

from localgpt.media.text.speech import numbers_en as en
from localgpt.media.text.speech import numbers_zh as zh
from localgpt.media.text.speech.chinese import is_ideograph
from localgpt.media.text.speech.dates import DATES
from localgpt.media.text.speech.symbols import SpokenLanguage
from localgpt.media.text.speech.units import ABBREVIATIONS, CURRENCIES, SIGNS, UNITS

__all__ = ["main_language", "normalize"]

_NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_FREE: Final = r"(?<![A-Za-z\d])(?<!\d\.)"  # neither in a word nor behind a decimal point
_UNIT: Final = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_CURRENCY: Final = "|".join(re.escape(sign) for sign in sorted(CURRENCIES, key=len, reverse=True))
_SCALES_EN: Final = "trillion|billion|million|thousand"
_WORD: Final = re.compile(r"(?<![\d°/A-Za-z])[A-Za-z]+")
_MEASURES: Final = frozenset(
    "个只本张条辆位名件台座杯瓶双天年周次倍岁层间颗块斤米点分秒种首家门顿场遍口小万亿千"
)
_ROMAN: Final = re.compile(r"\b(?=[IVX]{2,})(X{0,3})(IX|IV|V?I{0,3})\b")
_KEPT: Final = {
    "，": ",", "、": ",", "；": ",", ";": ",", "：": ",", ":": ",", "。": ".", "！": "!", "？": "?",
    "…": ".", "—": ",", "–": ",", "(": ",", ")": ",", "（": ",", "）": ",", "《": " ", "》": " ",
}  # fmt: skip

Rule = Callable[[Match[str], SpokenLanguage], str | None]


def normalize(text: str, language: SpokenLanguage | None = None) -> str:
    """The text in words of its own scripts, with the marks `,.?!` only.

    Args:
        text: any; what cannot be said is left for the next step to leave out.
        language: of numbers that have no neighbour to tell; None for that of most of the text.
    """
    # A full-width comma would become one that looks like part of a number.
    text = unicodedata.normalize("NFKC", text.replace("，", ", ")).translate(_DASHES)
    main = language or main_language(text)
    for pattern, rule in _RULES:
        text = _apply(pattern, rule, text, main)
    text = "".join(_KEPT.get(char, char) for char in text)
    return re.sub(r"\s+", " ", text).strip()


def main_language(text: str) -> SpokenLanguage:
    """Chinese where there are more ideographs than words of other scripts, units of numbers not counted."""
    return "zh" if sum(map(is_ideograph, text)) > len(_WORD.findall(text)) else "en"


def _apply(pattern: Pattern[str], rule: Rule, text: str, main: SpokenLanguage) -> str:
    def replace(match: Match[str]) -> str:
        language = _language_at(match, main)
        said = rule(match, language)
        if said is None:
            return match[0]
        return said if language == "zh" else _spaced(match, said)

    return pattern.sub(replace, text)


def _language_at(match: Match[str], main: SpokenLanguage) -> SpokenLanguage:
    text = match.string
    around = (text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1])
    return "zh" if any(char and is_ideograph(char) for char in around) else main


def _spaced(match: Match[str], said: str) -> str:
    """English words keep off letters and digits beside them."""
    before = match.string[match.start() - 1 : match.start()]
    after = match.string[match.end() : match.end() + 1]
    return f"{' ' if before.isalnum() else ''}{said}{' ' if after.isalnum() else ''}"


def _address(match: Match[str], language: SpokenLanguage) -> str:
    """Web and mail addresses: their marks as words."""
    text = re.sub(r"^https?://", "", match[0]).rstrip("/")
    for sign, (english, chinese) in {
        "@": (" at ", " 艾特 "), ".": (" dot ", "点"), "/": (" slash ", "斜杠"), "-": (" dash ", "杠"),
        "_": (" underscore ", "下划线"), ":": (" colon ", "冒号"),
    }.items():  # fmt: skip
        text = text.replace(sign, chinese if language == "zh" else english)
    return text


def _money(match: Match[str], language: SpokenLanguage) -> str:
    """$12.50, ¥30, $2 million."""
    one, many, cent, chinese = CURRENCIES[match[1]]
    amount, scale = match[2].replace(",", ""), match[3]
    if language == "zh":
        return zh.number(amount) + _CHINESE_SCALES.get((scale or "").lower(), "") + chinese
    if scale:
        return f"{en.number(amount)} {scale} {many}"
    whole, _, fraction = amount.partition(".")
    said = f"{en.number(whole)} {one if int(whole) == 1 else many}"
    if not fraction:
        return said
    if len(fraction) != 2:
        return f"{en.number(amount)} {many}"
    cents = int(fraction)
    plural = {"penny": "pence", "cent": "cents"}.get(cent, cent)
    return f"{said} and {en.cardinal(cents)} {cent if cents == 1 else plural}" if cents else said


def _amount_of(match: Match[str], language: SpokenLanguage) -> str:
    """30 USD and 5€: the sign behind."""
    one, many, _, chinese = CURRENCIES[match[2]]
    if language == "zh":
        return zh.number(match[1]) + chinese
    return f"{en.number(match[1])} {one if match[1] == '1' else many}"


def _measured(match: Match[str], language: SpokenLanguage) -> str:
    """5 km, -3°C, 12.5%."""
    one, many, chinese = UNITS[match[2]]
    if language == "zh":
        if match[2] in ("%", "‰"):
            sign = "负" if match[1].startswith("-") else ""
            return f"{sign}{'百分之' if match[2] == '%' else '千分之'}{zh.number(match[1].lstrip('-+'))}"
        below = match[2] in ("°C", "°F") and match[1].startswith("-")
        number = zh.number(match[1].lstrip("-"), counts=True) if below else zh.number(match[1], counts=True)
        return ("零下" if below else "") + number + chinese
    return f"{en.number(match[1])} {one if match[1].lstrip('-') == '1' else many}"


def _range(match: Match[str], language: SpokenLanguage) -> str:
    """3-5, 3~5 km and 1990-1995."""
    first, last, unit = match[1], match[2], match[3]
    if language == "zh":
        said = f"{zh.number(first)}到{zh.number(last)}"
        if unit == "%":
            return f"百分之{said}"
        return said + (UNITS[unit][2] if unit else "")
    said = f"{_english(first)} to {_english(last)}"
    return f"{said} {UNITS[unit][1]}" if unit else said


def _fraction(match: Match[str], language: SpokenLanguage) -> str | None:
    over, under = int(match[1]), int(match[2])
    if not 2 <= under <= 100 or over >= under:
        return None
    if language == "zh":
        return f"{zh.cardinal(under)}分之{zh.cardinal(over)}"
    name = {2: "half", 4: "quarter"}.get(under, en.ordinal(under))
    return f"{en.cardinal(over)} {name if over == 1 else f'{name}s'}"


def _ordinal(match: Match[str], language: SpokenLanguage) -> str:
    return f"第{zh.cardinal(int(match[1]))}" if language == "zh" else en.ordinal(int(match[1]))


def _ratio(match: Match[str], language: SpokenLanguage) -> str:
    if language == "zh":
        return f"{zh.number(match[1])}比{zh.number(match[2])}"
    return f"{en.number(match[1])} to {en.number(match[2])}"


def _version(match: Match[str], language: SpokenLanguage) -> str:
    parts = match[0].split(".")
    point = "点" if language == "zh" else " point "
    return point.join(zh.number(part) if language == "zh" else en.number(part) for part in parts)


def _roman(match: Match[str], language: SpokenLanguage) -> str | None:
    """World War II; single letters are left, since I and V and X are words of their own."""
    if not match[0]:
        return None
    values = {"I": 1, "V": 5, "X": 10}
    numbers = [values[char] for char in match[0]]
    following = [*numbers[1:], 0]
    total = sum(-one if one < after else one for one, after in zip(numbers, following, strict=True))
    return zh.cardinal(total) if language == "zh" else en.cardinal(total)


def _abbreviation(match: Match[str], language: SpokenLanguage) -> str | None:
    """What follows "no." and "fig." has to be a number; at the very end the full stop stays one."""
    name, rest = match[0].lower(), match.string[match.end() :].lstrip()
    if name in _BEFORE_NUMBERS and not rest[:1].isdigit():
        return None
    return ABBREVIATIONS[name] + ("" if rest else ".")


def _plain(match: Match[str], language: SpokenLanguage) -> str:
    """What is left of numbers."""
    if language == "en":
        return _english(match[0])
    before = match.string[match.start() - 1 : match.start()]
    after = match.string[match.end() : match.end() + 1]
    return zh.number(match[0], counts=before != "第" and after in _MEASURES)


def _english(text: str) -> str:
    """A number; four digits of a recent year are said as one."""
    return en.year(int(text)) if re.fullmatch(r"(1[1-9]|20)\d\d", text) else en.number(text)


def _signed(match: Match[str], language: SpokenLanguage) -> str:
    """A minus before a number, where no word or number stands before it."""
    return "负" if language == "zh" else "minus "


def _sign(match: Match[str], language: SpokenLanguage) -> str:
    english, chinese = SIGNS[match[0]]
    return chinese if language == "zh" else f" {english} "


_DASHES: Final = str.maketrans({"−": "-", "‐": "-", "‑": "-", "〜": "~", "’": "'", "⁄": "/"})
_BEFORE_NUMBERS: Final = frozenset({"no.", "fig."})
_CHINESE_SCALES: Final = {"thousand": "千", "million": "百万", "billion": "十亿", "trillion": "万亿"}
_ABBREVIATED: Final = "|".join(re.escape(one) for one in sorted(ABBREVIATIONS, key=len, reverse=True))
_RULES: Final[tuple[tuple[Pattern[str], Rule], ...]] = (
    (
        re.compile(r"https?://[^\s，。）)]+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\bwww\.[^\s，。）)]+", re.ASCII),
        _address,
    ),
    *DATES,
    (
        re.compile(rf"({_CURRENCY})\s?({_NUMBER})(?!\d)(?:\s({_SCALES_EN})\b)?", re.IGNORECASE),
        lambda match, language: _money(match, language) if match[1] in CURRENCIES else None,
    ),
    (re.compile(rf"{_FREE}({_NUMBER})\s?({_CURRENCY})(?![A-Za-z\d])"), _amount_of),
    (
        re.compile(rf"{_FREE}({_NUMBER})\s?[-~]\s?({_NUMBER})(?![\d-])(?:\s?({_UNIT})(?![A-Za-z\d]))?"),
        _range,
    ),
    (re.compile(rf"{_FREE}([-+]?(?:{_NUMBER}))\s?({_UNIT})(?![A-Za-z\d])"), _measured),
    (re.compile(rf"{_FREE}(\d+)(?:st|nd|rd|th)\b"), _ordinal),
    (re.compile(r"(?<![\d./])(\d{1,3})/(\d{1,3})(?![\d/])"), _fraction),
    (re.compile(r"(?<![\d:])(\d+)[:：](\d+)(?![\d:])"), _ratio),
    (re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])"), _version),
    (re.compile(rf"(?<![A-Za-z])(?:{_ABBREVIATED})(?![A-Za-z])", re.IGNORECASE), _abbreviation),
    (_ROMAN, _roman),
    (re.compile(r"(?<![A-Za-z\d)])-(?=\d)"), _signed),
    (re.compile(_NUMBER), _plain),
    (re.compile("[" + re.escape("".join(SIGNS)) + "]"), _sign),
)
