"""A file on its way: its bytes at their places, and beside them how far each part has come.

The record is written after the bytes it speaks of, so a process that is killed at any moment leaves a record
that promises no more than is there. A loss of power may break that order; then the hash does not fit, and the
file is fetched anew.
"""

from __future__ import annotations

import os
import struct
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Part", "PartialFile", "bytes_there", "open_for_writing"]

_MAGIC = b"LGP1"
_HEADER = struct.Struct("<4sQQ")  # magic, size of the file, size of a part
_COUNT = struct.Struct("<Q")  # bytes of one part that are there


def open_for_writing(path: Path) -> FileIO:
    """A file that is there, to be written at any place, each write at once."""
    return path.open("r+b", buffering=0)


class PartialFile:
    """The state of one file on the disk; opening goes on from what is there.

    Args:
        path: where its bytes are kept; the record stands beside it.
        size: of the whole file in bytes.
        part_bytes: size of a part; another than last time begins anew.
    """

    def __init__(self, path: Path, *, size: int, part_bytes: int) -> None:
        self.path = path
        self.size = size
        self._part_bytes = part_bytes
        self._record = path.with_suffix(".parts")
        self._starts = range(0, size, part_bytes)
        if not self._is_whole():
            self.restart()

    def restart(self) -> None:
        """Forget what is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._record.unlink(missing_ok=True)
        with self.path.open("wb") as file:
            file.truncate(self.size)
        temporary = self._record.with_suffix(".new")
        temporary.write_bytes(
            _HEADER.pack(_MAGIC, self.size, self._part_bytes) + bytes(_COUNT.size * len(self._starts))
        )
        temporary.replace(self._record)

    @property
    def num_bytes(self) -> int:
        """How many are there."""
        return sum(self._counts())

    @property
    def parts(self) -> list[Part]:
        """Those that lack something."""
        found = []
        for number, (start, count) in enumerate(zip(self._starts, self._counts(), strict=True)):
            stop = min(start + self._part_bytes, self.size)
            if start + count < stop:
                place = _HEADER.size + _COUNT.size * number
                found.append(Part(self.path, self._record, place, start=start, count=count, stop=stop))
        return found

    def finish(self, place: Path) -> None:
        """Move the bytes, which are all there and checked, to their place."""
        sync(self.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(place)
        self._record.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove it."""
        self._record.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        """Whether the record is one of ours for this file, and promises nothing impossible."""
        try:
            record = self._record.read_bytes()
            is_sized = self.path.stat().st_size == self.size
        except FileNotFoundError:
            return False
        wanted = _HEADER.pack(_MAGIC, self.size, self._part_bytes)
        if not is_sized or len(record) != _HEADER.size + _COUNT.size * len(self._starts):
            return False
        lengths = (min(self._part_bytes, self.size - start) for start in self._starts)
        counts = [count for (count,) in _COUNT.iter_unpack(record[_HEADER.size :])]
        return record.startswith(wanted) and all(map(int.__le__, counts, lengths))

    def _counts(self) -> list[int]:
        return [count for (count,) in _COUNT.iter_unpack(self._record.read_bytes()[_HEADER.size :])]


def bytes_there(folder: Path) -> int:
    """What a pull that was broken off has: whole files, and what the records of the others promise.

    Args:
        folder: of the pull, with `files` and `partial` in it.
    """
    total = sum(path.stat().st_size for path in (folder / "files").rglob("*") if path.is_file())
    for record in (folder / "partial").glob("*.parts"):
        counts = record.read_bytes()[_HEADER.size :]
        total += sum(
            count for (count,) in _COUNT.iter_unpack(counts[: len(counts) // _COUNT.size * _COUNT.size])
        )
    return total


class Part:
    """A stretch of a file that one connection fetches. As a context manager it is open for writing."""

    def __init__(self, path: Path, record: Path, place: int, *, start: int, count: int, stop: int) -> None:
        self.start = start
        self.position = start + count
        self.stop = stop
        self._path, self._record, self._place = path, record, place

    def __enter__(self) -> Self:
        self._data = open_for_writing(self._path)
        try:
            self._counts = open_for_writing(self._record)
        except BaseException:
            self._data.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()
        self._counts.close()

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes.

        Raises:
            OSError: the disk is full, or the like; what was kept before stays.
        """
        view = memoryview(chunk)
        while view:
            self._data.seek(self.position)
            written = self._data.write(view)
            self.position += written
            view = view[written:]
            self._counts.seek(self._place)
            self._counts.write(_COUNT.pack(self.position - self.start))

    def rewind(self) -> None:
        """Begin this part anew."""
        self.position = self.start
        self._counts.seek(self._place)
        self._counts.write(_COUNT.pack(0))


def sync(path: Path) -> None:
    """Have the disk keep a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
