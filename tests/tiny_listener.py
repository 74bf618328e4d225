"""A recogniser whose weights are written by hand: each of its sounds is a tone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.checkpoints import write_sharded
from localgpt.media.text.spoken_units import BLANK, NUM_UNITS, english_units, pinyin_units
from localgpt.models.recognizer import Recognizer, RecognizerConfig
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import NUM_SIGNS, WordList
from recipes.export import pack_int8
from recipes.speech_data.word_model import ModelLimits, build_word_model

__all__ = ["CONFIG", "listener_tensors", "noise", "said", "units_of", "write_member"]

RATE = 16_000
CONFIG = RecognizerConfig(num_mel_bins=20, n_layer=2, n_embd=64, n_head=2, kernel_size=3, chunk=4, num_left=2)
SPOKEN = {"the": "the", "cat": "cat", "你好": "ni3 hao3"}
SENTENCES = ("the cat", "the cat", "你好", "你好 cat")


def units_of(word: str) -> list[int]:
    """Sounds of one of the words."""
    told = SPOKEN[word]
    if word == told:
        return list(english_units(word) or ())
    return [unit for part in told.split() for unit in pinyin_units(part) or ()]


SOUNDS = list(dict.fromkeys(unit for word in SPOKEN for unit in units_of(word)))


def make_recognizer() -> Recognizer:
    """Hears which mel bin is loudest; blocks pass on what they get."""
    network = Recognizer(CONFIG).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        num_bins = CONFIG.num_mel_bins
        network.stem_1.weight[:num_bins, :, 2] = 2.0 * torch.eye(num_bins)
        network.stem_2.weight[:, :, 2] = torch.eye(CONFIG.n_embd)
        for place, unit in enumerate(SOUNDS):
            network.head.weight[unit, 2 * place + 1] = 4.0
        network.head.bias[BLANK] = 16.0
    return network


def listener_tensors() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config of the member."""
    packed, _ = pack_int8(make_recognizer().state_dict())
    model, words = _words()
    tensors = {f"network.{name}": tensor for name, tensor in packed.items()}
    tensors |= {f"words.{name}": tensor for name, tensor in words.to_tensors().items()}
    tensors |= {f"model.{name}": tensor for name, tensor in model.to_tensors().items()}
    config = {
        "network": CONFIG.to_dict(),
        "num_units": NUM_UNITS,
        "search": {"lm_weight": 0.5},
        "pause_s": 0.6,
        "min_confidence": 0.3,
    }
    return tensors, config


def write_member(family: Path) -> None:
    """Write the member "listener" into a family's folder; `family.json` is not changed."""
    tensors, config = listener_tensors()
    write_sharded(tensors, family / "listener", config=config)


def _words() -> tuple[WordModel, WordList]:
    texts = list(SPOKEN)
    sentences = [[texts.index(word) + NUM_SIGNS for word in said.split()] for said in SENTENCES]
    limits = ModelLimits(min_pair=1, min_triple=1)
    model = build_word_model(sentences, NUM_SIGNS + len(texts), limits)
    entries = [(number + NUM_SIGNS, units_of(text)) for number, text in enumerate(texts)]
    return model, WordList(["", "", "", *texts], entries, model.unigrams)


def noise(seconds: float, level: float = 0.002) -> NDArray[np.float32]:
    """Faint noise."""
    generator = np.random.default_rng(0)
    return (level * generator.standard_normal(round(seconds * RATE))).astype(np.float32)


def said(*words: str) -> NDArray[np.float32]:
    """A tone of 100 ms for every sound, with a moment of noise behind each."""
    places = [SOUNDS.index(unit) for word in words for unit in units_of(word)]
    return np.concatenate([noise(0.3), *(part for place in places for part in (_tone(place), noise(0.06)))])


def _tone(place: int) -> NDArray[np.float32]:
    mel = np.linspace(0.0, 45.245, CONFIG.num_mel_bins + 2)[2 * place + 2]
    hertz = mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE // 10) / RATE)).astype(np.float32)
