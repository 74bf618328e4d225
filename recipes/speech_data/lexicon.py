"""The words a recogniser may write: those that our texts have often, their sounds and trigrams."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from localgpt.media.text.spoken_units import english_units, pinyin_units
from localgpt.sampling.speech.words import NUM_SIGNS, UNKNOWN, WordList
from recipes.speech_data.sentences import chinese_runs, english_runs, segment
from recipes.speech_data.word_model import ModelLimits, build_word_model

__all__ = ["LexiconLimits", "build_lexicon", "known_phrases", "pinyin_of", "readings_of", "units_of_pinyin"]

Readings = Callable[[str], Sequence[str]]
"""A word to its readings, syllables with spaces between; the likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LexiconLimits:
    """How many words are listed."""

    max_english: int = 24_000
    max_chinese: int = 22_000
    min_english: int = 4
    min_chinese: int = 4
    model: ModelLimits = field(default_factory=ModelLimits)


def build_lexicon(
    english: Iterable[str],
    chinese: Iterable[str],
    known: Iterable[str],
    readings: Readings,
    *,
    phrases: Iterable[str] = (),
    limits: LexiconLimits | None = None,
) -> dict[str, Tensor]:
    """Words and their model as a recogniser keeps them: `words.*` and `model.*`.

    Args:
        english: texts.
        chinese: texts.
        known: Chinese words that are listed however rare they are, if our texts have them or not.
        readings: of a Chinese word.
        phrases: Chinese words that are listed where our texts have them often enough.
        limits: how much is kept.
    """
    limits = limits or LexiconLimits()
    runs = [run for text in english for run in english_runs(text)]
    english_words = _english_words(runs, limits)
    always = set(known)
    candidates = always | set(phrases)
    blocks = [segment(run, candidates) for text in chinese for run in chinese_runs(text)]
    counts = Counter(word for block in blocks for word in block)
    frequent = [word for word, count in counts.most_common() if count >= limits.min_chinese]
    chosen = dict.fromkeys([*sorted(always), *frequent[: limits.max_chinese]])
    chinese_words = {word: told for word in chosen if (told := _sounds(word, readings))}
    texts = ["", "", "", *english_words.values(), *chinese_words]
    ids = {word: number + NUM_SIGNS for number, word in enumerate((*english_words, *chinese_words))}
    entries = [(ids[word], units) for word in english_words if (units := english_units(word)) is not None]
    entries += [(ids[word], units) for word, told in chinese_words.items() for units in told]
    model = build_word_model(
        (
            [ids.get(word, UNKNOWN) for word in sentence]
            for sentence in (*_lowered(runs), *_resegmented(blocks, set(chinese_words)))
        ),
        len(texts),
        limits.model,
    )
    words = WordList(texts, entries, model.unigrams)
    tensors = {f"words.{name}": tensor for name, tensor in words.to_tensors().items()}
    return tensors | {f"model.{name}": tensor for name, tensor in model.to_tensors().items()}


def _english_words(runs: list[list[str]], limits: LexiconLimits) -> dict[str, str]:
    """Words in lower case to how they are mostly written inside a sentence, the most frequent first."""
    counts: Counter[str] = Counter()
    inside: dict[str, Counter[str]] = {}
    for run in runs:
        for place, word in enumerate(run):
            counts[word.lower()] += 1
            if place:
                inside.setdefault(word.lower(), Counter())[word] += 1
    chosen = [
        word
        for word, count in counts.most_common(limits.max_english)
        if count >= limits.min_english and english_units(word) is not None and _is_word(word)
    ]
    return {word: inside[word].most_common(1)[0][0] if word in inside else word for word in chosen}


def _is_word(word: str) -> bool:
    """Single letters but a, i and o are mostly variables, and words without vowels abbreviations."""
    return word in ("a", "i", "o") or (len(word) > 1 and re.search("[aeiouy]", word) is not None)


def _lowered(runs: list[list[str]]) -> Iterator[list[str]]:
    return ([word.lower() for word in run] for run in runs)


def _resegmented(blocks: list[list[str]], listed: set[str]) -> Iterator[list[str]]:
    """Words that are not listed fall apart into those that are."""
    for block in blocks:
        yield [part for word in block for part in ([word] if word in listed else segment(word, listed))]


def _sounds(word: str, readings: Readings) -> list[tuple[int, ...]]:
    told = [units_of_pinyin(reading) for reading in readings(word)]
    return list(dict.fromkeys(units for units in told if units))


def units_of_pinyin(reading: str) -> tuple[int, ...] | None:
    """Syllables with spaces between as sounds; None where one is no syllable."""
    found: list[int] = []
    for syllable in reading.split():
        units = pinyin_units(syllable)
        if units is None:
            return None
        found += units
    return tuple(found)


def readings_of(word: str) -> list[str]:
    """The readings of a Chinese word: one of a longer word, up to three of a character."""
    from pypinyin import Style, pinyin

    if len(word) > 1:
        return [pinyin_of(word)]
    told = pinyin(word, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)
    return list(told[0][:3]) if told else []


def pinyin_of(text: str) -> str:
    """A Chinese text's syllables with spaces between, each word read as in its phrase."""
    from pypinyin import Style, lazy_pinyin

    return " ".join(lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, errors="ignore"))


def known_phrases() -> list[str]:
    """Words of up to four characters that pypinyin knows how to read."""
    from pypinyin.phrases_dict import phrases_dict

    return [phrase for phrase in phrases_dict if 2 <= len(phrase) <= 4]
