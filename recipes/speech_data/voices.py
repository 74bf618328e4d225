"""Spoken lines by flite and espeak-ng, where they are installed: many voices, paces and pitches."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from localgpt.media.audio import resample
from recipes.speech_data.lexicon import units_of_pinyin
from recipes.speech_data.recordings import english_sounds
from recipes.speech_data.sound_sets import RATE, Recording, to_int16

__all__ = ["ENGLISH_VOICES", "Line", "installed_voices", "speak"]

_VARIANTS = ("", "+m1", "+m3", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5", "+Andy", "+Annie", "+klatt4")
ENGLISH_VOICES = {  # program to its voices, the more natural ones more often
    "flite": ("slt", "slt", "slt", "rms", "rms", "rms", "awb", "awb", "awb", "kal16"),
    "espeak-ng": tuple(f"{accent}{variant}" for accent in ("en-us", "en-gb") for variant in _VARIANTS),
}
_CHINESE_VOICES = tuple(f"cmn-latn-pinyin{variant}" for variant in _VARIANTS)  # `cmn` reads pinyin as English
_FLITE_PITCH = {"slt": 170.0, "rms": 100.0, "awb": 130.0, "kal16": 105.0}  # Hz
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is to be said: an English text, or Chinese syllables with the text they stand for."""

    text: str
    pinyin: str = ""
    seed: int = 0


def installed_voices() -> dict[str, tuple[str, ...]]:
    """Programs that are here, with their English voices."""
    return {program: voices for program, voices in ENGLISH_VOICES.items() if shutil.which(program)}


def speak(line: Line, programs: Sequence[str]) -> Recording | None:
    """Say a line in a voice, at a pace and a pitch that its seed decides; None where nothing came out.

    Args:
        line: what is said.
        programs: installed ones; Chinese is for espeak-ng alone.
    """
    draw = random.Random(line.seed)
    program = "espeak-ng" if line.pinyin else draw.choice(sorted(programs))
    with TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        command, key = _command(program, line, draw, target)
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        if done.returncode or not target.is_file():
            return None
        data = target.read_bytes()
    waveform = _trimmed(_decoded(data))
    if len(waveform) < RATE // 5:
        return None
    units = units_of_pinyin(line.pinyin) if line.pinyin else english_sounds(line.text)
    if not units:
        return None
    peak = float(np.abs(waveform).max())
    return Recording(samples=to_int16(waveform * (0.7 / peak)), text=line.text, units=units, key=key)


def _command(program: str, line: Line, draw: random.Random, target: Path) -> tuple[list[str], str]:
    if program == "flite":
        voice = draw.choice(ENGLISH_VOICES[program])
        pitch = _FLITE_PITCH[voice] * draw.uniform(0.8, 1.3)
        pace = draw.uniform(0.85, 1.3)
        values = [f"int_f0_target_mean={pitch:.0f}", f"duration_stretch={pace:.2f}"]
        options = [word for value in values for word in ("--setf", value)]
        command = ["flite", "-voice", voice, *options, "-t", line.text, "-o", str(target)]
    else:
        voice = draw.choice(_CHINESE_VOICES if line.pinyin else ENGLISH_VOICES[program])
        pitch, pace = draw.randint(25, 75), draw.uniform(110, 190)
        options = ["-v", voice, "-p", str(pitch), "-s", f"{pace:.0f}", "-w", str(target)]
        command = ["espeak-ng", *options, line.pinyin or line.text]
    return command, f"{program} {voice} {pitch:.0f} {pace:.2f}"


def _decoded(data: bytes) -> NDArray[np.float32]:
    import soundfile

    waveform, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return resample(np.ascontiguousarray(waveform), rate, RATE)


def _trimmed(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the silence around, but for 100 ms."""
    loud = np.flatnonzero(np.abs(waveform) > 0.01)
    if not len(loud):
        return waveform[:0]
    room = RATE // 10
    return waveform[max(0, loud[0] - room) : loud[-1] + room]
