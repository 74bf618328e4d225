"""Critics of made waveforms, and the losses of a generator that is judged by them.

Critics: waveforms folded by periods (HiFi-GAN, Kong et al. 2020, arXiv:2010.05646) and spectra of several
resolutions (UnivNet, Jang et al. 2021, arXiv:2106.07889), judged by least squares.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from localgpt.training.spectra import log_mel, magnitudes

__all__ = ["Critics", "CriticsOptions", "Judged", "critic_loss", "generator_losses", "mel_loss"]

_SLOPE = 0.1
_MEL_RESOLUTIONS = ((512, 128, 64), (1024, 256, 96), (2048, 512, 128))  # window, hop, bands


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticsOptions:
    """Sizes."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    resolutions: tuple[tuple[int, int], ...] = ((512, 128), (1024, 256), (2048, 512))  # window and hop
    width: int = 32  # channels after the first layer
    most: int = 256  # channels at most


@dataclass(frozen=True, slots=True)
class Judged:
    """What one critic says, and its layers on the way there."""

    verdict: Tensor
    layers: tuple[Tensor, ...]


class Critics(nn.Module):
    """All critics together."""

    def __init__(self, options: CriticsOptions | None = None) -> None:
        super().__init__()
        options = options or CriticsOptions()
        self.periods = nn.ModuleList(_PeriodCritic(period, options) for period in options.periods)
        self.spectra = nn.ModuleList(_SpectrumCritic(*shape, options) for shape in options.resolutions)

    def forward(self, waveform: Tensor) -> list[Judged]:
        """Judge (B, N) samples."""
        return [critic(waveform) for critic in (*self.periods, *self.spectra)]


def critic_loss(real: Sequence[Judged], made: Sequence[Judged]) -> Tensor:
    """What the critics learn from: 1 for recordings, 0 for what was made."""
    parts = [
        ((1 - ours.verdict.float()) ** 2).mean() + (theirs.verdict.float() ** 2).mean()
        for ours, theirs in zip(real, made, strict=True)
    ]
    return torch.stack(parts).sum()


def generator_losses(real: Sequence[Judged], made: Sequence[Judged]) -> tuple[Tensor, Tensor]:
    """What a generator learns from critics: to be taken for real, and to look the same in their layers."""
    fooled = torch.stack([((1 - one.verdict.float()) ** 2).mean() for one in made]).sum()
    likeness = torch.stack(
        [
            F.l1_loss(theirs.float(), ours.float().detach())
            for one, other in zip(real, made, strict=True)
            for ours, theirs in zip(one.layers, other.layers, strict=True)
        ]
    ).sum()
    return fooled, 2.0 * likeness


def mel_loss(made: Tensor, real: Tensor, *, sample_rate: int) -> Tensor:
    """Mean distance of log-mel spectra of (B, N) samples, over three resolutions."""
    parts = []
    for n_fft, hop, n_mel in _MEL_RESOLUTIONS:
        pair = [
            log_mel(one.float(), sample_rate=sample_rate, n_fft=n_fft, hop=hop, n_mel=n_mel)
            for one in (made, real)
        ]
        parts.append(F.l1_loss(pair[0], pair[1]))
    return torch.stack(parts).mean()


class _PeriodCritic(nn.Module):
    """Looks at every `period`-th sample beside its neighbours."""

    def __init__(self, period: int, options: CriticsOptions) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(min(options.most, options.width * 4**level) for level in range(4))]
        layers = [
            weight_norm(nn.Conv2d(narrow, wide, (5, 1), (3, 1), padding=(2, 0)))
            for narrow, wide in pairwise(widths)
        ]
        layers.append(weight_norm(nn.Conv2d(widths[-1], widths[-1], (5, 1), padding=(2, 0))))
        self.layers = nn.ModuleList(layers)
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Judged:
        missing = -waveform.shape[1] % self.period
        x = F.pad(waveform[:, None], (0, missing), mode="reflect")
        return _judge(x.reshape(len(x), 1, -1, self.period), self.layers, self.last)


class _SpectrumCritic(nn.Module):
    """Looks at magnitudes of one resolution."""

    def __init__(self, n_fft: int, hop: int, options: CriticsOptions) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        width = options.width
        layers = [weight_norm(nn.Conv2d(1, width, (9, 3), padding=(4, 1)))]
        layers += [weight_norm(nn.Conv2d(width, width, (9, 3), (2, 1), padding=(4, 1))) for _ in range(3)]
        layers.append(weight_norm(nn.Conv2d(width, width, (3, 3), padding=(1, 1))))
        self.layers = nn.ModuleList(layers)
        self.last = weight_norm(nn.Conv2d(width, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Tensor) -> Judged:
        spectrum = magnitudes(waveform.float(), n_fft=self.n_fft, hop=self.hop)[:, None]
        return _judge(spectrum, self.layers, self.last)


def _judge(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judged:
    seen = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        seen.append(x)
    return Judged(last(x), tuple(seen))
