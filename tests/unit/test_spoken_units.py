"""Letters and parts of pinyin, as the recogniser tells them apart."""

from __future__ import annotations

from localgpt.media.text.spoken_units import (
    BLANK,
    FIRST_CHINESE,
    NUM_UNITS,
    UNITS,
    WORD_END,
    english_units,
    pinyin_units,
    spelling_of,
    syllables_of,
)


def test_the_table_is_what_weights_were_trained_with() -> None:
    assert NUM_UNITS == len(set(UNITS)) == 227
    assert (UNITS[BLANK], UNITS[1], UNITS[27], UNITS[WORD_END]) == ("", "a", "'", "|")
    assert UNITS[FIRST_CHINESE] == "b-" and UNITS[-1] == "vn5"


def test_english() -> None:
    units = english_units("Don\N{RIGHT SINGLE QUOTATION MARK}t")
    assert units is not None and units[-1] == WORD_END and spelling_of(units) == "don't"
    assert english_units("x2") is english_units("été") is english_units("'") is english_units("") is None


def test_pinyin() -> None:
    told = {"zhong1": "zhong1", "ju2": "jv2", "xue2": "xve2", "yuan2": "yvan2", "lü4": "lv4", "er2": "er2"}
    for syllable, spelled in told.items():
        units = pinyin_units(syllable)
        assert units is not None and spelling_of(units) == spelled
    assert pinyin_units("de") == pinyin_units("de5")
    assert len(pinyin_units("ai4") or ()) == 1
    assert pinyin_units("hm1") is pinyin_units("") is pinyin_units("zh1") is pinyin_units("ni6") is None


def test_syllables_among_other_units() -> None:
    ni, hao, ok = (pinyin_units("ni3"), pinyin_units("hao3"), english_units("ok"))
    assert ni and hao and ok
    assert syllables_of((*ok, *ni, *hao)) == [ni, hao]
    assert syllables_of((ni[0], *hao, *ok[:1], ni[1])) == [hao, (ni[1],)]
    assert spelling_of((*ok, *ni, *hao)) == "ok ni3 hao3"
