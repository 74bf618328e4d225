"""The listening figures on recordings of tones, and choosing among ways of hearing."""

from __future__ import annotations

import io
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from benchmarks.speech.heard import CLIP_S, Listened, measure_heard, noise_clips, silences
from localgpt.checkpoints import load_family
from localgpt.errors import ConfigError
from localgpt.sampling.speech.hearing import join_words
from localgpt.sampling.speech.rescoring import DecoderScore, chooser
from localgpt.sampling.speech.search import FoundWord, Sentence
from recipes.speech_data.sound_sets import Recording, to_int16
from tests import tiny_folder
from tests.tiny_listener import RATE, noise, said, write_member

_ROWS = {
    "speechocean_en": [("the cat", "en", "train"), ("the cat", "en", "dev"), ("cat dog", "en", "dev")],
    "keywords_zh_en": [("cat", "en", "test"), ("你好", "zh", "test"), ("你好", "zh", "train")],
    "hsk_words_zh": [("你好", "zh", "test"), ("你好", "zh", "train")],
    "syllables_zh": [("ni3", "zh-pinyin", "train")],
    "noise": [("pink_noise", "noise", "train"), ("running_tap", "noise", "train")],
}


@pytest.fixture(scope="module")
def family(family_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heard") / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder)
    tiny_folder.write_description(folder, members=["decoder", "encoder", "listener"])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw sets whose recordings say what their rows tell, but for a dog, which nobody can say."""
    folder = tmp_path_factory.mktemp("sets")
    for name, rows in _ROWS.items():
        blob, lines = b"", []
        for number, (text, language, split) in enumerate(rows):
            sound = noise(6.0, 0.02) if language == "noise" else _spoken(text)
            file = io.BytesIO()
            soundfile.write(file, sound, RATE, format="WAV")
            told: dict[str, Any] = {"file": f"{name}{number}.opus", "text": text, "language": language}
            lines.append(told | {"split": split, "offset": len(blob), "bytes": len(file.getvalue())})
            blob += file.getvalue()
        (folder / f"{name}.bin").write_bytes(blob)
        with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    pairs = [{"en": str(number), "zh": "你好你好。"} for number in range(600)]
    with lzma.open(folder / "bilingual_en_zh.jsonl.xz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    return folder


def _spoken(text: str) -> NDArray[np.float32]:
    known = [word for word in text.split() if word in ("the", "cat", "你好")]
    return np.concatenate([said(*known), noise(0.2)]) if known else said("the")


def test_figures_tell_what_was_understood(data: Path, family: Path) -> None:
    asked = Listened(
        data=data, model=str(family), real=family, unpruned=family, rescore=True, limit=4, threads=1
    )
    figures = measure_heard(asked)
    english = figures["english"]
    assert english["sentences"] == 2 and english["also_read_by_training_speakers"] == 1
    assert english["wer"] == english["wer_greedy"] == english["wer_real_speech_alone"] == 0.25  # the dog
    assert 0.0 <= english["wer_rescored"] <= 1.0
    assert figures["keywords"] == {"recordings": 2, "exact": 1.0, "exact_en": 1.0, "exact_zh": 1.0}
    chinese = figures["chinese"]
    assert chinese["cer_strings_of_held_out_words"] == 0.0
    assert chinese["cer_greedy"] == 1.0  # single characters are not among the words
    assert chinese["strings"] == 4 and 0 < chinese["sentences"] <= 4
    assert figures["no_speech"]["words_in_silence"] == figures["no_speech"]["words_in_noise"] == 0
    assert figures["no_speech"]["noises"] == ["running_tap"] and not figures["no_speech"]["written"]
    before, after = figures["pruning"]["before"], figures["pruning"]["after"]
    assert before["megabytes"] == after["megabytes"] > 0 and before["wer"] == english["wer"]
    assert figures["real_time_factor"] > 0


def test_a_family_without_a_listener_is_named(data: Path, family_folder: Path) -> None:
    with pytest.raises(ConfigError, match="has no listener; train one"):
        measure_heard(Listened(data=data, model=str(family_folder)))


def test_clips_without_speech() -> None:
    quiet = list(silences(8))
    assert len(quiet) == 8 and not quiet[0].any() and 0 < np.abs(quiet[1]).max() < 0.01
    noises = [
        Recording(samples=to_int16(np.full(RATE * 10, level)), text=str(level), units=())
        for level in (0.1, 0.2)
    ]
    clips = list(noise_clips(noises, 5))
    assert all(len(clip) == CLIP_S * RATE for clip in clips)
    assert [round(float(clip[0]), 1) for clip in clips] == [0.1, 0.2, 0.1, 0.2, 0.1]


def way(text: str, score: float) -> Sentence:
    words = tuple(FoundWord(text=word, begin=0, end=1, confidence=1.0) for word in text.split())
    return Sentence(words=words, score=score)


def test_what_is_likelier_as_a_text_may_win() -> None:
    ways = [way("their cat", -1.0), way("there cat", -1.5), way("the cat", -2.0)]
    liked = {"their cat": -9.0, "there cat": -8.0, "the cat": -2.0}

    def score(texts: Any) -> list[float]:
        return [liked[text] for text in texts]

    assert chooser(score, join_words, weight=0.5)(ways) is ways[2]
    assert chooser(score, join_words, weight=0.0)(ways) is ways[0]
    assert chooser(score, join_words)(ways[1:2]) is ways[1]


def test_the_decoder_scores_whole_texts(family_folder: Path) -> None:
    family = load_family(family_folder)
    score = DecoderScore(family.decoder, family.tokenizer)
    together = score(["the cat", "the", "a much longer text"])
    apart = [score([text])[0] for text in ("the cat", "the", "a much longer text")]
    assert np.allclose(together, apart, atol=1e-3) and max(together) < 0
    assert score([""]) == [0.0]
