"""Written text to sounds: numbers, dates, units and abbreviations of both languages, and odd input."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgpt.media.text.speech import SYMBOLS, spoken_phrases, symbol_ids, unspoken_letters
from localgpt.media.text.speech import numbers_en as en
from localgpt.media.text.speech import numbers_zh as zh
from localgpt.media.text.speech.chinese import chinese_sounds
from localgpt.media.text.speech.english import english_sounds
from localgpt.media.text.speech.letters import guess_sounds, with_one_stress
from localgpt.media.text.speech.normalize import normalize
from recipes.letters import align, learn_rules, read_dictionary


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("On 2024-05-01 at 14:30.", "On May first, twenty twenty four at fourteen thirty."),
        ("It cost $1,234.50, £1 or 30 EUR", "It cost one thousand two hundred thirty four dollars and "
         "fifty cents, one pound or thirty euros"),
        ("$2 million, 5.2%", "two million dollars, five point two percent"),
        ("Dr. Smith weighs 70 kg, i.e. 154 lbs", "doctor Smith weighs seventy kilograms, that is one hundred "
         "fifty four pounds"),
        ("call 555-123-4567 now", "call five five five, one two three, four five six seven now"),
        ("May 5, 2024, the 3rd try", "May fifth, twenty twenty four, the third try"),
        ("1/2 cup, 3-5 km, -3°C", "one half cup, three to five kilometers, minus three degrees Celsius"),
        ("the 1990s, 7 p.m., 9:05 am", "the nineteen nineties, seven PM, nine oh five AM"),
        ("World War II, no. 7, I said no.", "World War two, number seven, I said no."),
        ("3.14159; 007; 2+2=4", "three point one four one five nine, zero zero seven, two plus two equals "
         "four"),
        ("mail me@example.org", "mail me at example dot org"),
        ("in 1905 and 2005", "in nineteen oh five and two thousand five"),
        ("v1.2.3", "v one point two point three"),
        ("它花了¥12.5，打了85%的折", "它花了十二点五元, 打了百分之八十五的折"),
        ("2024年5月1日下午3:05买了2个", "二零二四年五月一日下午三点零五分买了两个"),
        ("2024-05-01是节日", "二零二四年五月一日是节日"),
        ("温度是-5℃到30℃，100km/h", "温度是零下五摄氏度到三十摄氏度, 一百公里每小时"),
        ("电话13812345678，010-12345678", "电话幺三八幺二三四五六七八, 零幺零,幺二三四五六七八"),
        ("比分3:2，第2个，1/3的人，2小时", "比分三比二, 第二个, 三分之一的人, 两小时"),
        ("我买了3个iPhone 15", "我买了三个iPhone 十五"),
        ("10~20个，10305元，2万", "十到二十个, 一万零三百零五元, 两万"),
        ("$5M, -$5, $0.99, $5-$10, $20/month", "five million dollars, minus five dollars, ninety nine cents, "
         "five to ten dollars, twenty dollars per month"),
        ("1½ cups, 2 3/4, 5/8 in", "one and a half cups, two and three quarters, five eighths inch"),
        ("There were 5 in total, 6 ft 2 in", "There were five in total, six feet two inches"),
        ("10%-15%, 10:30-11:45, 1939–1945", "ten to fifteen percent, ten thirty to eleven forty five, "
         "nineteen thirty nine to nineteen forty five"),
        ("5 - 3 = 2, 10² and 9.8 m/s²", "five minus three equals two, ten squared and nine point eight "
         "meters per second squared"),
        ("(555) 123-4567, 555-1234", "five five five, one two three, four five six seven, five five five, "
         "one two three four"),
        ("I may 5 times go, the 80s", "I may five times go, the eighties"),
        ("**bold** 2*3, x <= 5, 0x1", "bold two times three, x is at most five, zero x one"),
        ("see https://example.com.", "see example dot com."),
        ("验证码是123456，拨打110，985大学", "验证码是一二三四五六, 拨打幺幺零, 九八五大学"),
        ("2020-2021年，5000年历史，公元618年", "二零二零到二零二一年, 五千年历史, 公元六一八年"),
        ("10%-20%，2-3个，$100万，100元/月", "百分之十到百分之二十, 两到三个, 一百万美元, 一百元每月"),
        ("202万人，2人，2年级，80后，第Ⅱ章", "二百零二万人, 两人, 二年级, 八零后, 第二章"),
        ("东风-5和长征-5号，5-3=2", "东风 五和长征 五号, 五减三等于二"),
        ("The word 你好 has 2 characters", "The word 你好 has two characters"),
    ],
)  # fmt: skip
def test_what_is_written_in_words(text: str, words: str) -> None:
    assert normalize(text) == words


def test_the_language_of_numbers_can_be_given() -> None:
    assert normalize("12 + 3", "zh") == "十二 加 三"
    assert normalize("12 + 3", "en") == normalize("12 + 3") == "twelve plus three"


@pytest.mark.parametrize(
    ("value", "english", "chinese"),
    [
        (0, "zero", "零"),
        (10, "ten", "十"),
        (15, "fifteen", "十五"),
        (101, "one hundred one", "一百零一"),
        (1010, "one thousand ten", "一千零一十"),
        (20_000, "twenty thousand", "二万"),
        (100_010, "one hundred thousand ten", "十万零一十"),
        (1_000_200_003, "one billion two hundred thousand three", "十亿零二十万零三"),
        (-7, "minus seven", "负七"),
    ],
)
def test_cardinals(value: int, english: str, chinese: str) -> None:
    assert (en.cardinal(value), zh.cardinal(value)) == (english, chinese)


def test_ordinals_and_years() -> None:
    assert [en.ordinal(n) for n in (1, 12, 20, 42, 100)] == [
        "first", "twelfth", "twentieth", "forty second", "one hundredth",
    ]  # fmt: skip
    assert [en.year(n) for n in (1066, 1900, 2000, 2024)] == [
        "ten sixty six", "nineteen hundred", "two thousand", "twenty twenty four",
    ]  # fmt: skip


@given(st.integers(0, 10**15 - 1))
def test_chinese_cardinals_say_their_number(value: int) -> None:
    assert read_chinese(zh.cardinal(value)) == value


def read_chinese(words: str) -> int:
    """The number that is said: what stands before the greatest unit, times it, and what stands behind."""
    for name, scale in (("亿", 10**8), ("万", 10**4), ("千", 1000), ("百", 100), ("十", 10)):
        before, unit, behind = words.partition(name)
        if unit:
            return (read_chinese(before) if before else 1) * scale + read_chinese(behind)
    return "零一二三四五六七八九".index(words[-1]) if words else 0


def test_words_and_their_sounds() -> None:
    assert english_sounds("Hello") == "həlˈoʊ" and english_sounds("don’t") == "dˈoʊnt"
    assert english_sounds("USA") == "jˈu ˈɛs ˈeɪ" and english_sounds("NASA") == "nˈæsə"
    assert english_sounds("THE") == english_sounds("the")
    assert english_sounds("GPU's") == "ʤˈi pˈi jˈuz"
    assert english_sounds("blorpfizzles").count("ˈ") == 1
    assert chinese_sounds("银行行长") == "ㄧㄣˊㄏㄤˊㄏㄤˊㄓㄤˇ"
    assert chinese_sounds("你好吗") == "ㄋㄧˊㄏㄠˇㄇㄚ˙"


def test_mixed_text_is_said_in_turns() -> None:
    phrases = spoken_phrases("我爱Python，你呢？ Yes!")
    assert [phrase.language for phrase in phrases] == ["zh", "en", "zh", "en"]
    assert phrases[2].symbols == "ㄋㄧˇㄋㄜ˙." and phrases[1].symbols.endswith(",")
    assert unspoken_letters("hello 你好 Привет 5µm café") == list("Пвеирт")


@pytest.mark.parametrize("text", ["", "...", "😀", "Привет", "。。！？", "\0\x1b", "，"])
def test_nothing_to_say(text: str) -> None:
    assert spoken_phrases(text) == []


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.text(alphabet="0123456789.,-/:%$¥°kmCsth年月日个万点半 ap", max_size=40),
        st.text(alphabet="IVXaeixzqw' 你好的", max_size=30),
    )
)
def test_odd_input_gives_known_sounds_or_none(text: str) -> None:
    phrases = spoken_phrases(text)
    for phrase in phrases:
        ids = symbol_ids(phrase.symbols)
        assert len(ids) == 2 * len(phrase.symbols) + 1 and ids[0] == ids[-1] == 0
        assert phrase.symbols[0] not in " ,.?!" and "  " not in phrase.symbols
    assert all(one.language != two.language for one, two in pairwise(phrases))
    assert phrases == spoken_phrases(text)


def test_all_symbols_differ() -> None:
    assert len(set(SYMBOLS)) == len(SYMBOLS)


def test_stress() -> None:
    assert with_one_stress("bɑnˈænˈʌ") == "bɑnˈænˌʌ"
    assert (
        with_one_stress("kˌæt") == "kˈæt" and with_one_stress("kæt") == "kˈæt" and with_one_stress("t") == "t"
    )


def test_rules_are_learned_from_a_dictionary(tmp_path: Path) -> None:
    lines = [
        f"{first}{vowel}{last} {first.upper()} {phone}1 {last.upper()}"
        for first in "bdt" for last in "nt" for vowel, phone in (("a", "AE"), ("i", "IH"))
    ]  # fmt: skip
    lines += ["chat CH AE1 T", "chin CH IH1 N", "chat(2) CH AA1 T # other", "chit CH IH1 T", "chan CH AE1 N"]
    (tmp_path / "cmudict.dict").write_text("\n".join(lines), encoding="utf-8")
    words = read_dictionary(tmp_path / "cmudict.dict")
    assert words["chat"] == ("CH", "AE1", "T")
    rules = learn_rules(align(words))
    assert guess_sounds("chid", rules) == "ʧˈɪd" and guess_sounds("nab", rules) == "nˈæb"
