"""What work really took: peaks by model, shape, dtype and device, learned by measuring and kept in a file.

Until a shape was measured, the caller's upper estimate holds. Afterwards the highest of the last measurements
does, with a margin: a single odd one is forgotten after a while, so that what is learned converges from both
sides. A bound (the device could not tell the peak, only that it was not above) lowers an estimate and teaches
nothing else.

Any thread may use a book. The file is replaced in one step, so a reader never sees half of it; a file that
cannot be read is left to be overwritten, and a notice says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Peak", "PeakBook", "PeakKey"]

VERSION: Final = 1
MARGIN: Final = 1.05  # above the highest measurement: allocators round, and kernels choose workspaces
_REMEMBERED: Final = 8  # measurements of one key
_MOST_KEYS: Final = 1000
_WORTH_SAVING: Final = 0.02  # a smaller change of a peak waits for the next larger one, or the end


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakKey:
    """What a peak is of. `device` names the hardware, not its number."""

    model: str
    shape: str
    dtype: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What is known about a key: bytes to reserve, and how often it was measured."""

    key: PeakKey
    nbytes: int
    num_measured: int


@dataclass(slots=True)
class _Entry:
    measured: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    bound: int | None = None
    num_measured: int = 0
    saved: int = -1  # what was known when it was last written

    @property
    def nbytes(self) -> int | None:
        if self.measured:
            return int(max(self.measured) * MARGIN)
        return self.bound


class PeakBook:
    """Learned peaks.

    Args:
        path: the file they are kept in; None keeps them for this process alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[PeakKey, _Entry] = {}
        self._notices: list[str] = []
        if path is not None:
            self._read(path)

    @property
    def notices(self) -> tuple[str, ...]:
        """What went wrong with the file."""
        with self._lock:
            return tuple(self._notices)

    def estimate(self, key: PeakKey, upper_bytes: int) -> int:
        """Bytes to reserve: the learned peak, else the caller's upper estimate."""
        with self._lock:
            entry = self._entries.get(key)
            known = None if entry is None else entry.nbytes
            if known is None:
                return upper_bytes
            return known if entry is not None and entry.measured else min(known, upper_bytes)

    def learn(self, key: PeakKey, nbytes: int, *, is_bound: bool = False) -> None:
        """Take a measurement down.

        Args:
            key: of what.
            nbytes: the peak.
            is_bound: the peak was at most that; how high it was is not known.
        """
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry  # the last one is the one used last
            while len(self._entries) > _MOST_KEYS:
                del self._entries[next(iter(self._entries))]
            if is_bound:
                entry.bound = nbytes if entry.bound is None else min(entry.bound, nbytes)
                return
            entry.measured.append(nbytes)
            entry.num_measured += 1

    def peaks(self) -> tuple[Peak, ...]:
        """All that is known, the latest last."""
        with self._lock:
            return tuple(
                Peak(key=key, nbytes=nbytes, num_measured=entry.num_measured)
                for key, entry in self._entries.items()
                if (nbytes := entry.nbytes) is not None
            )

    @property
    def is_worth_saving(self) -> bool:
        """Whether a peak is new or has changed since it was written."""
        with self._lock:
            return self._path is not None and any(
                abs(nbytes - entry.saved) > _WORTH_SAVING * max(entry.saved, 1)
                for entry in self._entries.values()
                if (nbytes := entry.nbytes) is not None
            )

    def save(self) -> None:
        """Write the file anew; a folder that cannot be written leaves a notice."""
        path = self._path
        if path is None:
            return
        with self._lock:
            text = json.dumps({"version": VERSION, "peaks": [_row(*item) for item in self._entries.items()]})
            temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                temporary.write_text(text + "\n", encoding="utf-8")
                temporary.replace(path)
            except OSError as error:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                self._note(
                    f"learned memory peaks could not be kept in {path} ({error}); they are measured anew"
                )
                return
            for entry in self._entries.values():
                entry.saved = -1 if entry.nbytes is None else entry.nbytes

    def _read(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']!r}, expected {VERSION}")
            self._entries = dict(_entry(row) for row in content["peaks"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._entries = {}
            self._note(f"learned memory peaks in {path} cannot be read ({error}); they are measured anew")

    def _note(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)


def _row(key: PeakKey, entry: _Entry) -> dict[str, Any]:
    return {
        "model": key.model,
        "shape": key.shape,
        "dtype": key.dtype,
        "device": key.device,
        "measured": list(entry.measured),
        "bound": entry.bound,
        "num_measured": entry.num_measured,
    }


def _entry(row: Any) -> tuple[PeakKey, _Entry]:
    names = [row[name] for name in ("model", "shape", "dtype", "device")]
    measured, bound, num_measured = row["measured"], row["bound"], row["num_measured"]
    numbers = [*measured, num_measured, *([] if bound is None else [bound])]
    if not all(type(name) is str for name in names) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
        raise ValueError(f"a row that is none: {str(row)[:80]}")
    model, shape, dtype, device = names
    entry = _Entry(bound=bound, num_measured=num_measured)
    entry.measured.extend(measured)
    entry.saved = -1 if entry.nbytes is None else entry.nbytes
    return PeakKey(model=model, shape=shape, dtype=dtype, device=device), entry
