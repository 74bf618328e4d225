"""Speaking with a VITS network: sounds to latents at once, latents to samples piece by piece.

The network is transformers' `VitsModel`; its decoder is convolutions alone, so a piece of the waveform
depends on few frames around it. Decoded with these, pieces are what the whole would be
(`tests/parity/test_voice.py`), and the first one is there long before the last.

Shape legend: B = 1 batch, S sounds with their blanks, T frames, C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

__all__ = [
    "Pace",
    "VoiceFrames",
    "cuts_exactly",
    "decode_pieces",
    "frame_reach",
    "make_frames",
    "samples_per_frame",
]

_GROWTH: Final = 2  # of a piece over the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFrames:
    """What is to be said, as the decoder reads it."""

    latents: Tensor  # (B, C, T)
    speaker: Tensor | None  # (B, C, 1); None where the network has one voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Lengths of pieces in seconds: the first is short, each later one twice as long up to the last."""

    first_s: float = 0.3
    longest_s: float = 2.4


def make_frames(network: Any, input_ids: Tensor, *, speaker_id: int | None, speed: float) -> VoiceFrames:
    """Latents of a phrase, drawn with torch's own generator: `VitsModel.forward` up to its decoder.

    Args:
        network: a `VitsModel` in eval mode.
        input_ids: (B, S) sounds.
        speaker_id: of the voice, where there are several.
        speed: 2 is twice as fast.
    """
    config = network.config
    mask = torch.ones_like(input_ids)
    speaker = None
    if config.num_speakers > 1 and speaker_id is not None:
        speaker = network.embed_speaker(torch.tensor([speaker_id], device=input_ids.device)).unsqueeze(-1)
    sounds_mask = mask.unsqueeze(-1).to(network.text_encoder.embed_tokens.weight.dtype)
    text = network.text_encoder(input_ids=input_ids, padding_mask=sounds_mask, attention_mask=mask)
    hidden, sounds_mask = text.last_hidden_state.transpose(1, 2), sounds_mask.transpose(1, 2)
    if config.use_stochastic_duration_prediction:
        log_durations = network.duration_predictor(
            hidden, sounds_mask, speaker, reverse=True, noise_scale=network.noise_scale_duration
        )
    else:
        log_durations = network.duration_predictor(hidden, sounds_mask, speaker)
    durations = torch.ceil(torch.exp(log_durations) * sounds_mask / (config.speaking_rate * speed))
    counts = durations[0, 0].long()
    if not int(counts.sum()):
        counts[0] = 1
    means = text.prior_means[0].repeat_interleave(counts, dim=0)[None].transpose(1, 2)  # (B, C, T)
    log_scales = text.prior_log_variances[0].repeat_interleave(counts, dim=0)[None].transpose(1, 2)
    noise = torch.randn_like(means) * torch.exp(log_scales) * network.noise_scale
    frames_mask = torch.ones_like(means[:, :1])
    latents = network.flow(means + noise, frames_mask, speaker, reverse=True)
    return VoiceFrames(latents=latents, speaker=speaker)


def decode_pieces(network: Any, frames: VoiceFrames, pace: Pace | None = None) -> Iterator[Tensor]:
    """Samples (N,) of consecutive pieces; together the waveform that the decoder makes of all frames.

    Args:
        network: a `VitsModel` in eval mode.
        frames: from `make_frames`.
        pace: how long pieces are.
    """
    pace = pace or Pace()
    config, latents = network.config, frames.latents
    hop, num = samples_per_frame(config), latents.shape[-1]
    if not cuts_exactly(config):
        yield network.decoder(latents, frames.speaker)[0, 0]
        return
    reach = frame_reach(config)
    per_second = config.sampling_rate / hop
    length, longest = max(1, round(pace.first_s * per_second)), max(1, round(pace.longest_s * per_second))
    begin = 0
    while begin < num:
        end = min(num, begin + length)
        if num - end < length // 2:  # rather a longer last piece than a tiny one
            end = num
        low, high = max(0, begin - reach), min(num, end + reach)
        samples = network.decoder(latents[..., low:high], frames.speaker)[0, 0]
        yield samples[(begin - low) * hop : (end - low) * hop]
        begin, length = end, min(longest, length * _GROWTH)


def samples_per_frame(config: Any) -> int:
    """Samples that the decoder makes of one frame."""
    hop = 1
    for rate in config.upsample_rates:
        hop *= rate
    return hop


def frame_reach(config: Any) -> int:
    """Frames to each side that a frame's samples depend on, rounded up."""
    widest = max(
        sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)
        for kernel, dilations in zip(
            config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
        )
    )
    reach = 3  # of the last convolution, whose kernel is 7
    for rate, kernel in zip(
        reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True
    ):
        reach = (reach + widest + kernel - 1) // rate + 1
    return reach + 3  # of the first one


def cuts_exactly(config: Any) -> bool:
    """Whether each frame becomes equally many samples, at its own place."""
    pairs = zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
    return all(kernel >= rate and (kernel - rate) % 2 == 0 for rate, kernel in pairs)
