"""Whether somebody speaks: a probability for each 20 ms of sound, from its level and its periodicity.

A frame is held for speech where it is louder than the background and, for certainty, where it has a pitch
between 70 and 400 Hz, as vowels have. Consonants without a pitch keep a turn alive and begin none. The
background is what is soft: it falls at once and rises by one decibel a second.

Covered: silence, hiss, wind, clicks and a steady hum, from the second in which it is known. Not covered:
other people's voices, music and whispering, which is told in `docs/decisions/0012-voice-activity.md` with
what a network would cost.

Shape legend: F frames, W samples of a window at 8 kHz.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FRAME_MS", "Activity"]

FRAME_MS: Final = 20
_RATE: Final = 8000
_FRAME: Final = _RATE * FRAME_MS // 1000
_WINDOW: Final = 2 * _FRAME
_FFT: Final = 1024
_LAGS: Final = (_RATE // 400, _RATE // 70)  # of the pitch
_BAND_HZ: Final = (120.0, 3800.0)
_LEAST_DB, _MOST_DB = -75.0, -30.0  # of the background
_FIRST_DB: Final = -50.0  # it is at most that until more is known
_FALL: Final = 0.3
_RISE_DB: Final = FRAME_MS / 1000  # a frame
_LOUDER_DB, _LOUDER_WIDTH_DB = 9.0, 1.5
_SOFTEST_DB: Final = -52.0
_PERIODIC, _PERIODIC_WIDTH = 0.6, 0.04
_LIFT: Final = 0.95  # of high frequencies, before a pitch is looked for
_UNVOICED: Final = 0.45  # of a frame that is loud and has no pitch: below the usual threshold


class Activity:
    """Listens to one call; feed it with everything in order.

    Args:
        sample_rate: Hz; 24000 or 8000.
    """

    def __init__(self, sample_rate: int) -> None:
        self._step = sample_rate // _RATE
        self._waiting: NDArray[np.float32] | None = None  # the last window's second half and what follows
        self._background_db: float | None = None

    def feed(self, samples: NDArray[np.int16]) -> list[float]:
        """Probabilities of the frames that are whole now.

        Args:
            samples: int16 (N,).
        """
        import numpy as np

        new = samples.astype(np.float32) / 32768.0
        if self._waiting is None:
            self._waiting = np.zeros(_FRAME * self._step, dtype=np.float32)
        known = np.concatenate([self._waiting, new])
        num_frames = len(known) // (_FRAME * self._step) - 1
        self._waiting = known[num_frames * _FRAME * self._step :]
        if num_frames <= 0:
            return []
        whole = known[: (num_frames + 1) * _FRAME * self._step]
        if self._step > 1:
            whole = whole.reshape(-1, self._step).mean(axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(whole, _WINDOW)[::_FRAME]
        levels, periodicities = _measures(windows)
        return [
            self._probability(level, periodicity)
            for level, periodicity in zip(levels.tolist(), periodicities.tolist(), strict=True)
        ]

    def _probability(self, level_db: float, periodicity: float) -> float:
        if self._background_db is None:
            self._background_db = min(level_db, _FIRST_DB)
        over_db = level_db - self._background_db
        self._background_db += _FALL * over_db if over_db < 0 else min(over_db, _RISE_DB)
        self._background_db = min(max(self._background_db, _LEAST_DB), _MOST_DB)
        if level_db < _SOFTEST_DB:
            return 0.0
        is_louder = _sigmoid((over_db - _LOUDER_DB) / _LOUDER_WIDTH_DB)
        is_periodic = _sigmoid((periodicity - _PERIODIC) / _PERIODIC_WIDTH)
        return is_louder * (_UNVOICED + (1.0 - _UNVOICED) * is_periodic)


def _measures(windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level in dB of full scale and periodicity from 0 to 1 of windows (F, W)."""
    import numpy as np

    tables = _tables()
    spectra = np.abs(np.fft.rfft(windows * tables.hann, _FFT)) ** 2 * tables.band  # (F, 513)
    energies = 2 * spectra.sum(axis=1) / (_FFT * float((tables.hann**2).sum()))
    levels = 10 * np.log10(energies + 1e-12)
    first, last = _LAGS
    products = np.fft.irfft(spectra * tables.lift, _FFT)[:, : last + 1]
    products = products / (products[:, :1] + 1e-12) * tables.overlap
    # A pitch is a peak: what is merely deep, as wind is, correlates with itself less and less.
    prominence = products - np.minimum.accumulate(products, axis=1)
    peaks = np.minimum(products, prominence)[:, first:]
    return levels, peaks.max(axis=1).clip(0.0, 1.0)


class _Tables(NamedTuple):
    hann: NDArray[np.float32]  # (W,)
    band: NDArray[np.float32]  # (513,): 1 where speech is
    lift: NDArray[np.float32]  # (513,): voices are periodic throughout, a rumble in its lowest part alone
    overlap: NDArray[np.float32]  # by lag: what a window takes from the product of far samples, given back


@cache
def _tables() -> _Tables:
    import numpy as np

    hann = np.hanning(_WINDOW)
    hertz = np.fft.rfftfreq(_FFT, 1 / _RATE)
    overlap = np.fft.irfft(np.abs(np.fft.rfft(hann, _FFT)) ** 2, _FFT)[: _LAGS[1] + 1]
    return _Tables(
        hann=hann.astype(np.float32),
        band=((hertz >= _BAND_HZ[0]) & (hertz <= _BAND_HZ[1])).astype(np.float32),
        lift=np.abs(1 - _LIFT * np.exp(-2j * np.pi * hertz / _RATE)).astype(np.float32) ** 2,
        overlap=(overlap[0] / overlap).astype(np.float32),
    )


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, value))))
