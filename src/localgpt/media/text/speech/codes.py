"""Numbers that are said digit by digit: codes, hotlines, telephone numbers in groups."""

from __future__ import annotations

import re
from re import Match
from typing import Final

from localgpt.media.text.speech import numbers_en as en
from localgpt.media.text.speech import numbers_zh as zh
from localgpt.media.text.speech.symbols import SpokenLanguage

__all__ = ["CODES", "GROUPS", "LETTERED"]

_KINDS_ZH: Final = (
    "验证码|密码|邮编|邮政编码|电话|手机号|号码|身份证|编号|学号|工号|卡号|尾号|单号|群号|QQ号|"
    "账号|帐号|房间号|房号|代码|分机"
)
_KINDS_EN: Final = (
    "code|pin|password|passcode|extension|error|ext\\.|account number|phone number|serial number|order number"
)
_EVENTS: Final = "热线|报警|急救|大学|高校|院校|工程|事件|晚会|大促|购物节|房间|号房"
_HOTLINES: Final = r"1[12]\d|12\d{3}|10\d{3}|9[56]\d{3}"
_COUNTED: Final = "[个部次多万千百元块条名位家种份人]"


def _named_code(match: Match[str], language: SpokenLanguage) -> str:
    """验证码是123456 and "code 404": what says that a code follows stays."""
    is_long = len(match[2]) > 6  # a telephone number
    digits = (
        zh.digits(match[2], one="幺" if is_long else "一")
        if re.search("[一-鿿]", match[1])
        else en.digits(match[2])
    )
    return match[1] + digits


def _hotline(match: Match[str], language: SpokenLanguage) -> str:
    return zh.digits(match[0], one="幺")


def _event(match: Match[str], language: SpokenLanguage) -> str | None:
    return None if match[0].endswith("00") else zh.digits(match[0])


def _emergency(match: Match[str], language: SpokenLanguage) -> str:
    return match[1] + en.digits(match[2])


def _generation(match: Match[str], language: SpokenLanguage) -> str:
    """80后: those born in the eighties; 9·11 and the like are days."""
    return zh.digits(match[0])


def _first_year(match: Match[str], language: SpokenLanguage) -> str:
    """2020-2021年: the other one is read with its sign."""
    return zh.digits(match[0]) + "到"


def _lines(match: Match[str], language: SpokenLanguage) -> str:
    """1080p."""
    if language == "zh":
        return zh.digits(match[1]) + match[2]
    high, low = divmod(int(match[1]), 100)
    return f"{en.cardinal(high)} {en.cardinal(low)} {match[2]}"


def _local(match: Match[str], language: SpokenLanguage) -> str | None:
    """555-1234; round numbers are a range's."""
    return None if language == "zh" or match[0].endswith("00") else _groups(match, language)


def _groups(match: Match[str], language: SpokenLanguage) -> str:
    """Groups of digits with a pause between them."""
    groups = re.findall(r"\d+", match[0])
    is_abroad = match[0].startswith("+")
    if language == "zh":
        one = "幺" if sum(map(len, groups)) >= 7 else "一"
        return ("加" if is_abroad else "") + ",".join(zh.digits(group, one=one) for group in groups)
    return ("plus " if is_abroad else "") + ", ".join(en.digits(group) for group in groups)


def _lettered(match: Match[str], language: SpokenLanguage) -> str | None:
    """CA1234 in Chinese; Top 100 is a number."""
    if language == "en" or match.string[: match.start()].lower().endswith("top"):
        return None
    return zh.digits(match[0], one="幺")


CODES: Final = (
    (
        re.compile(rf"((?:{_KINDS_ZH})[号码]*\s?(?:是|为|:)?\s?)(\d{{3,}})(?!\d|[.,:/-]\d|{_COUNTED})"),
        _named_code,
    ),
    (
        re.compile(rf"\b((?:{_KINDS_EN})(?: is|:)?\s)(\d{{3,}})(?!\d|[.,:/-]\d|\s?%)", re.IGNORECASE),
        _named_code,
    ),
    (re.compile(rf"(?<=[打拨])(?:{_HOTLINES})(?!\d|[.,]\d|{_COUNTED}|[分折])"), _hotline),
    (re.compile(rf"(?<![\d.,])\d{{3,5}}(?={_EVENTS})"), _event),
    (
        re.compile(r"\b((?:call|dial)(?:ed|ing)?\s)([2-9]11|988|999|112)(?![\d,.]\d|\s[a-z]+s\b)", re.I),
        _emergency,
    ),
    (re.compile(r"(?<!\d)(?:1[1-9]|20)\d\d\s?[-~]\s?(?=\d{4}年)"), _first_year),
    (re.compile(r"(?<![\d.])(?:[5-9][05]|0[05])(?=后(?![天来面续]))"), _generation),
    (re.compile(r"(?<![\d.])\d{1,2}·\d{1,2}(?!\d)"), _generation),
    (re.compile(r"(?<![\d.,])(480|720|1080|1440|2160)([pPi])(?![A-Za-z\d])"), _lines),
)  # fmt: skip
# Behind the dates, and before ranges.
GROUPS: Final = (
    (re.compile(r"(?<![\w+])(?:\+?\d{1,3}[ -]?)?\(\d{3}\)\s?\d{3}-\d{4}(?!\d)"), _groups),
    (re.compile(r"(?<![\w+-])(?:\+\d{1,3}[ -])?\d{3,4}(?: \d{4}){2,}(?![\d.])"), _groups),
    (re.compile(r"(?<![\w.+-])\d+(?:-\d+){2,}(?![\w-]|\.\d)"), _groups),
    (re.compile(r"(?<![\w.+-])\d{3}-\d{4}(?![\w-]|[.,]\d|\s?[%°])"), _local),
)
LETTERED: Final = (re.compile(r"(?<=[A-Za-z])\d{3,}(?![\d.,]\d)"), _lettered)
