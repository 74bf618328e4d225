"""The two steps of preparation; what each writes is told by its docstring."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from safetensors.torch import save_file

from recipes.speech_data.concatenate import Clips, random_string, said_sentence
from recipes.speech_data.lexicon import LexiconLimits, build_lexicon, known_phrases, pinyin_of, readings_of
from recipes.speech_data.recordings import read_rows, read_set, split_of
from recipes.speech_data.sentences import spoken_lines, training_texts
from recipes.speech_data.sound_sets import Recording, SoundSet
from recipes.speech_data.voices import Line, installed_voices, speak

__all__ = ["REAL_SETS", "SoundOptions", "TextOptions", "prepare_sound", "prepare_texts"]

REAL_SETS = ("speechocean_en", "hsk_words_zh", "syllables_zh", "philipp_en", "keywords_zh_en", "noise")
_SPOKEN_SETS = ("speechocean_en", "keywords_zh_en")  # whose training texts are counted, many times
_SPOKEN_WEIGHT = 8
_WORDS = "words.safetensors"
_CHUNK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """What to choose.

    Args:
        data: folder of the raw sets.
        out: where `words.safetensors` and `lines.json.xz` go.
        max_chars: of texts that are counted, for each language.
        english: lines to be spoken.
        chinese: likewise.
        limits: of the words.
        seed: of the draw.
    """

    data: Path
    out: Path
    max_english_chars: int = 60_000_000
    max_chinese_chars: int = 16_000_000
    english: int = 60_000
    chinese: int = 25_000
    limits: LexiconLimits = field(default_factory=LexiconLimits)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundOptions:
    """What to make of what was chosen.

    Args:
        data: folder of the raw sets.
        pack: what `prepare_texts` wrote.
        out: where the packed sets go.
        workers: recordings made at once.
        english: lines that synthesisers speak; fewer where fewer were chosen.
        chinese: sentences put together of recordings.
        chinese_spoken: Chinese lines that espeak-ng speaks.
        strings: rows of words at random.
        seed: of all draws.
    """

    data: Path
    pack: Path
    out: Path
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    english: int = 60_000
    chinese: int = 16_000
    chinese_spoken: int = 4_000
    strings: int = 6_000
    seed: int = 0


def prepare_texts(options: TextOptions) -> dict[str, int]:
    """Choose lines, and count words: `lines.json.xz` and `words.safetensors`.

    Held-out rows of the text sets, and what is said in held-out recordings, are counted nowhere.

    Returns:
        Figures by name.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    english = list(training_texts(options.data, "en", options.max_english_chars))
    chinese = list(training_texts(options.data, "zh", options.max_chinese_chars))
    lines_en = spoken_lines(english, "en", options.english, seed=options.seed)
    lines_zh = spoken_lines(chinese, "zh", options.chinese, seed=options.seed)
    spoken = {language: _spoken_texts(options.data, language) for language in ("en", "zh")}
    known = _texts_of(options.data, ("hsk_words_zh", "keywords_zh_en"), "zh")
    words = build_lexicon(
        [*english, *spoken["en"] * _SPOKEN_WEIGHT],
        [*chinese, *spoken["zh"] * _SPOKEN_WEIGHT],
        [text for text in known if len(text) <= 4],
        readings_of,
        phrases=known_phrases(),
        limits=options.limits,
    )
    save_file({name: tensor.contiguous() for name, tensor in words.items()}, options.out / _WORDS)
    told = {
        "english": lines_en,
        "chinese": [(line, pinyin_of(line)) for line in lines_zh],
        "pinyin": {text: pinyin_of(text) for text in known},
    }
    with lzma.open(options.out / "lines.json.xz", "wt", encoding="utf-8") as file:
        json.dump(told, file, ensure_ascii=False)
    return {
        "english_chars": sum(map(len, english)),
        "chinese_chars": sum(map(len, chinese)),
        "english_lines": len(lines_en),
        "chinese_lines": len(lines_zh),
        "pairs": len(words["model.pair_words"]),
        "triples": len(words["model.triple_words"]),
        "words": len(words["model.unigram_logprobs"]),
        "bytes": sum(tensor.nbytes for tensor in words.values()),
    }


def _spoken_texts(data: Path, language: str) -> list[str]:
    """What is said in training recordings of sentences."""
    return [
        row["text"]
        for name in _SPOKEN_SETS
        for row in read_rows(data, name)[1]
        if row["language"] == language and split_of(name, row) == "train"
    ]


def _texts_of(data: Path, names: Iterable[str], language: str) -> list[str]:
    """Every text of some sets: that a word exists may be known; how often is counted in training rows."""
    rows = (row for name in names for row in read_rows(data, name)[1])
    return sorted({row["text"] for row in rows if row["language"] == language})


def prepare_sound(options: SoundOptions) -> dict[str, dict[str, float]]:
    """Decode, speak, put together, and pack: a `SoundSet` for each name, `NAME_dev` for what is held out.

    Returns:
        Recordings and hours of each set, also in `manifest.json`.
    """
    with lzma.open(options.pack / "lines.json.xz", "rt", encoding="utf-8") as file:
        lines = json.load(file)
    figures: dict[str, dict[str, float]] = {}
    real: dict[str, SoundSet] = {}
    for name in REAL_SETS:
        for split in ("train", "dev"):
            found = SoundSet.of(read_set(options.data, name, split, lines["pinyin"], workers=options.workers))
            real[name if split == "train" else f"{name}_dev"] = found
    for name, found in real.items():
        _write(options, name, found, figures)
    words, syllables = (_all(real[name]) for name in ("hsk_words_zh", "syllables_zh"))
    clips = Clips(words, syllables)
    numbers = range(options.strings)
    strings = [random_string(words, options.seed * 1_000_003 + number) for number in numbers]
    _write(options, "strings_zh", SoundSet.of(strings), figures)
    chosen = lines["chinese"]
    said = [
        said_sentence(clips, text, pinyin, options.seed * 1_000_003 + number)
        for number, (text, pinyin) in enumerate(chosen[: options.chinese])
    ]
    _write(options, "sentences_zh", SoundSet.of(one for one in said if one is not None), figures)
    programs = tuple(installed_voices())
    if programs:
        told = [
            Line(text=text, seed=number) for number, text in enumerate(lines["english"][: options.english])
        ]
        _write(options, "spoken_en", SoundSet.of(_spoken(told, programs, options.workers)), figures)
    if "espeak-ng" in programs:
        rest = chosen[-options.chinese_spoken :] if options.chinese_spoken else []
        told = [Line(text=text, pinyin=pinyin, seed=number) for number, (text, pinyin) in enumerate(rest)]
        _write(options, "spoken_zh", SoundSet.of(_spoken(told, programs, options.workers)), figures)
    if (options.pack / _WORDS).is_file():
        shutil.copyfile(options.pack / _WORDS, options.out / _WORDS)  # for the export
    manifest = json.dumps(figures, indent=1) + "\n"
    (options.out / "manifest.json").write_text(manifest, encoding="utf-8")
    return figures


def _all(sounds: SoundSet) -> list[Recording]:
    return [sounds.recording(number) for number in range(len(sounds))]


def _spoken(lines: list[Line], programs: tuple[str, ...], workers: int) -> Iterator[Recording]:
    """Lines in the order given; each is a process of its own, so threads are enough."""
    with ThreadPoolExecutor(workers) as threads:
        for at in range(0, len(lines), _CHUNK):
            for recording in threads.map(partial(speak, programs=programs), lines[at : at + _CHUNK]):
                if recording is not None:
                    yield recording


def _write(options: SoundOptions, name: str, found: SoundSet, figures: dict[str, dict[str, float]]) -> None:
    if not len(found):
        return
    found.save(options.out, name)
    figures[name] = {"recordings": len(found), "hours": round(found.hours, 3)}
