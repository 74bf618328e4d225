"""What a reply says: yes or no, how many, which colour, where; and whether that is the expected answer.

The readers are strict about false positives: "no" inside "brown", "one" inside "someone", 红 inside
西红柿 and 一 inside 一起 say nothing. A reply that says two different things (two colours, "yes ... no")
says nothing either.
"""

from __future__ import annotations

import re
import unicodedata

from recipes.scenes.vocabulary import COLOUR_ZH, COLOURS

__all__ = ["KINDS", "read_colour", "read_number", "read_place", "read_yes_no", "says"]

_UNSURE_EN = re.compile(
    r"\b(?:not sure|unsure|(?:do not|don't|cannot|can't) (?:know|tell|say)|unclear|sorry)\b"
)
_YES_EN = re.compile(r"\b(?:yes|yeah|yep|yup|indeed|certainly|correct|true)\b")
_NO_EN = re.compile(
    r"\b(?:no|nope|not|none|nothing|nobody|never|neither|cannot|without|false|incorrect)\b|n't\b"
)
_STATES_EN = re.compile(
    r"^(?:there(?: is|'s| are)|it (?:is|does|has)|it's|(?:i|we|you) (?:can )?see|they (?:are|do)|"
    r"(?:he|she) is|"
    r"(?:the|this) (?:picture|photo|image|scene)\w* (?:shows|has|contains))\b"
)
_UNSURE_ZH = re.compile(r"不知道|不确定|不清楚|看不清|无法|对不起|抱歉|不好说|难说")
_ECHO_ZH = re.compile(r"是不是|有没有|是否|对不对|能不能|在不在")
_NO_ZH = re.compile(r"没有|没|不|否|无|并非|错")
_YES_ZH = re.compile(
    r"^(?:(?:是|对|有|在|嗯|能|会|可以|存在)[的了啊呀]?(?:$|[，,。.！!])|是的|对的|当然|确实|正确|看得到|看到了)"
)
_STATES_ZH = re.compile(r"^[有是]|(?:里|中|上|图|片)有|看到|看见")

_WORDS_EN = "zero one two three four five six seven eight nine ten eleven twelve"
_ONES_EN = {word: number for number, word in enumerate(_WORDS_EN.split())}
_NUMBER_EN = re.compile(rf"(?<![\w.])(?:\d+(?![\w]|\.\d)|(?:{'|'.join(_ONES_EN)})\b)")
_VAGUE_EN = re.compile(r"\b(?:few|many|several|some|lot|group|crowd|number|bunch)\b")
_DIGITS_ZH = dict(zip("零〇一二两俩三四五六七八九", (0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_NOT_NUMBERS_ZH = re.compile(
    r"第[一二三四五六七八九十]+|一(?:起|些|群|样|下|直|般|定|旁|边|边儿|同|幅|副|会|点|半|切|家)|唯一|统一|三明治|四周|"
    r"十分|十字|百分|(?:这|那)一|星期[一二三四五六]|三轮|七彩|五颜六色|四叶草"
)  # fmt: skip
_NUMBER_ZH = re.compile(
    r"\d+|[零〇一二两俩三四五六七八九]?十[一二三四五六七八九]?|[零〇一二两俩三四五六七八九]"
)

_COLOURS_EN = {
    **{colour: colour for colour in COLOURS},
    "grey": "gray", "violet": "purple", "silver": "gray", "tan": "brown", "beige": "brown",
    "golden": "yellow", "gold": "yellow", "crimson": "red", "scarlet": "red", "navy": "blue",
    "magenta": "pink",
}  # fmt: skip
_COLOUR_EN = re.compile(r"\b(?:" + "|".join(_COLOURS_EN) + r")\b")
_COLOURS_ZH = {
    "粉红": "pink", "橙红": "orange", "橘红": "orange", "橘黄": "orange", "橙黄": "orange", "银灰": "gray",
    "咖啡": "brown", "橘": "orange", "褐": "brown", **{name[0]: colour for colour, name in COLOUR_ZH.items()},
}  # fmt: skip
_NAMED_ZH = re.compile("(" + "|".join(_COLOURS_ZH) + ")色")
_BARE_ZH = re.compile(
    "^(?:(?:它|他|她|这|那)们?)?(?:是|为)?(?:浅|深|淡|暗|亮)?(" + "|".join(_COLOURS_ZH) + ")的?[。.!！]?$"
)

_PLACES_EN = {
    "left": r"\bleft\b", "right": r"\bright\b",
    "above": r"\b(?:above|over|on top of|higher|up|top|upper)\b",
    "below": r"\b(?:below|under|underneath|beneath|lower|down|bottom)\b",
    "middle": r"\b(?:middle|center|centre|between)\b",
    "in front": r"\bin front\b", "behind": r"\bbehind\b", "inside": r"\b(?:inside|within)\b",
}  # fmt: skip
_PLACES_ZH = {
    "left": "左",
    "right": "右",
    "above": r"上(?:面|方|边|部|侧|头)|之上|正上|^(?:在)?上[。.]?$",
    "below": r"下(?:面|方|边|部|侧|头)|之下|正下|^(?:在)?下[。.]?$",
    "middle": "中间|中央|正中|之间",
    "in front": "前面|前方|前边",
    "behind": "后面|后方|后边",
    "inside": "里面|内部",
}


def read_yes_no(reply: str, language: str, topic: str = "") -> bool | None:
    """True for yes, False for no, None where the reply says neither or both.

    Args:
        reply: the model's words.
        language: "en" or "zh".
        topic: what was asked about; a statement without yes ("There is a dog.") counts only if it holds it.
    """
    text, topic = _clean(reply), topic.lower()
    if language == "zh":
        return _yes_no_zh(re.sub(r"\s", "", text), topic)
    if _UNSURE_EN.search(text):
        return None
    first = re.match(r"[a-z']+", text)
    if first and _YES_EN.fullmatch(first[0]):
        return None if re.search(r"\bno\b", text[first.end() : first.end() + 16]) else True
    if first and first[0] in ("no", "nope", "none", "not", "nobody"):
        return False
    has_yes, has_no = bool(_YES_EN.search(text)), bool(_NO_EN.search(text))
    if has_yes != has_no:
        return has_yes
    states = topic and _STATES_EN.match(text) and re.search(rf"\b{re.escape(topic)}(?:s|es)?\b", text)
    return True if states and not has_no else None


def _yes_no_zh(text: str, topic: str) -> bool | None:
    if _UNSURE_ZH.search(text):
        return None
    text = _ECHO_ZH.sub("", text)
    if _NO_ZH.match(text):
        return False
    is_no = bool(_NO_ZH.search(text))
    if _YES_ZH.match(text):
        return None if is_no else True
    states = topic and topic in text and _STATES_ZH.search(text)
    return False if is_no else (True if states else None)


def read_number(reply: str, language: str) -> int | None:
    """The number a reply tells: the first one in digits or words; "no dogs" is 0, "a dog" is 1."""
    text = _clean(reply)
    if language == "zh":
        return _number_zh(text)
    if match := _NUMBER_EN.search(text):
        return _ONES_EN[match[0]] if match[0] in _ONES_EN else int(match[0])
    if re.search(r"\b(?:a|the) (?:couple|pair)\b|\bboth\b", text):
        return 2
    if re.search(r"\b(?:single|only a|just a)\b", text):
        return 1
    if _VAGUE_EN.search(text):
        return None
    if re.search(r"\b(?:no|none|not any)\b|n't any\b", text):
        return 0
    return 1 if re.search(r"\b(?:a|an)\b", text) else None


def _number_zh(text: str) -> int | None:
    text = _NOT_NUMBERS_ZH.sub("，", text)
    if match := _NUMBER_ZH.search(text):
        return _value_zh(match[0])
    return 0 if re.search(r"没有|无|没", text) else None


def _value_zh(text: str) -> int:
    if text.isdigit():
        return int(text)
    if "十" not in text:
        return _DIGITS_ZH[text]
    tens, _, ones = text.partition("十")
    return (_DIGITS_ZH[tens] if tens else 1) * 10 + (_DIGITS_ZH[ones] if ones else 0)


def read_colour(reply: str, language: str) -> str | None:
    """The one colour a reply names, by its name in `recipes.scenes.vocabulary`; None for none or several."""
    text = _clean(reply)
    if language == "zh":
        text = re.sub(r"\s", "", text)
        names = {_COLOURS_ZH[name] for name in _NAMED_ZH.findall(text)}
        if not names and (bare := _BARE_ZH.match(text)):
            names = {_COLOURS_ZH[bare[1]]}
    else:
        names = {_COLOURS_EN[name] for name in _COLOUR_EN.findall(text)}
    return names.pop() if len(names) == 1 else None


def read_place(reply: str, language: str) -> str | None:
    """The one place a reply names ("left", "above", ...); None for none or several."""
    text = _clean(reply)
    patterns = _PLACES_ZH if language == "zh" else _PLACES_EN
    found = {name for name, pattern in patterns.items() if re.search(pattern, text)}
    return found.pop() if len(found) == 1 else None


KINDS = {"yes_no": read_yes_no, "count": read_number, "colour": read_colour, "place": read_place}


def says(reply: str, expected: str, form: str, language: str, *, topic: str = "") -> bool:
    """Whether a reply gives the expected answer.

    Args:
        reply: the model's words.
        expected: an answer as one would say it: "Yes.", "three", "It is red.", or a phrase.
        form: one of `KINDS`, or "phrase": then the expected words occur in the reply as whole words.
        language: "en" or "zh".
        topic: the noun asked about, for `read_yes_no`.
    """
    if form == "yes_no":
        meant = read_yes_no(expected, language)
        return meant is not None and read_yes_no(reply, language, topic) is meant
    if form in KINDS:
        value = KINDS[form](expected, language)
        return value is not None and KINDS[form](reply, language) == value
    wanted, told = _clean(expected).strip(" .。!！"), _clean(reply)
    if language == "zh":
        return bool(wanted) and re.sub(r"\s", "", wanted) in re.sub(r"\s", "", told)
    wanted = re.sub(r"^(?:it is |it's )?(?:an? |the )?", "", wanted)
    return bool(wanted) and bool(re.search(rf"(?<![a-z0-9]){re.escape(wanted)}(?:s|es)?(?![a-z0-9])", told))


def _clean(text: str) -> str:
    """Compatibility forms (full-width digits and marks), lower case, straight quotes, outer blanks away."""
    return unicodedata.normalize("NFKC", text).lower().replace("’", "'").strip().strip("\"'“”「」*").strip()
