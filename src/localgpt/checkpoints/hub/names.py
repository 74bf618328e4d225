"""Names of files in a repository, none of which may lead out of the model's own folder.

A hub is not trusted: what it calls a file is a text from outside.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from localgpt.errors import UnsafeCheckpointError

__all__ = ["check_names", "place_in"]

_FORBIDDEN = frozenset('\\:*?"<>|')  # separators and marks of one system or another
_MAX_PART_BYTES = 255
_MAX_BYTES = 1024
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10)))
)


def check_names(names: Iterable[str], *, repo: str) -> None:
    """Refuse a list of names unless each is a plain path downwards, and no two are one file somewhere.

    Raises:
        UnsafeCheckpointError: a name is absolute, has `..`, a backslash, a NUL or the like, or meets another.
    """
    seen: dict[str, str] = {}
    for name in names:
        if reason := _trouble(name):
            raise UnsafeCheckpointError(
                f"{repo} names a file {name!r}, which {reason}; nothing of it was fetched"
            )
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise UnsafeCheckpointError(
                f"{repo} names {seen[key]!r} and {name!r}, which are one file on some systems; "
                "nothing of it was fetched"
            )
        seen[key] = name


def place_in(folder: Path, name: str) -> Path:
    """Where a file of this name is kept below `folder`.

    Args:
        folder: ours.
        name: one that `check_names` let through.

    Raises:
        UnsafeCheckpointError: a link stands in the way.
    """
    place = folder
    for part in PurePosixPath(name).parts:
        place = place / part
        if place.is_symlink():
            raise UnsafeCheckpointError(f"{place} is a link, and would lead elsewhere; remove it first")
    return place


def _trouble(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "leads out of its folder"
    if "" in parts or "." in parts:
        return "is not a plain path"
    if any(unicodedata.category(mark) in ("Cc", "Cs") for mark in name) or _FORBIDDEN & set(name):
        return "has marks that a file's name may not have everywhere"
    if any(part != part.strip() or part.endswith(".") for part in parts):
        return "has a part that begins or ends with a space, or ends with a dot"
    if any(part.partition(".")[0].lower() in _DEVICES for part in parts):
        return "is a device on some systems"
    if len(name.encode()) > _MAX_BYTES or max(len(part.encode()) for part in parts) > _MAX_PART_BYTES:
        return "is too long"
    return None
