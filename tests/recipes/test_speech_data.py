"""Preparation of speech: sentences, words, raw recordings, synthesisers, and what is put together."""

from __future__ import annotations

import io
import json
import lzma
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from safetensors.torch import load_file

from localgpt.media.text.spoken_units import english_units, pinyin_units
from localgpt.sampling.speech.search import SearchOptions, WordSearch
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import BEGIN, WordList
from recipes.speech_data.concatenate import Clips, random_string, said_sentence
from recipes.speech_data.lexicon import LexiconLimits, build_lexicon, units_of_pinyin
from recipes.speech_data.prepare import SoundOptions, TextOptions, prepare_sound, prepare_texts
from recipes.speech_data.recordings import english_sounds, read_set, split_of
from recipes.speech_data.sentences import chinese_runs, english_runs, segment, spoken_lines
from recipes.speech_data.sound_sets import RATE, Recording, SoundSet
from recipes.speech_data.voices import Line, speak
from recipes.speech_data.word_model import ModelLimits
from recipes.text_data.rows import is_held_out
from tests.unit.test_speech_search import spoken

READINGS = {"你好": ["ni3 hao3"], "你": ["ni3"], "好": ["hao3", "hao4"], "猫": ["mao1"], "嗯": ["ng2"]}


def test_sentences() -> None:
    assert list(english_runs("Don\u2019t go, Ann! It's 5 o'clock (or 'six').")) == [
        ["Don't", "go"], ["Ann"], ["It's"], ["o'clock"], ["or", "six"],
    ]  # fmt: skip
    assert list(chinese_runs("你好，world。猫2好")) == ["你好", "猫", "好"]
    assert segment("你好猫你", {"你好"}) == ["你好", "猫", "你"]
    texts = ["We see the cat. No. We see the cat.", "The NBA bcd is here, one two three."]
    assert set(spoken_lines(texts, "en", 9, seed=0)) == {"we see the cat", "one two three"}
    assert len(spoken_lines(texts, "en", 1, seed=0)) == 1
    assert spoken_lines(["你好猫好。你好"], "zh", 9, seed=0) == ["你好猫好"]


def test_words_are_those_our_texts_have() -> None:
    limits = LexiconLimits(
        min_english=2, min_chinese=2, max_chinese=9, model=ModelLimits(min_pair=1, min_triple=1)
    )
    chinese = ["你好猫，你好猫，好好"]
    english = ["I saw Ann. Then Ann saw the cat.", "the cat saw Ann, b b b bcd bcd"]
    tensors = build_lexicon(
        english, chinese, ["嗯"], lambda word: READINGS[word], phrases=["你好", "好猫"], limits=limits
    )
    model = WordModel({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    told = {n.removeprefix("words."): t for n, t in tensors.items() if n.startswith("words.")}
    words = WordList.from_tensors(told, model.unigrams)
    assert set(words.ids) == {"Ann", "saw", "the", "cat", "你好", "好", "猫"}
    assert words.common(pinyin_units("hao4") or ()) == "好"
    ann, cat, the = (words.ids[word] for word in ("Ann", "cat", "the"))
    assert model.scores((BEGIN, the), [cat])[0] > model.scores((BEGIN, the), [ann])[0]
    search = WordSearch(words, model, SearchOptions())
    search.push(spoken(*(english_units("ann") or ()), *(pinyin_units("mao1") or ())))
    assert [word.text for word in search.best()] == ["Ann", "猫"]


def test_readings_that_are_no_syllables_are_left_out() -> None:
    assert units_of_pinyin("ni3 hao3") == (*(pinyin_units("ni3") or ()), *(pinyin_units("hao3") or ()))
    assert units_of_pinyin("ng2") is None and units_of_pinyin("") == ()


def tone(seconds: float, hertz: float = 300.0, rate: int = RATE) -> NDArray[np.float32]:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_raw(folder: Path, name: str, rows: list[dict[str, Any]], rate: int) -> None:
    """A raw set as it is carried: Opus files one after the other, and rows with their places."""
    blob = b""
    for row in rows:
        file = io.BytesIO()
        soundfile.write(file, tone(row["seconds"], rate=rate), rate, format="OGG", subtype="OPUS")
        row |= {"offset": len(blob), "bytes": len(file.getvalue())}
        blob += file.getvalue()
    (folder / f"{name}.bin").write_bytes(blob)
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def row(
    text: str, language: str, *, split: str = "train", seconds: float = 0.5, file: str = ""
) -> dict[str, Any]:
    return {
        "file": file or f"{text}.opus",
        "text": text,
        "language": language,
        "seconds": seconds,
        "split": split,
    }


def test_raw_sets_are_read_by_their_splits(tmp_path: Path) -> None:
    rows = [row("we see 2 cats", "en"), row("cat", "en", split="dev"), row("12", "en")]
    write_raw(tmp_path, "speechocean_en", rows, 24_000)
    found = list(read_set(tmp_path, "speechocean_en", "train", {}))
    assert [one.text for one in found] == ["we see 2 cats"]
    assert found[0].units == english_sounds("we see cats")
    assert len(found[0].samples) == pytest.approx(RATE / 2, abs=RATE // 50)
    assert 8000 < int(np.abs(found[0].samples).max()) < 18_000
    write_raw(tmp_path, "hsk_words_zh", [row("你好", "zh"), row("猫", "zh", split="test")], 24_000)
    assert [one.text for one in read_set(tmp_path, "hsk_words_zh", "dev", {"猫": "mao1"})] == ["猫"]


def test_noises_for_testing_are_never_learned_from() -> None:
    assert split_of("noise", row("running_tap", "noise")) == "dev"
    assert split_of("noise", row("pink_noise", "noise")) == "train"
    splits = {split_of("syllables_zh", row("a", "zh-pinyin", file=f"{n}.opus")) for n in range(60)}
    assert splits == {"train", "dev"}
    assert split_of("hsk_words_zh", row("猫", "zh", split="test")) == "dev"


def clip(text: str, units: tuple[int, ...], hertz: float) -> Recording:
    silence = np.zeros(1600, dtype=np.int16)
    samples = np.concatenate([silence, (tone(0.2, hertz) * 20_000).astype(np.int16), silence])
    return Recording(samples=samples, text=text, units=units)


def test_sentences_are_put_together_of_the_longest_words() -> None:
    words = [
        clip("你好", units_of_pinyin("ni3 hao3") or (), 300.0),
        clip("猫", pinyin_units("mao1") or (), 400.0),
    ]
    syllables = [clip(told, pinyin_units(told) or (), 500.0) for told in ("ni3", "hao3", "mao1", "ma5")]
    clips = Clips(words, syllables)
    draw = random.Random(0)
    chosen = clips.cover("你好吗猫", "ni3 hao3 ma5 mao1", draw, by_words=True)
    assert chosen is not None and [one.text for one in chosen] == ["你好", "ma5", "猫"]
    chosen = clips.cover("你好", "ni3 hao3", draw, by_words=False)
    assert chosen is not None and [one.text for one in chosen] == ["ni3", "hao3"]
    assert clips.cover("你狗", "ni3 gou3", draw, by_words=True) is None
    said = said_sentence(clips, "你好猫", "ni3 hao3 mao1", seed=1)
    assert said is not None and said.units == units_of_pinyin("ni3 hao3 mao1")
    assert said_sentence(clips, "你好猫", "ni3 hao3 mao1", seed=1).samples.tolist() == said.samples.tolist()  # type: ignore[union-attr]
    string = random_string(words, seed=2, lengths=(3, 3))
    assert len(string.text) >= 3 and RATE * 0.6 < len(string.samples) < RATE * 2.5


def test_sets_are_packed_and_read_again(tmp_path: Path) -> None:
    found = [clip("你好", (1, 2), 300.0), clip("cat", (3,), 400.0)]
    SoundSet.of(found).save(tmp_path, "some")
    again = SoundSet.load(tmp_path, "some")
    assert len(again) == 2 and again.hours == pytest.approx(0.8 / 3600)
    assert again.recording(1).units == (3,) and again.recording(1).text == "cat"
    assert np.array_equal(again.recording(1).samples, found[1].samples)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Synthesisers that write down how they were called, and give a tone."""
    folder = tmp_path / "programs"
    folder.mkdir()
    soundfile.write(folder / "tone.wav", np.concatenate([np.zeros(8000), tone(0.5)]), RATE)
    for name, option in (("flite", "-o"), ("espeak-ng", "-w")):
        script = (
            f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n'
            f'while [ "$1" != "{option}" ]; do shift; done\ncp {folder}/tone.wav "$2"\n'
        )
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_lines_are_spoken_in_a_voice_that_the_seed_decides(programs: Path) -> None:
    said = [speak(Line(text="we see the cat", seed=seed), ("flite", "espeak-ng")) for seed in range(12)]
    assert all(one is not None and one.units == english_sounds("we see the cat") for one in said)
    keys = {one.key for one in said if one is not None}
    assert len(keys) == 12 and {key.split()[0] for key in keys} == {"flite", "espeak-ng"}
    assert len(said[0].samples) == pytest.approx(0.6 * RATE, abs=RATE * 0.06)  # type: ignore[union-attr]
    again = speak(Line(text="we see the cat", seed=3), ("flite", "espeak-ng"))
    assert again is not None and said[3] is not None and again.key == said[3].key
    chinese = speak(Line(text="你好", pinyin="ni3 hao3", seed=1), ("flite", "espeak-ng"))
    assert chinese is not None and chinese.units == units_of_pinyin("ni3 hao3")
    last = (programs / "calls").read_text(encoding="utf-8").splitlines()[-1]
    assert "cmn-latn-pinyin" in last and "ni3 hao3" in last


def test_everything_is_prepared(programs: Path, tmp_path: Path) -> None:
    raw, pack, out = tmp_path / "raw", tmp_path / "pack", tmp_path / "out"
    raw.mkdir()
    pack.mkdir()
    write_raw(raw, "speechocean_en", [row("we see", "en"), row("cat", "en", split="dev")], 16_000)
    words = [row("你好", "zh"), row("猫", "zh"), row("好", "zh", split="test")]
    write_raw(raw, "hsk_words_zh", words, 24_000)
    write_raw(raw, "syllables_zh", [row(told, "zh-pinyin") for told in ("ni3", "hao3", "mao1")], 48_000)
    write_raw(raw, "philipp_en", [row("Printing, then.", "en")], 48_000)
    write_raw(raw, "keywords_zh_en", [row("cat", "en"), row("猫", "zh", split="test")], 16_000)
    write_raw(raw, "noise", [row("pink_noise", "noise"), row("running_tap", "noise")], 16_000)
    lines = {
        "english": ["we see the cat"] * 3,
        "chinese": [("你好猫", "ni3 hao3 mao1"), ("你好", "ni3 hao3")],
        "pinyin": {"你好": "ni3 hao3", "猫": "mao1", "好": "hao3"},
    }
    with lzma.open(pack / "lines.json.xz", "wt", encoding="utf-8") as file:
        json.dump(lines, file)
    counts = {"english": 2, "chinese": 2, "chinese_spoken": 1, "strings": 3}
    figures = prepare_sound(SoundOptions(data=raw, pack=pack, out=out, workers=2, **counts))
    counts = {name: int(one["recordings"]) for name, one in figures.items()}
    assert counts["spoken_en"] == 2 and counts["spoken_zh"] == 1 and counts["strings_zh"] == 3
    assert counts["speechocean_en"] == counts["speechocean_en_dev"] == counts["noise"] == 1
    assert counts["sentences_zh"] >= 1 and counts["keywords_zh_en_dev"] == 1
    assert set(json.loads((out / "manifest.json").read_text(encoding="utf-8"))) == set(counts)
    assert SoundSet.load(out, "noise_dev").texts == ["running_tap"]


def write_lines(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)


def test_words_and_lines_come_of_training_rows_alone(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "pack"
    raw.mkdir()
    pairs = [
        {"en": f"We {word} the house today.", "zh": "我们今天去学校。"} for word in ("see", "paint", "sell")
    ]
    pairs += [{"en": f"{number} kept away from here", "zh": "不知道什么时候"} for number in range(999)]
    held_out = next(pair for pair in pairs if is_held_out(pair["en"]))
    write_lines(raw, "bilingual_en_zh", [*pairs[:3], held_out])
    for language, text in (("en", "The cat saw the other cat. " * 5), ("zh", "我们喜欢学校。" * 5)):
        talk = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        write_lines(raw, f"sft_{language}", [{"src": "some", "messages": talk}])
        write_lines(raw, f"pretrain_{language}", [{"src": "other", "text": text}])
    write_raw(raw, "speechocean_en", [row("zebra zone", "en"), row("quiz", "en", split="dev")], 16_000)
    write_raw(raw, "hsk_words_zh", [row("斑马", "zh"), row("学校", "zh", split="test")], 24_000)
    write_raw(raw, "keywords_zh_en", [row("猫", "zh")], 16_000)
    figures = prepare_texts(TextOptions(data=raw, out=out, english=9, chinese=9))
    assert figures["english_lines"] == 3 + 1 and figures["chinese_lines"] == 2
    tensors = load_file(out / "words.safetensors")
    texts = bytes(tensors["words.texts"].numpy()).decode().split("\n")
    assert {"zebra", "zone", "cat", "斑马", "学校", "我们"} <= set(texts)  # heard words count eight times
    assert not {"quiz", "kept", "away", "什么"} & set(texts)
    with lzma.open(out / "lines.json.xz", "rt", encoding="utf-8") as file:
        lines = json.load(file)
    assert ["我们今天去学校", "wo3 men5 jin1 tian1 qu4 xue2 xiao4"] in lines["chinese"]
    assert lines["pinyin"]["斑马"] == "ban1 ma3"
