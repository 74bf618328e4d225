"""Packed recordings: all samples of a set one after the other at 16 kHz and 16 bits, with their sounds.

Shape legend: R recordings, N samples of all, U sounds of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE", "Recording", "SoundSet", "to_int16"]

RATE = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording: (N,) int16 at 16 kHz, what is said in it, and its sounds in order."""

    samples: NDArray[np.int16]
    text: str
    units: tuple[int, ...]
    key: str = ""  # the file, or how it was made


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSet:
    """A set in memory."""

    samples: NDArray[np.int16]  # (N,)
    begins: NDArray[np.int64]  # (R + 1,)
    units: NDArray[np.uint8]  # (U,)
    unit_begins: NDArray[np.int64]  # (R + 1,)
    texts: list[str]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def hours(self) -> float:
        """Of all recordings."""
        return len(self.samples) / RATE / 3600

    def recording(self, number: int) -> Recording:
        """One recording."""
        begin, end = self.begins[number : number + 2]
        first, last = self.unit_begins[number : number + 2]
        return Recording(
            samples=self.samples[begin:end],
            text=self.texts[number],
            units=tuple(self.units[first:last].tolist()),
            key=self.keys[number],
        )

    @classmethod
    def of(cls, recordings: Iterable[Recording]) -> SoundSet:
        """Pack recordings."""
        found = list(recordings)
        lengths = [0, *(len(one.samples) for one in found)]
        counts = [0, *(len(one.units) for one in found)]
        return cls(
            samples=np.concatenate([one.samples for one in found] or [np.zeros(0, dtype=np.int16)]),
            begins=np.cumsum(lengths, dtype=np.int64),
            units=np.array([unit for one in found for unit in one.units], dtype=np.uint8),
            unit_begins=np.cumsum(counts, dtype=np.int64),
            texts=[one.text for one in found],
            keys=[one.key for one in found],
        )

    def save(self, folder: Path, name: str) -> None:
        """Write `NAME.samples.npy`, `NAME.index.npz` and `NAME.texts.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.samples.npy", self.samples)
        np.savez(
            folder / f"{name}.index.npz",
            begins=self.begins,
            units=self.units,
            unit_begins=self.unit_begins,
        )
        told = json.dumps({"texts": self.texts, "keys": self.keys}, ensure_ascii=False)
        (folder / f"{name}.texts.json").write_text(told, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, name: str) -> SoundSet:
        """Read what `save` wrote; samples stay in the file until they are used."""
        with np.load(folder / f"{name}.index.npz") as index:
            arrays = {key: index[key] for key in ("begins", "units", "unit_begins")}
        told = json.loads((folder / f"{name}.texts.json").read_text(encoding="utf-8"))
        samples = np.load(folder / f"{name}.samples.npy", mmap_mode="r")
        return cls(samples=samples, texts=told["texts"], keys=told["keys"], **arrays)


def to_int16(waveform: NDArray[np.floating]) -> NDArray[np.int16]:
    """Float samples in [-1, 1] as 16 bits; louder ones are cut off."""
    return np.clip(np.round(waveform * 32767.0), -32768, 32767).astype(np.int16)
