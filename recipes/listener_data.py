"""Packed recordings on the training device, drawn in batches of few fixed shapes.

All samples of all sets lie in one tensor of 16 bits; a batch is places in it. A bucket holds recordings up
to a length, and all its batches have one shape, so that kernels and graphs are made once for each bucket.

Shape legend: B recordings of a batch, R of all, N samples, U sounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import ConfigError
from recipes.speech_data.sound_sets import RATE, SoundSet

__all__ = ["Bucket", "SpeechBatch", "SpeechPool"]

FRAME = 320  # samples of 20 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Recordings of up to `seconds`, `size` of them in a batch."""

    seconds: float
    size: int

    @property
    def num_samples(self) -> int:
        """Of each row, whole frames."""
        return round(self.seconds * RATE) // FRAME * FRAME

    @property
    def num_frames(self) -> int:
        """Of each row, of 20 ms."""
        return self.num_samples // FRAME


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechBatch:
    """A batch before augmentation; lengths and targets are known without waiting for the device."""

    bucket: int
    begins: Tensor  # (B,) int64, of the samples of all
    lengths: Tensor  # (B,) int64 samples
    speeds: Tensor  # (B,) float32; 1.1 is faster and higher
    num_frames: Tensor  # (B,) int64 on the CPU
    targets: Tensor  # (B, U) int64, zeros behind
    target_lengths: Tensor  # (B,) int64 on the CPU

    def to(self, device: str) -> SpeechBatch:
        """On the device, but for what the CPU needs to know."""
        return SpeechBatch(
            bucket=self.bucket,
            begins=self.begins.to(device, non_blocking=True),
            lengths=self.lengths.to(device, non_blocking=True),
            speeds=self.speeds.to(device, non_blocking=True),
            num_frames=self.num_frames,
            targets=self.targets.to(device, non_blocking=True),
            target_lengths=self.target_lengths,
        )


class SpeechPool:
    """All recordings that are learned from.

    Args:
        folder: packed sets.
        weights: how often each set is drawn; those that are not there are left out.
        buckets: by length; longer recordings are left out.
        device: where samples are kept.
        speeds: slowest and fastest.

    Raises:
        ConfigError: none of the sets is there.
    """

    def __init__(
        self,
        folder: Path,
        weights: Mapping[str, float],
        buckets: Sequence[Bucket],
        device: str,
        *,
        speeds: tuple[float, float] = (0.82, 1.2),
    ) -> None:
        self.buckets, self.device, self._speeds = list(buckets), device, speeds
        names = [name for name in weights if (folder / f"{name}.index.npz").exists()]
        if not names:
            raise ConfigError(f"no packed speech in {folder}: run python -m recipes.speech_data first")
        sets = {name: SoundSet.load(folder, name) for name in names}
        self.names, self.hours = names, sum(one.hours for one in sets.values())
        self.samples = torch.cat([torch.from_numpy(np.array(one.samples)) for one in sets.values()]).to(
            device
        )
        firsts = np.cumsum([0, *(len(one.samples) for one in sets.values())])
        parts = list(zip(sets.values(), firsts, strict=False))
        self._begins = np.concatenate([one.begins[:-1] + first for one, first in parts])
        self._lengths = np.concatenate([np.diff(one.begins) for one in sets.values()])
        self._units = [
            one.units[begin:end].astype(np.int64)
            for one in sets.values()
            for begin, end in zip(one.unit_begins, one.unit_begins[1:], strict=False)
        ]
        self._owners = np.concatenate([np.full(len(one), place) for place, one in enumerate(sets.values())])
        self._weigh(weights)

    def reweighted(self, weights: Mapping[str, float]) -> SpeechPool:
        """The same recordings, drawn more or less often; sets without a weight never.

        Raises:
            ConfigError: none of the sets is there.
        """
        other = copy(self)
        other._weigh(weights)
        return other

    def _weigh(self, weights: Mapping[str, float]) -> None:
        counts = np.bincount(self._owners, minlength=len(self.names))
        shares = np.array([weights.get(name, 0.0) for name in self.names]) / np.maximum(counts, 1)
        if not shares.any():
            raise ConfigError(f"none of {', '.join(weights)} is among {', '.join(self.names)}")
        self._chances = shares[self._owners]
        self._sort_into_buckets()

    def _sort_into_buckets(self) -> None:
        edges = np.array([bucket.num_samples for bucket in self.buckets])
        counts = np.array([len(units) for units in self._units])
        # Room for the sounds, for as many blanks, and for speech that is slowed down a little.
        needed = np.maximum(self._lengths, (2 * counts + 1) * FRAME)
        place = np.searchsorted(edges, needed)
        is_drawn = self._chances > 0
        self._members = [np.flatnonzero((place == number) & is_drawn) for number in range(len(edges))]
        self._within = []
        for members in self._members:
            chances = self._chances[members]
            self._within.append(chances / chances.sum() if len(members) else chances)
        totals = np.array([self._chances[members].sum() for members in self._members])
        per_draw = totals / np.array([bucket.size for bucket in self.buckets])
        self._bucket_chances = per_draw / per_draw.sum()

    def draw(
        self,
        rng: np.random.Generator,
        *,
        only: int | None = None,
        is_easy: bool = False,
        strength: float = 1.0,
    ) -> SpeechBatch:
        """A batch of one bucket.

        Args:
            rng: of the draw.
            only: of this bucket.
            is_easy: at the recordings' own speed.
            strength: from 0 to 1, of changes of speed.
        """
        number = int(rng.choice(len(self.buckets), p=self._bucket_chances)) if only is None else only
        bucket = self.buckets[number]
        members = self._members[number]
        if not len(members):
            raise ConfigError(f"no recording of up to {bucket.seconds} s; change the buckets")
        chosen = rng.choice(members, bucket.size, p=self._within[number])
        lengths = self._lengths[chosen]
        counts = np.array([len(self._units[one]) for one in chosen])
        drawn = rng.uniform(*self._speeds, bucket.size)
        speeds = np.ones(bucket.size) if is_easy else 1.0 + strength * (drawn - 1.0)
        slowest = lengths / bucket.num_samples  # at which it still fits
        fastest = lengths / ((2 * counts + 1) * FRAME)  # at which there is room for its sounds
        speeds = np.maximum(np.minimum(speeds, np.maximum(fastest, 1.0)), np.minimum(slowest, 1.0))
        num_frames = np.minimum(np.ceil(lengths / speeds / FRAME), bucket.num_frames).astype(np.int64)
        return SpeechBatch(
            bucket=number,
            begins=torch.from_numpy(self._begins[chosen]),
            lengths=torch.from_numpy(lengths),
            speeds=torch.from_numpy(speeds.astype(np.float32)),
            num_frames=torch.from_numpy(np.maximum(num_frames, 1)),
            targets=_padded([self._units[one] for one in chosen], bucket.num_frames // 2),
            target_lengths=torch.from_numpy(counts.astype(np.int64)),
        )

    def easy_bucket(self, seconds: float) -> int:
        """The longest bucket of up to `seconds` that has recordings, else the shortest that has."""
        full = [number for number, members in enumerate(self._members) if len(members)]
        short = [number for number in full if self.buckets[number].seconds <= seconds]
        return max(short) if short else min(full)

    def describe(self) -> dict[str, float]:
        """Hours of each set that is learned from."""
        return {
            name: round(float(self._lengths[self._owners == place].sum()) / RATE / 3600, 2)
            for place, name in enumerate(self.names)
        }


def _padded(units: Sequence[NDArray[np.int64]], width: int) -> Tensor:
    """(B, U) with zeros behind; U is the same for all batches of a bucket."""
    padded = np.zeros((len(units), width), dtype=np.int64)
    for row, one in enumerate(units):
        padded[row, : len(one)] = one
    return torch.from_numpy(padded)
