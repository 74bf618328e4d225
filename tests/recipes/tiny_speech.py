"""Packed speech of a few tones, as small as the recogniser's recipes can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from recipes.speech_data.lexicon import LexiconLimits, build_lexicon
from recipes.speech_data.sound_sets import RATE, Recording, SoundSet, to_int16
from recipes.speech_data.word_model import ModelLimits
from tests.tiny_listener import noise, said, units_of

__all__ = ["READINGS", "recording", "write_sound"]

READINGS = {"你好": ["ni3 hao3"], "你": ["ni3"], "好": ["hao3", "hao4"]}
_SAID = {
    "speechocean_en": ("the cat", "cat", "the"), "spoken_en": ("the", "cat", "the cat"),
    "hsk_words_zh": ("你好",), "sentences_zh": ("你好 你好",), "strings_zh": ("你好 你好",),
    "keywords_zh_en": ("你好", "cat"),
}  # fmt: skip


def recording(text: str, number: int = 0) -> Recording:
    """Words as tones."""
    words = text.split()
    waveform = said(*words) * (0.8 + 0.02 * number)
    units = tuple(unit for word in words for unit in units_of(word))
    return Recording(samples=to_int16(waveform), text=text, units=units, key=f"{number}.opus")


def write_sound(folder: Path) -> Path:
    """Training and held-out sets, noise, and the words."""
    for name, texts in _SAID.items():
        for suffix, num in (("", 8), ("_dev", 2)):
            recordings = [recording(texts[number % len(texts)], number) for number in range(num)]
            SoundSet.of(recordings).save(folder, name + suffix)
    hiss = Recording(samples=to_int16(noise(4.0, 0.1)), text="hiss", units=())
    SoundSet.of([hiss]).save(folder, "noise")
    limits = LexiconLimits(min_english=1, min_chinese=1, model=ModelLimits(min_pair=1, min_triple=1))
    words = build_lexicon(
        ["The cat. the cat the Cat"], ["你好你好"], ["你好"], lambda word: READINGS[word], limits=limits
    )
    save_file({name: tensor.contiguous() for name, tensor in words.items()}, folder / "words.safetensors")
    assert len(np.load(folder / "noise.samples.npy")) == 4 * RATE
    return folder
