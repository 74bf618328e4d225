"""The sounds a voice knows, one character each: IPA for English, Zhuyin for Chinese, marks for both.

The languages share no sound: the text encoder knows no speaker, and would have to mix both in one symbol.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["BLANK", "ENGLISH", "MARKS", "SYMBOLS", "TONES", "ZHUYIN", "SpokenLanguage", "symbol_ids"]

SpokenLanguage = Literal["en", "zh"]
BLANK: Final = "_"  # between all sounds, as VITS has it
MARKS: Final = " ,.?!"
TONES: Final = "ˉˊˇˋ˙"  # first to fourth and neutral, behind the syllable
ZHUYIN: Final = "ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦㄧㄨㄩ"

# ARPABET to IPA; stress stands before the vowel.
ENGLISH: Final = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "ʧ", "D": "d",
    "DH": "ð", "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i",
    "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p",
    "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w",
    "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
STRESS: Final = {"0": "", "1": "ˈ", "2": "ˌ"}
_UNSTRESSED: Final = {"AH": "ə", "ER": "ɚ"}
_IPA: Final = "".join(dict.fromkeys("".join([*ENGLISH.values(), *_UNSTRESSED.values(), *STRESS.values()])))
SYMBOLS: Final = BLANK + MARKS + _IPA + ZHUYIN + TONES
_IDS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def to_ipa(phones: str) -> str:
    """ARPABET with stress digits, as in `HH AH0 L OW1`, in this alphabet.

    Raises:
        KeyError: there is no such phone.
    """
    out = []
    for phone in phones.split():
        name, stress = (phone[:-1], phone[-1]) if phone[-1].isdigit() else (phone, "0")
        sound = _UNSTRESSED.get(name, ENGLISH[name]) if stress == "0" else ENGLISH[name]
        out.append(STRESS[stress] + sound)
    return "".join(out)


def symbol_ids(symbols: str, alphabet: str = SYMBOLS) -> list[int]:
    """Numbers of sounds with the blank between them, before them and behind them.

    Raises:
        KeyError: a character is no symbol of the alphabet.
    """
    known = _IDS if alphabet == SYMBOLS else {symbol: number for number, symbol in enumerate(alphabet)}
    ids = [0] * (2 * len(symbols) + 1)
    ids[1::2] = [known[symbol] for symbol in symbols]
    return ids
