"""Sound that is speech to a detector, made by arithmetic: vowels in syllables, silence, and noises."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

RATE = 24_000
Samples = NDArray[np.int16]


def vowels(ms: int, *, pitch_hz: float = 140.0, rate: int = RATE, gain: float = 0.2) -> Samples:
    """A voice that says four syllables a second."""
    seconds = np.arange(ms * rate // 1000) / rate
    wobble = pitch_hz * (1 + 0.03 * np.sin(2 * np.pi * 3 * seconds))
    phase = 2 * np.pi * np.cumsum(wobble) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 16))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * seconds)
    return (gain * 32767 * loudness * voice / 2).astype(np.int16)


def silence(ms: int, *, rate: int = RATE, noise: float = 0.0003) -> Samples:
    """A quiet room."""
    random = np.random.default_rng(ms)
    return (random.normal(0, noise * 32767, ms * rate // 1000)).astype(np.int16)


def said(*parts_ms: int, rate: int = RATE) -> Samples:
    """Silence, speech, silence ... of the given lengths."""
    pieces = [
        vowels(ms, rate=rate) if place % 2 else silence(ms, rate=rate) for place, ms in enumerate(parts_ms)
    ]
    return np.concatenate(pieces)


def base64_of(samples: Samples) -> str:
    """As the wire carries it."""
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()
