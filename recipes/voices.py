"""Utterances of all voices where training runs: clips put together, at one rate, in rows of one length.

Reads what `recipes.voice_data` wrote. A word's sounds can only be in its own clip, so sentences that were put
together tell the alignment where each word begins and ends.

Shape legend: U utterances, S sounds with their blanks, N samples, T = N / hop frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.media.text.speech import symbol_ids
from recipes.voice_data.compose import PAUSE
from recipes.voice_data.packs import read_clips, read_rows
from recipes.voice_data.prepare import SPEAKERS

__all__ = ["Clip", "RowShape", "Utterances", "compose", "to_rate"]

_EDGE_S = 0.005  # faded at both ends of a clip
_GAP_S = (0.0, 0.06)  # between words
_PAUSE_S = (0.15, 0.3)  # at a comma
_END_S = (0.06, 0.12)  # at the end
_ENDS, _END_SHARES = (".", ",", ""), (0.6, 0.25, 0.15)  # marks behind sentences that were put together
_LEAST_FRAMES = 1.3  # for each sound; shorter recordings are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class RowShape:
    """Sizes of a row."""

    sample_rate: int = 48_000
    hop: int = 512
    num_frames: int = 640  # 6.8 s
    num_sounds: int = 257  # blanks included

    @property
    def num_samples(self) -> int:
        """N."""
        return self.hop * self.num_frames


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and its sounds."""

    waveform: NDArray[np.float32]
    symbols: str


@dataclass(slots=True)
class Utterances:
    """All utterances on the device; a batch is rows of each."""

    sound: Tensor  # (U, N) int16
    num_frames: Tensor  # (U,)
    sound_ids: Tensor  # (U, S)
    num_sounds: Tensor  # (U,)
    begins: Tensor  # (U, S): the first frame that a sound may be in
    ends: Tensor  # (U, S): the first that it may not be in any more
    speakers: Tensor  # (U,)

    def __len__(self) -> int:
        """How many."""
        return len(self.speakers)

    def rows(self, numbers: Tensor) -> Utterances:
        """Those of some numbers."""
        return Utterances(*(getattr(self, name)[numbers] for name in self.__slots__))

    @classmethod
    def load(
        cls, folder: Path, shape: RowShape, *, device: str, seed: int = 0, most: int | None = None
    ) -> Utterances:
        """Put all utterances together.

        Args:
            folder: `voice` of the prepared data.
            shape: of rows; longer utterances are left out.
            device: where they are kept, and where their rate is changed.
            seed: of gaps, and of the syllables that are put together.
            most: utterances of each voice, for a quick run.
        """
        generator = np.random.default_rng(seed)
        by_speaker: dict[str, dict[str, Clip]] = defaultdict(dict)
        for row, samples in read_clips(folder):
            known = by_speaker[row["speaker"]]
            if most is not None and row["speaker"] != "zh" and len(known) >= most:
                continue
            waveform = to_rate(samples.astype(np.float32) / 2**15, row["rate"], shape.sample_rate, device)
            known[row["text"]] = Clip(waveform, row["symbols"])
        built: list[_Row] = []
        for number, name in enumerate(SPEAKERS):
            plans = _plans(name, by_speaker[name], folder, generator)[:most]
            rows = (compose(plan, by_speaker[name], shape, number, generator) for plan in plans)
            built += [row for row in rows if row is not None]
        return cls._stack(built, shape, device)

    @classmethod
    def _stack(cls, rows: Sequence[_Row], shape: RowShape, device: str) -> Utterances:
        if not rows:
            raise ValueError("no utterance fits into a row; prepare the data again, or make rows longer")
        num, ids = len(rows), torch.zeros
        found = cls(
            sound=ids(num, shape.num_samples, dtype=torch.int16),
            num_frames=torch.tensor([row.num_frames for row in rows]),
            sound_ids=ids(num, shape.num_sounds, dtype=torch.long),
            num_sounds=torch.tensor([len(row.sound_ids) for row in rows]),
            begins=ids(num, shape.num_sounds, dtype=torch.long),
            ends=torch.full((num, shape.num_sounds), shape.num_frames),
            speakers=torch.tensor([row.speaker for row in rows]),
        )
        for number, row in enumerate(rows):
            found.sound[number, : len(row.samples)] = torch.from_numpy(row.samples)
            width = len(row.sound_ids)
            found.sound_ids[number, :width] = torch.tensor(row.sound_ids)
            found.begins[number, :width] = torch.tensor(row.begins)
            found.ends[number, :width] = torch.tensor(row.ends)
        for name in cls.__slots__:
            setattr(found, name, getattr(found, name).to(device))
        return found


@dataclass(slots=True)
class _Row:
    """One utterance; frames of the row that each sound may be in."""

    samples: NDArray[np.int16]
    num_frames: int
    sound_ids: list[int]
    begins: list[int]
    ends: list[int]
    speaker: int


def _plans(
    speaker: str, clips: dict[str, Clip], folder: Path, generator: np.random.Generator
) -> list[list[str]]:
    """Utterances as names of clips and marks: recordings, sentences of words, or syllables in any order."""
    names = list(clips)
    if speaker not in ("zh", "zh_syllables"):
        return [[name] for name in names]
    if speaker == "zh":
        told = [row["words"] for row in read_rows(folder / "sentences.jsonl.xz")]
        plans = [words for words in told if all(word == PAUSE or word in clips for word in words)]
    else:
        plans = [list(generator.choice(names, 4, replace=False)) for _ in names] if len(names) > 3 else []
    ends = generator.choice(_ENDS, len(plans), p=_END_SHARES)
    return [[*plan, str(end)] if end else plan for plan, end in zip(plans, ends, strict=True)]


def compose(
    plan: Sequence[str], clips: dict[str, Clip], shape: RowShape, speaker: int, generator: np.random.Generator
) -> _Row | None:
    """One utterance of clips; None where it does not fit, or a recording is too short for its sounds."""
    pieces: list[NDArray[np.float32]] = []
    spans: list[tuple[int, int, int]] = []  # number of sounds, first and last sample of a clip
    symbols, at = "", 0
    for name in plan:
        if name == PAUSE or name in _ENDS:
            at += _silence(pieces, generator.uniform(*(_PAUSE_S if name == PAUSE else _END_S)), shape)
            symbols += name or ","
            spans.append((1, spans[-1][2], at))
            continue
        clip = clips[name]
        if spans:
            at += _silence(pieces, generator.uniform(*_GAP_S), shape)
        pieces.append(_faded(clip.waveform, shape.sample_rate))
        spans.append((len(clip.symbols), at, at + len(clip.waveform)))
        at += len(clip.waveform)
        symbols += clip.symbols
    num_frames = at // shape.hop
    ids = symbol_ids(symbols)
    if num_frames > shape.num_frames or len(ids) > shape.num_sounds or num_frames < _LEAST_FRAMES * len(ids):
        return None
    begins, ends = _spans(spans, shape.hop, num_frames)
    waveform = np.concatenate(pieces)[: num_frames * shape.hop]
    samples = np.round(waveform.clip(-1.0, 1.0) * (2**15 - 1)).astype(np.int16)
    return _Row(samples, num_frames, ids, begins, ends, speaker)


def _spans(spans: Sequence[tuple[int, int, int]], hop: int, num_frames: int) -> tuple[list[int], list[int]]:
    """First frame and the one behind the last for each sound and blank; blanks between clips are of both."""
    begins, ends = [0], [num_frames]
    last = len(spans) - 1
    for number, (num, first, end) in enumerate(spans):
        low = 0 if number == 0 else first // hop
        high = num_frames if number == last else min(num_frames, -(-end // hop))
        for symbol in range(num):
            begins.append(low)
            ends.append(high)
            is_edge = symbol == num - 1 and number < last  # the blank behind may be in the next clip, too
            begins.append(low)
            ends.append(min(num_frames, -(-spans[number + 1][2] // hop)) if is_edge else high)
    return begins, ends


def _silence(pieces: list[NDArray[np.float32]], seconds: float, shape: RowShape) -> int:
    pieces.append(np.zeros(round(seconds * shape.sample_rate), dtype=np.float32))
    return len(pieces[-1])


def _faded(waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    edge = min(round(_EDGE_S * rate), len(waveform) // 2)
    faded = waveform.copy()
    ramp = np.linspace(0.0, 1.0, edge, dtype=np.float32)
    faded[:edge] *= ramp
    faded[len(faded) - edge :] *= ramp[::-1]
    return faded


def to_rate(waveform: NDArray[np.float32], source: int, target: int, device: str) -> NDArray[np.float32]:
    """(N,) samples at another rate, by their spectrum as a whole; nothing is added above the old one.

    Silence fills up the last hundredth of a second, so that lengths are few and have small factors.
    """
    if source == target:
        return waveform
    waveform = np.pad(waveform, (0, -len(waveform) % (source // 100)))
    num = round(len(waveform) * target / source)
    spectrum = torch.fft.rfft(torch.from_numpy(waveform).to(device))
    wider = torch.zeros(num // 2 + 1, dtype=spectrum.dtype, device=device)
    kept = min(len(spectrum), len(wider))
    wider[:kept] = spectrum[:kept]
    return (torch.fft.irfft(wider, n=num) * (num / len(waveform))).cpu().numpy()


def endless_batches(
    utterances: Utterances, shares: dict[str, float], size: int, generator: torch.Generator
) -> Iterator[Utterances]:
    """Batches with a fixed number of rows of each voice, drawn at random."""
    present = {
        name: rows
        for number, name in enumerate(SPEAKERS)
        if len(rows := (utterances.speakers == number).nonzero()[:, 0])
    }
    total = sum(shares[name] for name in present)
    counts = {name: max(1, round(size * shares[name] / total)) for name in present}
    most = max(counts, key=lambda name: counts[name])
    counts[most] += size - sum(counts.values())
    while True:
        numbers = [
            rows[torch.randint(len(rows), (counts[name],), generator=generator, device=rows.device)]
            for name, rows in present.items()
        ]
        yield utterances.rows(torch.cat(numbers))
