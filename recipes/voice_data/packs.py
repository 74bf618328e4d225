"""Packed recordings that a machine without any decoder of sound can read: differences of samples under LZMA.

A pack is `voice-NN.xz` files and `clips.jsonl.xz`, one row a clip: `speaker`, `rate` in Hz, `samples`,
`shard`, `start` in samples of that shard, and what is said. Samples keep 12 bits, 74 dB: far below the
noise of these recordings, and half the bytes.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Packer", "read_clips", "read_rows", "write_rows"]

_DROPPED_BITS = 4
_RATIO = 0.62  # of compressed to plain bytes, an upper estimate


class Packer:
    """Writes a pack.

    Args:
        folder: where it goes.
        shard_bytes: of each file, about.
    """

    def __init__(self, folder: Path, *, shard_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("voice-*.xz"):
            old.unlink()
        self._folder, self._max_samples = folder, int(shard_bytes / 2 / _RATIO)
        self._held: list[NDArray[np.int16]] = []
        self._num_held = 0
        self._num_shards = 0
        self._rows: list[dict[str, Any]] = []
        self.num_bytes = 0

    def add(self, waveform: NDArray[np.int16], **row: Any) -> None:
        """Take a clip (N,) and its row."""
        if self._num_held and self._num_held + len(waveform) > self._max_samples:
            self._write()
        place = {"shard": self._num_shards, "start": self._num_held, "samples": len(waveform)}
        self._rows.append({**row, **place})
        self._held.append(waveform)
        self._num_held += len(waveform)

    def finish(self) -> None:
        """Write what is left, and the rows."""
        if self._held:
            self._write()
        write_rows(self._folder / "clips.jsonl.xz", self._rows)

    def _write(self) -> None:
        samples = np.concatenate(self._held).astype(np.int32) + (1 << (_DROPPED_BITS - 1)) >> _DROPPED_BITS
        steps = np.diff(samples, prepend=0).astype("<i2")
        planes = steps.view(np.uint8).reshape(-1, 2).T.tobytes()  # high bytes are nearly all alike
        data = lzma.compress(planes, preset=3)
        (self._folder / f"voice-{self._num_shards:02d}.xz").write_bytes(data)
        self.num_bytes += len(data)
        self._held, self._num_held = [], 0
        self._num_shards += 1


def read_clips(folder: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.int16]]]:
    """All clips of a pack with their rows, in order."""
    shards: dict[int, NDArray[np.int16]] = {}
    for row in read_rows(folder / "clips.jsonl.xz"):
        if row["shard"] not in shards:
            shards = {row["shard"]: _read_shard(folder / f"voice-{row['shard']:02d}.xz")}
        yield row, shards[row["shard"]][row["start"] : row["start"] + row["samples"]]


def _read_shard(path: Path) -> NDArray[np.int16]:
    planes = np.frombuffer(lzma.decompress(path.read_bytes()), np.uint8).reshape(2, -1)
    steps = np.ascontiguousarray(planes.T).view("<i2")[:, 0]
    samples = np.cumsum(steps, dtype=np.int32) << _DROPPED_BITS
    return samples.clip(-(2**15), 2**15 - 1).astype(np.int16)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(lzma.compress(text.encode("utf-8")))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in lzma.decompress(path.read_bytes()).decode("utf-8").splitlines()]
