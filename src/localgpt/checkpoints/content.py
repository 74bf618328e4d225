"""What a file of weights is, judged by its first bytes and not by its name; without torch."""

from __future__ import annotations

import struct
from pathlib import Path

from localgpt.errors import CheckpointError, UnsafeCheckpointError
from localgpt.units import MIB

__all__ = ["check_is_safetensors"]

_MAX_HEADER_BYTES = 100 * MIB
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # binary pickles, and torch's archive of them
_TEXT_PICKLE_STARTS = (b"(", b"c", b"]", b"}")  # protocol 0; all pickles end with "."


def check_is_safetensors(path: Path, *, name: str | None = None) -> None:
    """Judge a file by its first bytes, not by its name.

    Args:
        path: of the file.
        name: what errors call it; None for the path.

    Raises:
        CheckpointError: empty, cut short, or something else.
        UnsafeCheckpointError: a pickle or an archive of pickles.
    """
    shown = name or str(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        file.seek(max(0, size - 1))
        end = file.read(1)
    if len(start) >= 9 and start[8:9] == b"{":
        (header_bytes,) = struct.unpack("<Q", start[:8])
        if header_bytes <= min(_MAX_HEADER_BYTES, size - 8):
            return
        raise CheckpointError(f"{shown} is cut short: {size:,} bytes; copy it again")
    if start.startswith(_PICKLE_STARTS) or (start.startswith(_TEXT_PICKLE_STARTS) and end == b"."):
        raise UnsafeCheckpointError(
            f"{shown} is a pickle, which can run code when it is read; LocalGPT reads safetensors only. "
            "Ask its maker for a safetensors file"
        )
    raise CheckpointError(
        f"{shown} is not a safetensors file; expected a model folder or a file of models export"
    )
