"""Dates, times of day and telephone numbers, as they are said in either language."""

from __future__ import annotations

import re
from re import Match
from typing import Final

from localgpt.media.text.speech import numbers_en as en
from localgpt.media.text.speech import numbers_zh as zh
from localgpt.media.text.speech.symbols import SpokenLanguage
from localgpt.media.text.speech.units import MONTHS

__all__ = ["DATES"]

_MONTH: Final = "|".join([*MONTHS, *(f"{name[:3]}\\.?" for name in MONTHS), r"Sept\.?"])
_NOT_IN_NUMBER: Final = r"(?<!\d)(?<!\d[.,])"
_ORDINAL: Final = r"(?:st|nd|rd|th)?"
_MOST_DAYS: Final = 31
_ABROAD: Final = r"(?:\+\d{1,3}[ -]?)?"
_GROUPS: Final = r"\d{3}-\d{3,4}-\d{4}|0\d{2,3}-\d{7,8}|1[3-9]\d{9}"


def _numeric(match: Match[str], language: SpokenLanguage) -> str | None:
    """2024-05-01 and 2024/5/1."""
    year, month, day = (int(part) for part in (match[1], match[3], match[4]))
    return _date(year, month, day, language)


def _american(match: Match[str], language: SpokenLanguage) -> str | None:
    """5/1/2024; where the first number is no month, it is the day."""
    first, second, year = (int(part) for part in match.groups())
    month, day = (first, second) if first <= 12 else (second, first)
    return _date(year, month, day, language)


def _date(year: int, month: int, day: int, language: SpokenLanguage) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= _MOST_DAYS):
        return None
    if language == "zh":
        return f"{zh.digits(str(year))}年{zh.cardinal(month)}月{zh.cardinal(day)}日"
    return f"{MONTHS[month - 1]} {en.ordinal(day)}, {en.year(year)}"


def _month_day(match: Match[str], language: SpokenLanguage) -> str | None:
    """May 1, 2024 and May 1st; "may 5" and "march 5" may be verbs."""
    if match[1] in ("may", "march", "mar"):
        return None
    month, day, year = _month(match[1]), int(match[2]), match[3]
    if not 1 <= day <= _MOST_DAYS:
        return None
    said = f"{month} {en.ordinal(day)}"
    return f"{said}, {en.year(int(year))}" if year else said


def _day_month(match: Match[str], language: SpokenLanguage) -> str | None:
    """1 May 2024."""
    day, month, year = int(match[1]), _month(match[2]), match[3]
    if not 1 <= day <= _MOST_DAYS:
        return None
    said = f"the {en.ordinal(day)} of {month}"
    return f"{said}, {en.year(int(year))}" if year else said


def _month_year(match: Match[str], language: SpokenLanguage) -> str:
    return f"{_month(match[1])} {en.year(int(match[2]))}"


def _month(name: str) -> str:
    return next(month for month in MONTHS if month.lower().startswith(name.lower()[:3]))


def _chinese_year(match: Match[str], language: SpokenLanguage) -> str:
    """2024年: digit by digit; 1000年 and 1500年前 are so many years."""
    value = int(match[2])
    is_long = value % 100 == 0 and bool(match[3])
    if not match[1] and (not 1000 < value < 2100 or is_long):
        return f"{zh.counting(value)}年{match[3] or ''}"
    return f"{match[1] or ''}{zh.digits(match[2])}年{match[3] or ''}"


def _clock(match: Match[str], language: SpokenLanguage) -> str | None:
    """14:30, 14:30:05, 3:05 pm."""
    hour, minute = int(match[1]), int(match[2])
    second = None if match[3] is None else int(match[3])
    if hour > 24 or minute > 59 or (second or 0) > 59:
        return None
    half = (match[4] or "").replace(".", "").upper()
    if language == "zh":
        half_day = {"AM": "上午", "PM": "下午"}.get(half, "")
        said = f"{half_day}{zh.counting(hour)}点"
        if minute or second:
            said += f"{'零' if 0 < minute < 10 else ''}{zh.cardinal(minute)}分"
        return f"{said}{zh.cardinal(second)}秒" if second else said
    said = en.cardinal(hour)
    if minute:
        said += f" {'oh ' if minute < 10 else ''}{en.cardinal(minute)}"
    elif not half:
        said += " hundred hours" if hour > 12 else " o'clock"
    if second:
        said += f" and {en.cardinal(second)} seconds"
    return f"{said} {half}" if half else said


def _hour(match: Match[str], language: SpokenLanguage) -> str | None:
    """3 pm."""
    hour, half = int(match[1]), match[2].replace(".", "").upper()
    if not 1 <= hour <= 12:
        return None
    if language == "zh":
        return f"{'上午' if half == 'AM' else '下午'}{zh.counting(hour)}点"
    return f"{en.cardinal(hour)} {half}"


def _european(match: Match[str], language: SpokenLanguage) -> str | None:
    """15.03.2025."""
    return _date(int(match[3]), int(match[2]), int(match[1]), language)


def _dotted(match: Match[str], language: SpokenLanguage) -> str | None:
    """2024.5.1 in Chinese; in English it is a version."""
    return _date(int(match[1]), int(match[2]), int(match[3]), language) if language == "zh" else None


def _year_month(match: Match[str], language: SpokenLanguage) -> str | None:
    """2024-05; 2010-12 is a range of years."""
    year, month = int(match[1]), int(match[2])
    if not 1 <= month <= 12 or (month > 9 and month > year % 100):
        return None
    if language == "zh":
        return f"{zh.digits(match[1])}年{zh.cardinal(month)}月"
    return f"{MONTHS[month - 1]} {en.year(year)}"


def _decade(match: Match[str], language: SpokenLanguage) -> str:
    """1990s, and the 80s."""
    words = en.year(int(match[1]))
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"


def _telephone(match: Match[str], language: SpokenLanguage) -> str:
    """Groups of digits, and mobile numbers of eleven."""
    groups = re.findall(r"\d+", match[0])
    plus = "plus " if match[0].startswith("+") else ""
    if language == "zh":
        return ("加" if plus else "") + ",".join(zh.digits(group, one="幺") for group in groups)
    return plus + ", ".join(en.digits(group) for group in groups)


# In order; a function gives None where it is something else.
DATES: Final = (
    (re.compile(rf"{_NOT_IN_NUMBER}(\d{{4}})([-/])(\d{{1,2}})\2(\d{{1,2}})(?!\d)"), _numeric),
    (re.compile(rf"{_NOT_IN_NUMBER}(\d{{1,2}})/(\d{{1,2}})/(\d{{4}})(?!\d)"), _american),
    (re.compile(rf"{_NOT_IN_NUMBER}(\d{{1,2}})\.(\d{{1,2}})\.((?:19|20)\d\d)(?!\d|\.\d)"), _european),
    (re.compile(rf"{_NOT_IN_NUMBER}((?:19|20)\d\d)\.(\d{{1,2}})\.(\d{{1,2}})(?!\d|\.\d)"), _dotted),
    (re.compile(rf"{_NOT_IN_NUMBER}(?<![\d-])((?:19|20)\d\d)-([01]\d)(?![\d-])"), _year_month),
    (
        re.compile(r"(公元前?)?(?<![\d.,])(?:(?<=元)|(?<=前)|(?=\d{4}))(\d{1,4})年(前|来|的?历史|间)?"),
        _chinese_year,
    ),
    (
        re.compile(rf"\b({_MONTH})\s+(\d{{1,2}}){_ORDINAL}(?!\d)(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE),
        _month_day,
    ),
    (
        re.compile(rf"\b(\d{{1,2}}){_ORDINAL}\s+({_MONTH})(?:,?\s+(\d{{4}})\b)?(?![a-z])", re.IGNORECASE),
        _day_month,
    ),
    (re.compile(rf"\b({_MONTH})\s+(\d{{4}})\b", re.IGNORECASE), _month_year),
    (
        re.compile(
            rf"{_NOT_IN_NUMBER}(\d{{1,2}})[:：](\d{{2}})(?:[:：](\d{{2}}))?(?!\d)(?:\s*([ap]\.m\.|[ap]m\b))?",
            re.IGNORECASE,
        ),
        _clock,
    ),
    (re.compile(rf"{_NOT_IN_NUMBER}(\d{{1,2}})\s*([ap]\.m\.|[ap]m\b)", re.IGNORECASE), _hour),
    (re.compile(r"\b(\d{3}0)s\b"), _decade),
    (
        re.compile(
            r"(?:'|(?<=\bthe )|(?<=\bhis )|(?<=\bher )|(?<=\bmy )|(?<=\btheir )|(?<=\bearly )|(?<=\blate )"
            r"|(?<=\bmid[- ]))([2-9]0)s\b",
            re.IGNORECASE,
        ),
        _decade,
    ),
    (re.compile(rf"{_NOT_IN_NUMBER}{_ABROAD}(?:{_GROUPS})(?!\d|\.\d)"), _telephone),
)
