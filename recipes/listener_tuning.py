"""How the search weighs what it hears, and what is too improbable to be speech, by held-out recordings.

Scores of the network are made once; each choice of weights is tried on them, on all cores. What is chosen has
the least mean of the errors of all sets. A segment counts as speech from four fifths of the confidence that
all but one in a hundred segments of real speech have.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from localgpt.nn.log_mel import LogMel
from localgpt.sampling.speech.hearing import Knowledge, Writer, score_window
from recipes.listener_scores import edit_distance
from recipes.speech_data.sound_sets import Recording, SoundSet

__all__ = ["tune_search"]

_LM_WEIGHTS = (0.3, 0.4)
_BONUSES = (0.5, 1.0)  # of English words
_CHINESE_BONUSES = (-1.0, -0.5)
_LEAST_CONFIDENCE, _MOST_CONFIDENCE = 0.02, 0.35
Scored = tuple[NDArray[np.float32], Recording]


def tune_search(
    knowledge: Knowledge, sets: Mapping[str, SoundSet], *, num: int
) -> tuple[Knowledge, dict[str, Any]]:
    """The recogniser with chosen weights, and what was tried.

    Args:
        knowledge: network and words.
        sets: held-out recordings by name.
        num: recordings of each set that are looked at, evenly spaced.
    """
    scored = {name: _scored(knowledge, sounds, num) for name, sounds in sets.items() if len(sounds)}
    weights = list(product(_LM_WEIGHTS, _BONUSES, _CHINESE_BONUSES))
    errors = _errors_of(knowledge, scored, weights) if scored else []
    tried = {
        " ".join(map(str, choice)): round(error, 4) for choice, error in zip(weights, errors, strict=False)
    }
    best = _with_weights(knowledge, weights[int(np.argmin(errors))]) if errors else knowledge
    heard = [segment.confidence for one in scored.values() for log_probs, _ in one
             for segment in _written(best, log_probs).segments]  # fmt: skip
    usual = float(np.quantile(heard, 0.01)) if heard else _MOST_CONFIDENCE
    least_confidence = float(np.clip(0.8 * usual, _LEAST_CONFIDENCE, _MOST_CONFIDENCE))
    return replace(best, min_confidence=round(least_confidence, 4)), tried


@torch.inference_mode()
def _scored(knowledge: Knowledge, sounds: SoundSet, num: int) -> list[Scored]:
    mel = LogMel(knowledge.network.config.num_mel_bins)
    chosen = np.linspace(0, len(sounds) - 1, min(num, len(sounds))).astype(int)
    recordings = [sounds.recording(int(number)) for number in chosen]
    return [
        (score_window(knowledge.network, mel, one.samples.astype(np.float32) / 32768.0), one)
        for one in recordings
    ]


def _with_weights(knowledge: Knowledge, weights: tuple[float, ...]) -> Knowledge:
    lm_weight, bonus, chinese = weights
    options = replace(knowledge.options, lm_weight=lm_weight, word_bonus=bonus, chinese_bonus=chinese)
    return replace(knowledge, options=options, min_confidence=0.0)


def _errors_of(
    knowledge: Knowledge, scored: Mapping[str, Sequence[Scored]], weights: Sequence[tuple[float, ...]]
) -> list[float]:
    """The mean error of all sets for each choice of weights."""
    tasks = list(product(weights, scored))
    workers = min(len(tasks), os.cpu_count() or 1)
    if workers == 1:
        each = [_error(_with_weights(knowledge, choice), scored[name]) for choice, name in tasks]
    else:
        context = multiprocessing.get_context("fork")  # what is searched in is large, and shared so
        with ProcessPoolExecutor(workers, context, _take, (knowledge, scored)) as pool:
            each = list(pool.map(_taken_error, tasks))
    return [float(mean) for mean in np.reshape(each, (len(weights), len(scored))).mean(axis=1)]


_taken: dict[str, Any] = {}  # of a process of the pool


def _take(knowledge: Knowledge, scored: Mapping[str, Sequence[Scored]]) -> None:
    torch.set_num_threads(1)
    _taken.update(knowledge=knowledge, scored=scored)


def _taken_error(task: tuple[tuple[float, ...], str]) -> float:
    choice, name = task
    return _error(_with_weights(_taken["knowledge"], choice), _taken["scored"][name])


def _error(knowledge: Knowledge, scored: Sequence[Scored]) -> float:
    """Wrong words, or characters, by those that were said."""
    wrong = total = 0
    for log_probs, recording in scored:
        wanted = _parts(recording.text)
        wrong += edit_distance(_parts(_written(knowledge, log_probs).text), wanted)
        total += len(wanted)
    return wrong / max(1, total)


def _written(knowledge: Knowledge, log_probs: NDArray[np.float32]) -> Writer:
    writer = Writer(knowledge)
    writer.push(log_probs)
    writer.finish()
    return writer


def _parts(text: str) -> list[str]:
    """Words in lower case without marks; of Chinese each character."""
    spaced = "".join(f" {char} " if ord(char) >= 0x2E80 else char for char in text.lower())
    kept = "".join(char if char.isalnum() or char in "' " else " " for char in spaced)
    return kept.split()
