"""All that the voice learns from, packed for a machine without decoders and synthesisers.

SETS holds `speech/` (hsk_words_zh, syllables_zh, philipp_en) and `text/` (bilingual_en_zh, pretrain_zh).
English is taught by a synthesiser that is installed here (`teacher`), which reads the English side of the
sentence pairs in normalised words. Chinese is recorded words; sentences of them are told by their clips and
put together where training runs (`recipes.voices`). Writes `OUT/voice/` (see `packs`),
`OUT/voice/sentences.jsonl.xz`, and `OUT/voice/heldout.jsonl.xz`: sentences of both languages that are never
learned from.
"""

from __future__ import annotations

import io
import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.speech import spoken_phrases
from localgpt.media.text.speech.chinese import chinese_sounds, with_tone
from localgpt.media.text.speech.normalize import normalize
from recipes.text_data.rows import is_held_out
from recipes.voice_data.compose import PAUSE, cut_clauses, wordings
from recipes.voice_data.packs import Packer, write_rows
from recipes.voice_data.teacher import find_teacher, speak_with

__all__ = ["SPEAKERS", "Wishes", "prepare_voice", "trim"]

# Of the network; the first two are shipped, the others only teach it more of each language.
SPEAKERS = ("en", "zh", "en_recorded", "zh_syllables")
BANDWIDTH_HZ = {"en": 16_000, "zh": 12_000, "en_recorded": 16_000, "zh_syllables": 20_000}
_QUIET = 0.02  # of the loudest sample
_MARGIN_S = 0.03
_PEAK = 0.9 * 2**15
_PHILIPP_RATE = 32_000  # its sound ends at 16 kHz
_NUM_HELD_OUT = 100
_MODULUS = 50  # of held-out sentences; those of the data's own rule are among them
_SOUND_MODULUS = 10
_WORDS_EN = (4, 14)
_WORDS_ZH = (3, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How much is prepared."""

    teacher_minutes: float = 50.0
    words: int = 5000
    sentences: int = 12_000
    shard_mib: float = 56.0


class _Pack:
    """What is packed, and the seconds of it by speaker."""

    def __init__(self, packer: Packer) -> None:
        self.packer = packer
        self.seconds: Counter[str] = Counter()

    def add(self, samples: NDArray[np.int16], rate: int, speaker: str, text: str, symbols: str) -> None:
        """Take a clip, unless there is nothing in it, or nothing is said."""
        if len(samples) and symbols:
            self.packer.add(samples, speaker=speaker, rate=rate, text=text, symbols=symbols)
            self.seconds[speaker] += len(samples) / rate


def prepare_voice(data: Path, out: Path, wishes: Wishes | None = None) -> dict[str, Any]:
    """Prepare everything; see the module docstring.

    Returns:
        Seconds by speaker, sentences, bytes, and which synthesiser taught English.
    """
    wishes = wishes or Wishes()
    folder = out / "voice"
    pack = _Pack(Packer(folder, shard_bytes=int(wishes.shard_mib * 2**20)))
    figures: dict[str, Any] = {}
    words = {row["text"]: row for row in _rows(data, "hsk_words_zh") if row["split"] == "train"}
    sentences, held_out_zh = _chinese_sentences(data, words, wishes)
    _pack_words(data, words, sentences, pack)
    _pack_syllables(data, pack)
    _pack_philipp(data, pack)
    english, held_out_en = _english_sentences(data)
    figures["teacher"] = teacher = find_teacher()
    if teacher is not None:
        _pack_teacher(teacher, english, wishes.teacher_minutes * 60, pack)
    pack.packer.finish()
    write_rows(folder / "sentences.jsonl.xz", [{"text": text, "words": words} for text, words in sentences])
    held_out = [{"language": "en", "text": text} for text in held_out_en]
    held_out += [{"language": "zh", "text": text} for text in held_out_zh]
    write_rows(folder / "heldout.jsonl.xz", held_out)
    figures |= {"seconds": {name: round(s) for name, s in pack.seconds.items()}, "sentences": len(sentences)}
    figures["bytes"] = pack.packer.num_bytes
    (folder / "manifest.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def trim(waveform: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """Without the silence at both ends, but for a moment, and as loud as can be."""
    step = rate // 100
    blocks = np.abs(waveform[: len(waveform) // step * step].astype(np.int32)).reshape(-1, step).max(axis=1)
    if not len(blocks) or not blocks.max():
        return waveform[:0]
    loud = np.nonzero(blocks > _QUIET * blocks.max())[0]
    margin = round(_MARGIN_S * rate)
    kept = waveform[max(0, loud[0] * step - margin) : (loud[-1] + 1) * step + margin]
    return np.round(kept * (_PEAK / blocks.max())).clip(-(2**15), 2**15 - 1).astype(np.int16)


def _rows(data: Path, name: str) -> list[dict[str, Any]]:
    with lzma.open(data / "speech" / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _pairs(data: Path) -> Iterator[tuple[str, str, bool]]:
    """English, Chinese, and whether the pair is held out."""
    with lzma.open(data / "text" / "bilingual_en_zh.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["en"], row["zh"], is_held_out(row["en"], modulus=_MODULUS)


def _articles(data: Path) -> Iterator[str]:
    with lzma.open(data / "text" / "pretrain_zh.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            if not is_held_out(text):
                yield text


def _clips(
    data: Path, name: str, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Any, int]]:
    import soundfile

    blob = (data / "speech" / f"{name}.bin").read_bytes()
    for row in rows:
        sound = io.BytesIO(blob[row["offset"] : row["offset"] + row["bytes"]])
        samples, rate = soundfile.read(sound, dtype="int16")
        yield row, samples, rate


def _chinese_sentences(
    data: Path, words: dict[str, Any], wishes: Wishes
) -> tuple[list[tuple[str, Sequence[str]]], list[str]]:
    """Sentences of recorded words, those of the most needed words alone; and others that are held out."""
    pairs = list(_pairs(data))
    texts = chain((zh for _, zh, held_out in pairs if not held_out), _articles(data))
    least, most = _WORDS_ZH
    found = wordings(texts, set(words), least=least, most=most, num=wishes.sentences)
    used = Counter(word for _, parts in found for word in parts if word != PAUSE)
    kept = {PAUSE, *(word for word, _ in used.most_common(wishes.words))}
    learned = [(text, parts) for text, parts in found if kept.issuperset(parts)]
    seen = {text for text, _ in found}
    # Text alone, which any voice can be asked for, recorded words or not.
    others = dict.fromkeys(zh for _, zh, held_out in pairs if held_out and 5 <= len(zh) <= 20)
    return learned, [zh for zh in others if not seen.intersection(cut_clauses(zh))][:_NUM_HELD_OUT]


def _pack_words(
    data: Path,
    words: dict[str, Any],
    sentences: list[tuple[str, Sequence[str]]],
    pack: _Pack,
) -> None:
    """The words of the sentences."""
    used = {word for _, parts in sentences for word in parts}
    rows = [row for word, row in words.items() if word in used]
    for row, samples, rate in _clips(data, "hsk_words_zh", rows):
        pack.add(trim(samples, rate), rate, "zh", row["text"], chinese_sounds(row["text"]))


def _pack_syllables(data: Path, pack: _Pack) -> None:
    from pypinyin.contrib.tone_convert import tone3_to_tone
    from pypinyin.style.bopomofo import BopomofoConverter

    rows = [row for row in _rows(data, "syllables_zh") if not row["text"].startswith("_")]
    convert = BopomofoConverter()
    for row, samples, rate in _clips(data, "syllables_zh", rows):
        sounds = with_tone(convert.to_bopomofo(tone3_to_tone(row["text"])))
        if is_held_out(row["file"], modulus=_SOUND_MODULUS) or not sounds:
            continue
        pack.add(trim(samples, rate), rate, "zh_syllables", row["text"], sounds)


def _pack_philipp(data: Path, pack: _Pack) -> None:
    import soxr

    rows = [row for row in _rows(data, "philipp_en") if row["split"] == "train"]
    for row, samples, rate in _clips(data, "philipp_en", rows):
        smaller = soxr.resample(trim(samples, rate), rate, _PHILIPP_RATE)
        pack.add(smaller, _PHILIPP_RATE, "en_recorded", row["text"], _english(row["text"]))


def _english_sentences(data: Path) -> tuple[list[str], list[str]]:
    """Different sentences of some words, in words; and those kept out."""
    learned: dict[str, None] = {}
    held_out: dict[str, None] = {}
    least, most = _WORDS_EN
    for text, _, is_kept_out in _pairs(data):
        said = normalize(text, "en")
        if said.isascii() and least <= len(said.split()) <= most:
            (held_out if is_kept_out else learned)[said] = None
    return list(learned), [text for text in held_out if text not in learned][:_NUM_HELD_OUT]


def _pack_teacher(teacher: str, texts: Sequence[str], most_s: float, pack: _Pack) -> None:
    for begin in range(0, len(texts), 50):
        batch = texts[begin : begin + 50]
        for text, (samples, rate) in zip(batch, speak_with(teacher, batch), strict=True):
            pack.add(trim(samples, rate), rate, "en", text, _english(text))
        if pack.seconds["en"] >= most_s:
            return


def _english(text: str) -> str:
    phrases = spoken_phrases(text, "en")
    return phrases[0].symbols if len(phrases) == 1 else ""
