"""Log-mel spectra as Whisper reads them: of a whole recording, or of one that is still coming in.

Source: Radford et al. 2022, arXiv:2212.04356, section 2.2; filters are those of Slaney's Auditory Toolbox, as
librosa has them. `whisper_scale` does the rest of what Whisper does; our own recogniser scales without regard
to the loudest moment (`fixed_scale`), which nobody knows while a recording is still coming in.

Shape legend: B batch, N samples, M mel bins, F frames of 10 ms.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LogMel", "LogMelStream", "fixed_scale", "mel_filters", "whisper_scale"]

_LEAST_POWER: Final = 1e-10
_FLOOR: Final = -8.0  # of `fixed_scale`: quieter than any microphone
_WHISPER_RANGE: Final = 8.0  # powers of ten below the loudest


def mel_filters(num_mel_bins: int, *, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular filters of equal area, evenly spaced on Slaney's mel scale: (M, n_fft / 2 + 1) float32."""
    highest = float(_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64)))
    edges = _from_mel(torch.linspace(0.0, highest, num_mel_bins + 2, dtype=torch.float64))
    bins = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = torch.minimum(rising, falling).clamp(min=0)
    return (filters * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


class LogMel(nn.Module):
    """Logarithm to base ten of the power in each mel bin.

    Args:
        num_mel_bins: M.
        sample_rate: Hz, of what is heard.
        n_fft: samples of a frame's window.
        hop_length: samples from one frame to the next.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self, num_mel_bins: int = 80, *, sample_rate: int = 16_000, n_fft: int = 400, hop_length: int = 160
    ) -> None:
        super().__init__()
        self.num_mel_bins, self.sample_rate = num_mel_bins, sample_rate
        self.n_fft, self.hop_length = n_fft, hop_length
        filters = mel_filters(num_mel_bins, n_fft=n_fft, sample_rate=sample_rate)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, waveform: Tensor, *, num_frames: int | None = None) -> Tensor:
        """Frames centred on every `hop_length`-th sample, the first sample included.

        Args:
            waveform: (B, N) float32 in [-1, 1].
            num_frames: F; None for as many as the waveform fills. Silence follows where it is longer.

        Returns:
            (B, M, F) float32, from -10 on; both ends of the waveform are mirrored.
        """
        num_frames = waveform.shape[1] // self.hop_length if num_frames is None else num_frames
        length = max(num_frames * self.hop_length, self.n_fft)
        waveform = F.pad(waveform, (0, max(0, length - waveform.shape[1])))
        half = self.n_fft // 2
        padded = F.pad(waveform[:, None], (half, half), mode="reflect")[:, 0]
        return self.of_padded(padded)[..., :num_frames]

    def of_padded(self, padded: Tensor) -> Tensor:
        """Frames that begin at every `hop_length`-th sample of (B, N), as long as they are whole."""
        spectrum = torch.stft(
            padded, self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return (self.filters @ power).clamp(min=_LEAST_POWER).log10()


class LogMelStream:
    """Frames of a recording that comes in piece by piece; together they are those of the whole recording.

    Args:
        mel: makes the frames, on the CPU.
    """

    def __init__(self, mel: LogMel) -> None:
        self._mel = mel
        self._held = torch.zeros(0)  # from the next frame's first sample on, the mirrored begin included
        self.num_samples = 0
        self.num_frames = 0

    def feed(self, waveform: Tensor) -> Tensor:
        """Take (N,) samples; gives the frames that are now whole, (M, F)."""
        self.num_samples += len(waveform)
        self._held = torch.cat([self._held, waveform])
        half = self._mel.n_fft // 2
        if self.num_samples < self._mel.n_fft:
            return self._frames(0)
        if self.num_samples - len(waveform) < self._mel.n_fft:  # only now there is enough to mirror
            self._held = torch.cat([self._held[1 : half + 1].flip(0), self._held])
        num = (len(self._held) - self._mel.n_fft) // self._mel.hop_length + 1
        return self._frames(num)

    def finish(self) -> Tensor:
        """The frames whose windows reach beyond the end, (M, F)."""
        n_fft, half = self._mel.n_fft, self._mel.n_fft // 2
        num_left = self.num_samples // self._mel.hop_length - self.num_frames
        if self.num_samples < n_fft:  # as a whole recording is filled up
            held = F.pad(self._held, (0, n_fft - len(self._held)))
            self._held = torch.cat([held[1 : half + 1].flip(0), held])
        self._held = torch.cat([self._held, self._held[-half - 1 : -1].flip(0)])
        return self._frames(max(0, num_left))

    def _frames(self, num: int) -> Tensor:
        if not num:
            return torch.zeros(self._mel.num_mel_bins, 0)
        hop = self._mel.hop_length
        frames: Tensor = self._mel.of_padded(self._held[None, : (num - 1) * hop + self._mel.n_fft])[0]
        self._held = self._held[num * hop :]
        self.num_frames += num
        return frames


def whisper_scale(mel: Tensor) -> Tensor:
    """What Whisper's encoders read of (B, M, F): at most eight powers of ten below the loudest, around 0."""
    loudest = mel.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(mel, loudest - _WHISPER_RANGE) + 4.0) / 4.0


def fixed_scale(mel: Tensor) -> Tensor:
    """The same scale without regard to the loudest moment: each frame stands for itself."""
    return (mel.clamp(min=_FLOOR) + 4.0) / 4.0


def _to_mel(hertz: Tensor) -> Tensor:
    """Linear below 1 kHz, logarithmic above it."""
    bent = 15.0 + torch.log(hertz.clamp(min=1000.0) / 1000.0) * (27.0 / math.log(6.4))
    return torch.where(hertz >= 1000.0, bent, hertz * 3.0 / 200.0)


def _from_mel(mels: Tensor) -> Tensor:
    bent = 1000.0 * torch.exp((mels - 15.0) * (math.log(6.4) / 27.0))
    return torch.where(mels >= 15.0, bent, mels * 200.0 / 3.0)
