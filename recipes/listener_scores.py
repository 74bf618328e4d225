"""How many sounds a recogniser gets wrong, greedily: the figure that is watched while it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from localgpt.models.recognizer import Recognizer
from localgpt.nn.log_mel import LogMel, fixed_scale
from localgpt.sampling.speech.greedy import greedy_units
from recipes.speech_data.sound_sets import SoundSet

__all__ = ["edit_distance", "unit_errors"]


def edit_distance(first: Sequence[object], second: Sequence[object]) -> int:
    """Least number of insertions, deletions and replacements that make one sequence of another."""
    row = list(range(len(second) + 1))
    for place, one in enumerate(first, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(second, 1):
            kept = before + (one != other)
            before = row[column]
            row[column] = min(kept, row[column] + 1, row[column - 1] + 1)
    return row[-1]


@torch.inference_mode()
def unit_errors(network: Recognizer, sounds: SoundSet, *, num: int, chunk: int | None = None) -> float:
    """Wrong sounds by sounds said, over evenly spaced recordings of a set.

    Args:
        network: in eval mode.
        sounds: with the sounds that were said.
        num: of recordings, at most.
        chunk: as in `Recognizer.forward`.
    """
    mel = LogMel(network.config.num_mel_bins).to(network.device)
    wrong = total = 0
    for number in np.linspace(0, len(sounds) - 1, min(num, len(sounds))).astype(int):
        recording = sounds.recording(int(number))
        waveform = torch.from_numpy(recording.samples.astype(np.float32) / 32768.0).to(network.device)
        frames = fixed_scale(mel(waveform[None]))
        if frames.shape[2] < 2:
            continue
        logits, _ = network(frames.to(network.dtype), chunk=chunk)
        found = greedy_units(logits[0].float().cpu().numpy())
        wrong += edit_distance(found, recording.units)
        total += len(recording.units)
    return wrong / max(1, total)
