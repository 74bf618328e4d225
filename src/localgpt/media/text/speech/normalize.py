"""Written text as words: numbers, dates, times, units, currencies, signs and abbreviations of both languages.

What surrounds a number decides its language: a neighbouring Chinese character, else the script that most of
the text is in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match, Pattern
from typing import Final

from localgpt.media.text.speech import numbers_en as en
from localgpt.media.text.speech import numbers_zh as zh
from localgpt.media.text.speech.chinese import is_ideograph
from localgpt.media.text.speech.codes import CODES, GROUPS, LETTERED
from localgpt.media.text.speech.dates import DATES
from localgpt.media.text.speech.symbols import SpokenLanguage
from localgpt.media.text.speech.units import ABBREVIATIONS, CURRENCIES, SIGNS, UNITS
from localgpt.media.text.speech.written import plain_forms

__all__ = ["main_language", "normalize"]

_NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_FREE: Final = r"(?<![A-Za-z\d])(?<!\d\.)"  # neither in a word nor behind a decimal point
_UNIT: Final = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_CURRENCY: Final = "|".join(re.escape(sign) for sign in sorted(CURRENCIES, key=len, reverse=True))
_SCALES_EN: Final = "trillion|billion|million|thousand"
_WORD: Final = re.compile(r"(?<![\d°/A-Za-z])[A-Za-z]+")
_MEASURES: Final = frozenset(
    "个只本张条辆位名件台座杯瓶双天年周次倍岁层间颗块斤米点分秒种首家门顿场遍口小万亿千"
    "部类套份句页组队对副把匹头艘架所栋幢扇片朵棵株粒滴碗盘包袋盒箱桶克吨升届轮局段章篇幅支枝根道项人元"
    "厘毫公英室厅国者股亩盏列封罐盆款批笔步圈角磅"
)
_ROMAN: Final = re.compile(r"(?<![A-Za-z\d])(?=[IVX]{2,})(X{0,3})(IX|IV|V?I{0,3})(?![A-Za-z\d])")
# "5 in the box" has no inches; what has is followed by a number, a mark or a word such as "wide".
_NO_WORD: Final = r"(?<! in(?=\s[A-Za-z\d]))"
_COUNTED: Final = re.compile(r"\d\s?[A-Za-z²³]{0,7}$")
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
    text = plain_forms(text)
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
    whole = match[0].rstrip(".,!?;:'\"")
    text = re.sub(r"^https?://", "", whole).rstrip("/")
    for sign, (english, chinese) in {
        "@": (" at ", " 艾特 "), ".": (" dot ", "点"), "/": (" slash ", "斜杠"), "-": (" dash ", "杠"),
        "_": (" underscore ", "下划线"), ":": (" colon ", "冒号"),
    }.items():  # fmt: skip
        text = text.replace(sign, chinese if language == "zh" else english)
    return text + match[0][len(whole) :]


def _money(match: Match[str], language: SpokenLanguage) -> str:
    """$12.50, ¥30, -$2 million, $5-10, $3.2B."""
    one, many, cent, chinese = CURRENCIES[match["sign"]]
    amount, last = match["amount"].replace(",", ""), match["last"]
    scale = _SCALE_LETTERS.get(match["letter"] or "", (match["scale"] or "").lower())
    is_negative = bool(match["minus"] or match["minus_2"])
    if language == "zh":
        said = _amount_zh(amount) + (f"到{_amount_zh(last)}" if last else "")
        scaled = (match["scale_zh"] or "") + _CHINESE_SCALES.get(scale, "")
        return ("负" if is_negative else "") + said + scaled + chinese
    minus = "minus " if is_negative else ""
    if scale or last:
        said = en.number(amount) + (f" to {en.number(last)}" if last else "")
        return f"{minus}{said} {scale} {many}" if scale else f"{minus}{said} {many}"
    return minus + _coins(amount, one, many, cent)


def _amount_zh(amount: str) -> str:
    """5.50 as 五点五: nobody says the zero behind."""
    plain = amount.rstrip("0").rstrip(".") if "." in amount else amount
    return zh.number(plain, counts=True)


def _coins(amount: str, one: str, many: str, cent: str) -> str:
    """12.50 as dollars and cents."""
    whole, _, fraction = amount.partition(".")
    said = f"{en.number(whole)} {one if int(whole) == 1 else many}"
    if not fraction:
        return said
    if len(fraction) != 2:
        return f"{en.number(amount)} {many}"
    cents = int(fraction)
    plural = {"penny": "pence", "cent": "cents"}.get(cent, cent)
    coins = f"{en.cardinal(cents)} {cent if cents == 1 else plural}"
    if not int(whole) and cents:
        return coins
    return f"{said} and {coins}" if cents else said


def _amount_of(match: Match[str], language: SpokenLanguage) -> str:
    """30 USD, 5€ and 5-10 EUR: the sign behind."""
    one, many, _, chinese = CURRENCIES[match[3]]
    first, amount = match[1], match[2]
    if language == "zh":
        return (f"{_amount_zh(first)}到" if first else "") + _amount_zh(amount) + chinese
    said = f"{en.number(first)} to {en.number(amount)}" if first else en.number(amount)
    return f"{said} {one if amount == '1' and not first else many}"


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
    """3-5, -3~5 km, 10%-20% and 1990-1995."""
    minus, first, last, unit = match[1], match[2], match[4], match[5] or match[3]
    if language == "zh":
        return _range_zh(match)
    said = f"{'minus ' if minus else ''}{_english(first)} to {_english(last)}"
    return f"{said} {UNITS[unit][1]}" if unit else said


def _range_zh(match: Match[str]) -> str:
    minus, first, last, unit = match[1], match[2], match[4], match[5] or match[3]
    after = match.string[match.end() : match.end() + 1]
    if (
        not unit
        and _YEAR.fullmatch(first)
        and _YEAR.fullmatch(last)
        and first < last
        and after not in _MEASURES
    ):
        return f"{zh.digits(first)}到{zh.digits(last)}"
    counts = unit is not None or after in _MEASURES
    numbers = zh.number(first, counts=counts), zh.number(last, counts=counts)
    if unit == "%":
        return f"{'负' if minus else ''}百分之{numbers[0]}到百分之{numbers[1]}"
    below = "" if not minus else "零下" if unit in _DEGREES else "负"
    return f"{below}{numbers[0]}到{numbers[1]}{UNITS[unit][2] if unit else ''}"


def _fraction(match: Match[str], language: SpokenLanguage) -> str | None:
    """3/4, 1 1/2, 5/8 in; 9/11 is a day."""
    over, under, unit = int(match[2]), int(match[3]), match[4]
    if not 2 <= under <= 100 or over >= under or (over, under) == (9, 11):
        return None
    if language == "zh":
        whole = f"{zh.cardinal(int(match[1]))}又" if match[1] else ""
        return f"{whole}{zh.cardinal(under)}分之{zh.cardinal(over)}{UNITS[unit][2] if unit else ''}"
    name = {2: "half", 4: "quarter"}.get(under, en.ordinal(under))
    said = f"{en.cardinal(over)} {name if over == 1 else f'{name}s'}"
    if match[1]:
        said = f"{en.cardinal(int(match[1]))} and {'a' if (over, under) == (1, 2) else en.cardinal(over)} "
        said += name if over == 1 else f"{name}s"
    return f"{said} {UNITS[unit][1 if match[1] else 0]}" if unit else said


def _power(match: Match[str], language: SpokenLanguage) -> str:
    """x^2, 10^-6 and 1.5e-3."""
    exponent = match[1]
    if language == "zh":
        number = exponent if exponent == "n" else zh.number(exponent)
        return {"2": "的平方", "3": "的立方"}.get(exponent, f"的{number}次方")
    number = exponent if exponent == "n" else en.number(exponent)
    return {"2": " squared", "3": " cubed"}.get(exponent, f" to the power of {number}")


def _ten_to(match: Match[str], language: SpokenLanguage) -> str:
    if language == "zh":
        return f"乘十的{zh.number(match[1].lstrip('+'))}次方"
    return f" times ten to the power of {en.number(match[1].lstrip('+'))}"


def _per(match: Match[str], language: SpokenLanguage) -> str:
    """$20/month and 100元/月."""
    return f"每{match[1]}" if is_ideograph(match[1][0]) else f" per {_PER.get(match[1], match[1])} "


def _said(english: str, chinese: str) -> Rule:
    """A sign that is always the same words."""
    return lambda match, language: chinese if language == "zh" else f" {english} "


def _ordinal(match: Match[str], language: SpokenLanguage) -> str:
    value = int(match[1].replace(",", ""))
    return f"第{zh.cardinal(value)}" if language == "zh" else en.ordinal(value)


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
    if name == "no." and language == "zh":
        return "第"
    if name == "st." and not rest[:1].isupper():
        return "street" + ("" if rest else ".")
    return ABBREVIATIONS[name] + ("" if rest else ".")


def _plain(match: Match[str], language: SpokenLanguage) -> str:
    """What is left of numbers."""
    if language == "en":
        return _english(match[0])
    before = match.string[match.start() - 1 : match.start()]
    after = match.string[match.end() : match.end() + 1]
    is_grade = match.string[match.end() : match.end() + 2] == "年级"
    is_great = len(match[0].partition(".")[0]) > 3  # 2000 is 两千 with and without a measure word
    return zh.number(match[0], counts=before != "第" and (is_great or (after in _MEASURES and not is_grade)))


def _english(text: str) -> str:
    """A number; four digits of a recent year are said as one."""
    return en.year(int(text)) if re.fullmatch(r"(1[1-9]|20)\d\d", text) else en.number(text)


def _signed(match: Match[str], language: SpokenLanguage) -> str | None:
    """A minus before a number, where no word or number stands before it; 东风-5 is a name."""
    before = match.string[match.start() - 1 : match.start()]
    is_degree = re.match(r"-[\d.]+[度到至]", match.string[match.start() :])
    if before and is_ideograph(before) and before not in "是为到于至约在达和或" and not is_degree:
        return " "
    return "负" if language == "zh" else "minus "


def _sign(match: Match[str], language: SpokenLanguage) -> str:
    english, chinese = SIGNS[match[0]]
    return chinese if language == "zh" else f" {english} "


_YEAR: Final = re.compile(r"1[1-9]\d\d|20\d\d")
_DEGREES: Final = frozenset({"°C", "°F", "℃", "℉"})
_SCALE_LETTERS: Final = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "b": "billion", "B": "billion",
    "bn": "billion", "T": "trillion",
}  # fmt: skip
_PER: Final = {
    "mo": "month", "yr": "year", "wk": "week", "hr": "hour", "h": "hour", "min": "minute", "sec": "second",
    "s": "second", "lb": "pound", "kg": "kilogram", "L": "liter", "m2": "square meter", "m3": "cubic meter",
}  # fmt: skip
_PER_NAMES: Final = "|".join([
    *_PER, "month", "year", "week", "day", "hour", "minute", "second", "person", "night", "user", "unit",
])  # fmt: skip
_PER_ZH: Final = "月|年|天|日|周|小时|分钟|分|秒|平方米|公斤|千克|斤|克|米|人|次|件|个|吨|升|晚"
_BEFORE_NUMBERS: Final = frozenset({"no.", "fig."})
_CHINESE_SCALES: Final = {"thousand": "千", "million": "百万", "billion": "十亿", "trillion": "万亿"}
_ABBREVIATED: Final = "|".join(re.escape(one) for one in sorted(ABBREVIATIONS, key=len, reverse=True))
_RULES: Final[tuple[tuple[Pattern[str], Rule], ...]] = (
    (
        re.compile(r"https?://[^\s，。）)]+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\bwww\.[^\s，。）)]+", re.ASCII),
        _address,
    ),
    *CODES,
    (re.compile(r"(?<=[A-Za-z\d)])\s?-\s?(?=[\w.]+(?:\s?[-+×*÷]\s?[\w.]+)*\s?=)"), _said("minus", "减")),
    (re.compile(r"(?<=[A-Za-z\dπ)])\^([-+]?\d+|n)(?![\w])"), _power),
    (re.compile(r"(?<=\d)[eE]([-+]?\d+)(?!\w)"), _ten_to),
    (
        re.compile(r"(?<=\d)\s?[-~]\s?(?=\d{1,2}:\d\d)(?<=:\d\d)|(?<=:\d\d)\s?[-~]\s?(?=\d{1,2}:\d\d)"),
        _said("to", "到"),
    ),
    (re.compile(r"(?<=\d[ap]m)\s?[-~]\s?(?=\d)|(?<=\d\ds)\s?[-~]\s?(?=\d{4}s)", re.I), _said("to", "到")),
    (re.compile(r"(?<=[年月日号时点分])\s?[-~]\s?(?=\d)"), _said("to", "到")),
    (
        re.compile(r"(?<=[A-Za-z\d)])/(" + _PER_NAMES + r")(?![A-Za-z\d])(?<!km/h)(?<!m/s)"),
        lambda match, language: (
            _per(match, language) if _COUNTED.search(match.string[: match.start()]) else None
        ),
    ),
    (
        re.compile(r"(?<=\d[一-鿿])/(" + _PER_ZH + r")(?![一-鿿])|(?<=\d[一-鿿])/(?:" + _PER_ZH + r")"),
        lambda match, language: f"每{match[0][1:]}",
    ),
    *DATES,
    *GROUPS,
    (
        re.compile(
            rf"(?:(?<![\w)])(?P<minus>-)\s?)?(?<![A-Za-z])(?P<sign>{_CURRENCY})\s?(?P<minus_2>-)?(?P<amount>{_NUMBER})"
            rf"(?!\d)(?:\s?[-~]\s?(?:{_CURRENCY})?(?P<last>{_NUMBER})(?![\d-]))?"
            rf"(?:\s(?P<scale>{_SCALES_EN})\b|(?P<letter>(?-i:k|K|m|M|b|B|bn|T))(?![A-Za-z\d]))?"
            r"(?P<scale_zh>[百千]?[万亿]亿?)?",
            re.IGNORECASE,
        ),
        lambda match, language: _money(match, language) if match["sign"] in CURRENCIES else None,
    ),
    (
        re.compile(rf"{_FREE}(?:({_NUMBER})\s?[-~]\s?)?({_NUMBER})\s?({_CURRENCY})(?![A-Za-z\d])"),
        _amount_of,
    ),
    (
        re.compile(rf"(?<![\d./])(?:(\d+) )?(\d{{1,3}})/(\d{{1,3}})(?![\d/])(?:\s?({_UNIT})(?![A-Za-z\d]))?"),
        _fraction,
    ),
    (
        re.compile(
            rf"(?:(?<![\w)%°])(-)|{_FREE})({_NUMBER})(?:\s?({_UNIT}))?\s?[-~]\s?({_NUMBER})(?![\d-])"
            rf"(?:\s?({_UNIT})(?![A-Za-z\d]){_NO_WORD})?"
        ),
        _range,
    ),
    (re.compile(rf"{_FREE}([-+]?(?:{_NUMBER}))\s?({_UNIT})(?![A-Za-z\d]){_NO_WORD}"), _measured),
    (re.compile(rf"{_FREE}(\d{{1,3}}(?:,\d{{3}})+|\d+)(?:st|nd|rd|th)\b", re.IGNORECASE), _ordinal),
    (re.compile(r"(?<![\d:])(\d+)[:：](\d+)(?![\d:])"), _ratio),
    (re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])"), _version),
    (re.compile(rf"(?<![A-Za-z])(?:{_ABBREVIATED})(?![A-Za-z])", re.IGNORECASE), _abbreviation),
    (_ROMAN, _roman),
    (re.compile(r"(?<![A-Za-z\d)])-(?=\d)"), _signed),
    LETTERED,
    (re.compile(r"(?<=\d)\s?[~]\s?(?=\d)"), _said("to", "到")),
    (re.compile(r"(?<=\d) [xX] (?=\d)"), _said("times", "乘")),
    (re.compile(r"(?<=\d)(?<!\b0)[xX](?=\d)"), _said("by", "乘")),
    (re.compile(r"(?<![A-Za-z])([CF])#"), lambda match, language: f"{match[1]} sharp "),
    (re.compile(_NUMBER), _plain),
    (
        re.compile(
            r"(?<![\w)\s])\s*\*|\*(?![\w(\s])|(?<=\s)\*(?=\S)|(?<=\S)\*(?=\s)|#(?!\s?[A-Za-z\d零一二三四五六七八九十百])"
        ),
        lambda match, language: " ",
    ),
    (re.compile("[" + re.escape("".join(SIGNS)) + "]"), _sign),
)
