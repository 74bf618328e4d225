"""Recordings as other rooms, microphones and days would have made them, on the training device.

Everything has fixed shapes and draws from one generator. Shape legend: B rows, N samples, M mel bins, F
frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.listener_data import SpeechBatch
from recipes.speech_data.sound_sets import RATE

__all__ = ["SoundAugmentation", "hide_stripes", "take"]

_FULL_SCALE = 32768.0
_ROOM_SAMPLES = 6400  # of the longest echo, 0.4 s


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundAugmentation:
    """How much is changed.

    Args:
        room: share of rows with an echo.
        microphone: share of rows with a colour of their own, decibels up or down.
        telephone: share of rows that lose what is very low or high.
        noise: share of rows with noise below them.
        snr_db: least and most of speech above noise.
        rival: share of rows with another row's speech below them.
        level_db: least and most of the whole.
        silent: share of rows without any speech, whose text is empty.
    """

    room: float = 0.5
    microphone: float = 0.7
    colour_db: float = 9.0
    telephone: float = 0.25
    noise: float = 0.75
    snr_db: tuple[float, float] = (3.0, 35.0)
    rival: float = 0.05
    level_db: tuple[float, float] = (-42.0, -12.0)
    silent: float = 0.04

    def at(self, strength: float) -> SoundAugmentation:
        """The same, weaker: at 0 next to nothing is changed, at 1 all of it.

        Args:
            strength: from 0 to 1.
        """
        clean_snr_db, usual_db = self.snr_db[1], (-20.0, -16.0)
        return replace(
            self,
            room=strength * self.room,
            microphone=strength * self.microphone,
            colour_db=strength * self.colour_db,
            telephone=strength * self.telephone,
            noise=strength * self.noise,
            snr_db=(clean_snr_db + strength * (self.snr_db[0] - clean_snr_db), clean_snr_db),
            rival=strength * self.rival,
            level_db=(
                usual_db[0] + strength * (self.level_db[0] - usual_db[0]),
                usual_db[1] + strength * (self.level_db[1] - usual_db[1]),
            ),
            silent=strength * self.silent,
        )

    def apply(
        self, waveform: Tensor, noises: Tensor, is_silent: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Change (B, N) float rows.

        Args:
            waveform: as recorded.
            noises: (samples,) int16 that are never speech; may be empty.
            is_silent: (B,) of rows that lose their speech; they keep noise.
            generator: of the same device.
        """
        num_rows = len(waveform)
        changed = self._filtered(waveform, generator)
        power = _power(changed)
        with_rival = _rand(num_rows, generator) < self.rival
        ratio = 10.0 ** (-(10.0 + 15.0 * _rand(num_rows, generator)) / 20)
        other = changed.roll(1, dims=0) * (power / _power(changed.roll(1, dims=0))).sqrt()[:, None]
        changed = changed + other * (ratio * with_rival)[:, None]
        changed = changed * ~is_silent[:, None]
        noise = self._noise(waveform.shape, noises, generator)
        least, most = self.snr_db
        snr = least + (most - least) * _rand(num_rows, generator)
        has_noise = (_rand(num_rows, generator) < self.noise) | is_silent
        loudness = (power / _power(noise)).sqrt() * 10.0 ** (-snr / 20) * has_noise
        changed = changed + noise * loudness[:, None]
        return self._levelled(changed, generator)

    def _filtered(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """Through a room and a microphone, both drawn anew for each row."""
        num_rows, length = waveform.shape
        num = length + _ROOM_SAMPLES
        spectrum = torch.fft.rfft(waveform, num)
        response = self._rooms(num_rows, generator)
        spectrum = spectrum * torch.fft.rfft(response, num)
        spectrum = spectrum * self._microphones(num_rows, spectrum.shape[1], generator)
        return torch.fft.irfft(spectrum, num)[:, :length]

    def _rooms(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """Impulse responses (B, T): the sound itself, then noise that dies away in 50 to 400 ms."""
        device = generator.device
        times = torch.arange(_ROOM_SAMPLES, device=device) / RATE
        decay = 0.05 + 0.35 * _rand(num_rows, generator) ** 2
        tail = torch.randn(num_rows, _ROOM_SAMPLES, device=device, generator=generator)
        tail = tail * torch.exp(-6.9 * times / decay[:, None])
        tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
        share = 0.1 + 0.8 * _rand(num_rows, generator)
        response = tail * (share * (_rand(num_rows, generator) < self.room))[:, None]
        response[:, 0] += 1.0
        return response

    def _microphones(self, num_rows: int, num_bins: int, generator: torch.Generator) -> Tensor:
        """Gains (B, K): a smooth curve on a logarithmic scale, and for some rows a telephone's band."""
        device = generator.device
        knots = self.colour_db * (2 * _rand((num_rows, 1, 10), generator) - 1)
        places = torch.linspace(0.0, 1.0, num_bins, device=device)
        curve = F.interpolate(knots, size=256, mode="linear", align_corners=True)[:, 0]
        at = (torch.log1p(places * 60.0) / torch.log(torch.tensor(61.0)) * 255).long()
        gains = 10.0 ** (curve[:, at] / 20)
        has_colour = (_rand((num_rows, 1), generator) < self.microphone).float()
        gains = gains * has_colour + (1 - has_colour)
        hertz = places * RATE / 2
        highest = 3400.0 + 4600.0 * _rand((num_rows, 1), generator)
        is_narrow = _rand((num_rows, 1), generator) < self.telephone
        passes = torch.sigmoid((highest - hertz) / 150.0) * torch.sigmoid((hertz - 120.0) / 40.0)
        return torch.where(is_narrow, gains * passes, gains)

    def _noise(self, shape: torch.Size, noises: Tensor, generator: torch.Generator) -> Tensor:
        """A stretch of recorded noise for each row, or coloured noise."""
        num_rows, length = shape
        device = generator.device
        white = torch.randn(num_rows, length, device=device, generator=generator)
        slope = _rand((num_rows, 1), generator) * 1.6  # from white to brown
        spectrum = torch.fft.rfft(white)
        bins = torch.arange(1, spectrum.shape[1] + 1, device=device)
        coloured = torch.fft.irfft(spectrum * bins ** (-slope / 2), length)
        if len(noises) <= length:
            return coloured
        begins = (_rand(num_rows, generator) * (len(noises) - length)).long()
        recorded = noises[begins[:, None] + torch.arange(length, device=device)].float() / _FULL_SCALE
        is_recorded = _rand((num_rows, 1), generator) < 0.6
        return torch.where(is_recorded, recorded, coloured)

    def _levelled(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        least, most = self.level_db
        level = 10.0 ** ((least + (most - least) * _rand(len(waveform), generator)) / 20)
        return (waveform * (level / _power(waveform).sqrt())[:, None]).clamp(-1.0, 1.0)


def take(samples: Tensor, batch: SpeechBatch, num_samples: int) -> Tensor:
    """Rows (B, N) of a batch at their speeds, by linear interpolation; zeros behind.

    Args:
        samples: of all recordings, int16.
        batch: on the same device.
        num_samples: N.
    """
    places = torch.arange(num_samples, device=samples.device) * batch.speeds[:, None]
    last = (batch.lengths - 1)[:, None]
    before = places.long()
    is_sound = before < last
    before = torch.minimum(before, (last - 1).clamp(min=0))
    index = batch.begins[:, None] + before
    first, second = samples[index].float(), samples[(index + 1).clamp(max=len(samples) - 1)].float()
    mixed = first + (second - first) * (places - before)
    return mixed * is_sound / _FULL_SCALE


def hide_stripes(
    mel: Tensor, generator: torch.Generator, *, fill: float = -1.0, strength: float = 1.0
) -> Tensor:
    """SpecAugment: two stripes of bins and two of frames are hidden in each row.

    Source: Park et al. 2019, arXiv:1904.08779.

    Args:
        mel: (B, M, F).
        generator: of the same device.
        fill: what is seen there.
        strength: from 0 to 1, of the widest.
    """
    num_rows, num_bins, num_frames = mel.shape
    bins = _stripes(num_rows, num_bins, max(1, round(strength * num_bins / 5)), generator)
    frames = _stripes(num_rows, num_frames, max(1, round(strength * min(40, num_frames // 10))), generator)
    return mel.masked_fill(bins[:, :, None] | frames[:, None, :], fill)


def _stripes(num_rows: int, length: int, widest: int, generator: torch.Generator) -> Tensor:
    """(B, length) True in two stripes of up to `widest`."""
    widths = (_rand((num_rows, 2, 1), generator) * (widest + 1)).long()
    begins = (_rand((num_rows, 2, 1), generator) * (length - widths).clamp(min=1)).long()
    places = torch.arange(length, device=generator.device)
    return ((places >= begins) & (places < begins + widths)).any(dim=1)


def _power(waveform: Tensor) -> Tensor:
    return waveform.square().mean(dim=1).clamp(min=1e-10)


def _rand(shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, device=generator.device, generator=generator)
