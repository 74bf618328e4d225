"""Which frames belong to which sound: the best monotonic alignment, found for a whole batch at once.

Method: monotonic alignment search, Kim et al. 2020 (Glow-TTS, arXiv:2005.11129). Their recursion goes frame
by frame; here it goes sound by sound. With sums of scores along the frames, the best frame to enter a sound
is a running maximum, which is one call for all frames.

Shape legend: B batch, S sounds, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["frame_sounds", "gaussian_scores", "monotonic_alignment"]


@torch.no_grad()
def monotonic_alignment(scores: Tensor, num_sounds: Tensor, num_frames: Tensor) -> Tensor:
    """Frames of each sound on the path of the greatest total score; every sound has one or more.

    Args:
        scores: (B, S, T), of a frame that belongs to a sound.
        num_sounds: (B,) of each row; the rest is padding.
        num_frames: (B,) of each row, at least as many as its sounds.

    Returns:
        (B, S) whole numbers that add up to `num_frames`; 0 for padding.
    """
    sums = scores.double().cumsum(dim=2)
    before = F.pad(sums[:, :, :-1], (1, 0))  # (B, S, T), of the frames before each one
    value = sums[:, 0]  # (B, T), of the best path that is in this sound at a frame
    entered = [torch.zeros_like(value, dtype=torch.long)]
    for sound in range(1, scores.shape[1]):
        entering = F.pad(value[:, :-1], (1, 0), value=-torch.inf) - before[:, sound]
        best, begin = entering.cummax(dim=1)
        value = sums[:, sound] + best
        entered.append(begin)
    durations = torch.zeros(scores.shape[:2], dtype=torch.long, device=scores.device)
    last = num_frames.to(scores.device) - 1
    for sound in range(scores.shape[1] - 1, -1, -1):
        is_there = sound < num_sounds.to(scores.device)
        begin = entered[sound].gather(1, last[:, None])[:, 0]
        durations[:, sound] = (last - begin + 1) * is_there
        last = torch.where(is_there, begin - 1, last).clamp(min=0)
    return durations


def gaussian_scores(latents: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log-density of each frame under each sound's diagonal Gaussian, up to a constant of the frame.

    Args:
        latents: (B, C, T).
        means: (B, S, C).
        log_scales: (B, S, C).

    Returns:
        (B, S, T).
    """
    precisions = torch.exp(-2 * log_scales)
    own = (-log_scales - 0.5 * means**2 * precisions).sum(dim=2, keepdim=True)  # (B, S, 1)
    return own - 0.5 * (precisions @ latents**2) + (means * precisions) @ latents


def frame_sounds(durations: Tensor, num_frames: int) -> Tensor:
    """The number of each frame's sound, (B, T); frames behind the last sound belong to the last number."""
    ends = durations.cumsum(dim=1)
    frames = torch.arange(num_frames, device=durations.device).expand(len(durations), -1).contiguous()
    return torch.searchsorted(ends, frames, right=True).clamp(max=durations.shape[1] - 1)
