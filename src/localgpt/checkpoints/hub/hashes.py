"""Hashes of files, as git and its extension for large files tell them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["git_sha1_of", "sha256_of"]

_CHUNK_BYTES = 2**20


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda num_bytes: None) -> str:
    """SHA-256 of a file's bytes, in hex; `on_bytes` is told of each piece that was read, and may raise."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()


def git_sha1_of(path: Path) -> str:
    """SHA-1 of the git blob that holds a file's bytes, in hex."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
