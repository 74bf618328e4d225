"""Segments, pauses, silence and streams of the embedded recogniser; its network here reads tones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.media.text.spoken_units import BLANK, NUM_UNITS
from localgpt.models.recognizer import Recognizer, RecognizerConfig
from localgpt.sampling.speech.hearing import (
    FRAME_S,
    SAMPLE_RATE,
    Knowledge,
    SpeechStream,
    Writer,
    hear_windows,
    join_words,
    language_of,
)
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import WordList
from tests.unit.test_speech_search import model, spoken, units_of, words

__all__ = ["model", "words"]
CONFIG = RecognizerConfig(num_mel_bins=20, n_layer=2, n_embd=8, n_head=2, kernel_size=3, chunk=4, num_left=2)


class ToneReader(Recognizer):
    """Hears in the loudest mel bin which of `tones` is sounded, and nothing below a middling loudness.

    Args:
        tones: the sound of each mel bin.
    """

    def __init__(self, tones: list[int]) -> None:
        super().__init__(CONFIG)
        self.tones = torch.tensor(tones + [BLANK] * (CONFIG.num_mel_bins - len(tones)))

    def score(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._heard(mel[..., : mel.shape[2] // 2 * 2])
        return logits, logits

    def step(self, mel: Tensor, state: object) -> tuple[Tensor, object]:  # type: ignore[override]
        return self._heard(mel), state

    def _heard(self, mel: Tensor) -> Tensor:
        loudest, place = mel[..., 1::2].max(dim=1)
        units = torch.where(loudest > 0.5, self.tones[place], BLANK)
        return 9.0 * torch.nn.functional.one_hot(units, NUM_UNITS).float()


SOUNDS = [*units_of("the"), *units_of("cat")[:3]]  # a tone each; both words end with the same sound


@pytest.fixture(scope="module")
def knowledge(words: WordList, model: WordModel) -> Knowledge:
    return Knowledge(network=ToneReader(SOUNDS).eval(), words=words, model=model)


def tone(number: int, seconds: float = 0.1) -> NDArray[np.float32]:
    """A tone in the middle of a mel bin, then 60 ms of faint noise."""
    mels = np.linspace(0.0, 45.245, CONFIG.num_mel_bins + 2)[number + 1]
    hertz = mels * 200 / 3 if mels < 15 else 1000 * np.exp((mels - 15) * np.log(6.4) / 27)
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.concatenate([0.5 * np.sin(2 * np.pi * hertz * times), noise(0.06)]).astype(np.float32)


def noise(seconds: float, level: float = 0.002) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return (level * generator.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def said(*words_said: str) -> NDArray[np.float32]:
    parts = [tone(SOUNDS.index(unit)) for word in words_said for unit in units_of(word)]
    return np.concatenate([noise(0.3), *parts])


def hear(knowledge: Knowledge, waveform: NDArray[np.float32], piece: int = 48_000) -> Writer:
    def blocks() -> Iterator[NDArray[np.float32]]:
        yield from (waveform[at : at + piece] for at in range(0, len(waveform), piece))

    writer = Writer(knowledge)
    seconds = hear_windows(knowledge, blocks(), writer)
    assert seconds == pytest.approx(len(waveform) / SAMPLE_RATE)
    writer.finish()
    return writer


def test_a_recording_becomes_segments_with_times(knowledge: Knowledge) -> None:
    waveform = np.concatenate([said("the", "cat"), noise(1.5), said("the"), noise(2.0)])
    segments = hear(knowledge, waveform).segments
    assert [segment.text for segment in segments] == ["the cat", "the"]
    assert segments[0].begin_s == pytest.approx(0.3, abs=0.05)
    assert segments[1].begin_s == pytest.approx(0.3 + 8 * 0.16 + 1.5 + 0.3, abs=0.05)
    assert all(segment.begin_s < segment.end_s for segment in segments)
    assert all(0.5 < segment.confidence <= 1.0 for segment in segments)


def test_long_recordings_are_cut_where_they_are_quiet(knowledge: Knowledge) -> None:
    one = np.concatenate([said("the", "cat"), noise(0.4)])
    writer = hear(knowledge, np.tile(one, 20), piece=100_001)
    heard = [word.text for segment in writer.segments for word in segment.words]
    assert heard == ["the", "cat"] * 20
    begins = [word.begin * FRAME_S for segment in writer.segments for word in segment.words][::2]
    assert np.allclose(np.diff(begins), len(one) / SAMPLE_RATE, atol=0.06)


def test_silence_and_what_is_improbable_give_nothing(knowledge: Knowledge, words: WordList) -> None:
    assert not hear(knowledge, np.zeros(3 * SAMPLE_RATE, dtype=np.float32)).segments
    assert not hear(knowledge, np.zeros(0, dtype=np.float32)).segments
    assert not hear(knowledge, np.zeros(100, dtype=np.float32)).segments
    faint = 1e-3 * said("the", "cat")  # below -60 dB, whatever the network says
    assert not hear(knowledge, faint).segments
    unsure = Writer(knowledge)
    unsure.push(spoken(*units_of("the"), sure=0.3))
    assert unsure.text == ""
    unsure.finish()
    assert not unsure.segments


@pytest.mark.parametrize("piece", [173, 1600, 20_000])
def test_a_stream_hears_what_the_recording_says(knowledge: Knowledge, piece: int) -> None:
    waveform = np.concatenate([said("the", "cat"), noise(1.5), said("the", "cat")])
    stream, told = SpeechStream(knowledge), [""]
    for at in range(0, len(waveform), piece):
        stream.feed(waveform[at : at + piece])
        told.append(stream.text)
    preview = stream.preview()
    assert stream.finish() == preview == "the cat the cat"
    assert stream.duration_s == pytest.approx(len(waveform) / SAMPLE_RATE)
    assert [segment.text for segment in stream.segments] == ["the cat", "the cat"]
    if piece < 20_000:
        assert "the" in told and "the cat" in told and told.index("the") < told.index("the cat")


def test_pauses_show(knowledge: Knowledge) -> None:
    stream = SpeechStream(knowledge)
    stream.feed(said("the"))
    stream.feed(np.concatenate([tone(SOUNDS.index(units_of("cat")[0]), 0.5)])[:8000])
    assert not stream.is_pausing
    stream.feed(noise(0.5))
    assert stream.is_pausing


def test_words_are_joined_as_they_are_written() -> None:
    assert join_words(["the", "cat"]) == "the cat"
    assert join_words(["你好", "是"]) == "你好是"
    assert join_words(["I", "你好", "see"]) == "I 你好 see"
    assert language_of(["I", "see"]) == "en" and language_of(["你好", "ok"]) == "en"
    assert language_of(["你好", "是事", "ok"]) == "zh" and language_of([]) is None
