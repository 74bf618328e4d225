"""Log-mel spectra: those of transformers, and the same piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from localgpt.nn.log_mel import LogMel, LogMelStream, fixed_scale, mel_filters, whisper_scale

RATE = 16_000


def sound(num_samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.rand(num_samples // 400 + 1, generator=generator).repeat_interleave(400)[:num_samples]
    return 0.3 * loudness * torch.randn(num_samples, generator=generator)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_filters_are_those_of_transformers(num_mel_bins: int) -> None:
    expected = mel_filter_bank(
        num_frequency_bins=201,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=RATE / 2,
        sampling_rate=RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    ours = mel_filters(num_mel_bins, n_fft=400, sample_rate=RATE)
    assert np.allclose(ours.numpy(), expected.T, atol=1e-7)
    assert float(ours.max()) > 0.01


@pytest.mark.parametrize("num_samples", [RATE, 3 * RATE + 77, 30 * RATE])
def test_frames_are_those_of_transformers(num_samples: int) -> None:
    extractor = WhisperFeatureExtractor(feature_size=80)
    waveform = sound(num_samples)
    expected = extractor(waveform.numpy(), sampling_rate=RATE, return_tensors="pt").input_features
    ours = whisper_scale(LogMel(80)(waveform[None], num_frames=3000))
    assert ours.shape == expected.shape == (1, 80, 3000)
    assert torch.allclose(ours, expected, atol=1e-4)


def test_silence_is_the_floor() -> None:
    mel = LogMel(80)(torch.zeros(1, RATE))
    assert mel.shape == (1, 80, 100) and torch.equal(mel, torch.full_like(mel, -10.0))
    assert torch.equal(fixed_scale(mel), torch.full_like(mel, -1.0))


@pytest.mark.parametrize("num_samples", [0, 100, 399, 400, 401, 1000, 16_123])
@pytest.mark.parametrize("piece", [37, 160, 401, 5000])
def test_a_stream_gives_the_frames_of_the_whole(num_samples: int, piece: int) -> None:
    waveform, mel = sound(num_samples, seed=1), LogMel(80)
    stream = LogMelStream(mel)
    frames = [stream.feed(part) for part in waveform.split(piece)] if num_samples else []
    whole = torch.cat([*frames, stream.finish()], dim=1)
    assert whole.shape == (80, num_samples // 160)
    assert torch.allclose(whole, mel(waveform[None])[0], atol=1e-4)
