"""Spectra of waveforms on any device, for losses and encoders that learn from sound.

Shape legend: B batch, N samples, F frequencies, M mel bands, T = N / hop frames.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.nn.log_mel import mel_filters

__all__ = ["log_mel", "magnitudes"]

_FLOOR = 1e-5


def magnitudes(waveform: Tensor, *, n_fft: int, hop: int) -> Tensor:
    """Magnitudes (B, F, T) of (B, N) samples; a frame's middle is that of its own `hop` samples."""
    pad = (n_fft - hop) // 2
    padded = F.pad(waveform[:, None], (pad, n_fft - hop - pad), mode="reflect")[:, 0]
    window = torch.hann_window(n_fft, device=waveform.device)
    found = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    return torch.sqrt(found.real**2 + found.imag**2 + 1e-9)


def log_mel(waveform: Tensor, *, sample_rate: int, n_fft: int, hop: int, n_mel: int) -> Tensor:
    """Logarithms (B, M, T) of mel bands of (B, N) samples."""
    bands = _bands(sample_rate, n_fft, n_mel, waveform.device)
    return (bands @ magnitudes(waveform, n_fft=n_fft, hop=hop)).clamp(min=_FLOOR).log()


@cache
def _bands(sample_rate: int, n_fft: int, n_mel: int, device: torch.device) -> Tensor:
    return mel_filters(n_mel, n_fft=n_fft, sample_rate=sample_rate).to(device)
