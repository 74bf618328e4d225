"""What can be told of a waveform without listening: clipping, a cut end, how high its sound goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bandwidth_hz", "is_clipped", "is_cut_off"]

_FULL = 0.999
_RUN = 3  # samples at full scale in a row
_END_S = 0.02
_LOUD_END = 0.25  # of the loudness of the whole
_FLOOR_DB = 60.0
_WINDOW = 2048


def is_clipped(waveform: NDArray[np.float32]) -> bool:
    """Whether some samples in a row are at full scale."""
    at_full = np.abs(waveform) >= _FULL
    runs = np.convolve(at_full, np.ones(_RUN), mode="valid")
    return bool((runs >= _RUN).any())


def is_cut_off(waveform: NDArray[np.float32], sample_rate: int) -> bool:
    """Whether it ends while it is still loud; speech dies away."""
    end = waveform[-round(_END_S * sample_rate) :]
    return bool(_loudness(end) > _LOUD_END * _loudness(waveform))


def bandwidth_hz(waveform: NDArray[np.float32], sample_rate: int) -> int:
    """The frequency above which the mean spectrum stays 60 dB below its peak."""
    num = len(waveform) // _WINDOW
    if not num:
        return 0
    frames = waveform[: num * _WINDOW].reshape(num, _WINDOW) * np.hanning(_WINDOW)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    loud = np.nonzero(power > power.max() * 10 ** (-_FLOOR_DB / 10))[0]
    return round(int(loud[-1]) * sample_rate / _WINDOW) if len(loud) and power.max() > 0 else 0


def _loudness(waveform: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2))) if len(waveform) else 0.0
