"""Answers on disk, for commands that end with each answer: a file an answer, sealed with its question.

Covered: a file's name and its key (AES-256-GCM) are both derived from the whole question, which is kept
nowhere. So a copied folder tells how many answers there were, when and how long, and whoever can guess a
question word for word, the picture and the options included, can read its answer. A file that is cut or
changed is not an answer. Not covered: that guess; for an answer nobody may ever read, leave `--use-cache`
out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["ShelfFolder"]

logger = logging.getLogger(__name__)
_MOST_FILES: Final = 1000
_NONCE_BYTES: Final = 12
_SUFFIX: Final = ".answer"


class ShelfFolder:
    """An `AnswerShelf` in a folder; the files used longest ago are removed first.

    Trouble with the disk is logged and makes answers slower, never other.

    Args:
        folder: made with the first answer, for this user alone.
        most_files: that are kept.
    """

    def __init__(self, folder: Path, *, most_files: int = _MOST_FILES) -> None:
        self._folder = folder
        self._most_files = most_files

    def get(self, key: bytes) -> bytes | None:
        """The answer to a question, if it is there and whole."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        path = self._path(key)
        try:
            data = path.read_bytes()
            answer = AESGCM(_derived(b"seal", key)).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, InvalidTag, ValueError) as error:  # ValueError: too short for a nonce
            logger.warning("a kept answer in %s cannot be read (%s)", self._folder, type(error).__name__)
            return None
        return answer

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(_derived(b"seal", key)).encrypt(nonce, answer, None)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(self._path(key), sealed)
            self._remove_oldest()
        except OSError as error:
            logger.warning("an answer cannot be kept in %s (%s)", self._folder, error)

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{_derived(b'name', key).hex()[:32]}{_SUFFIX}"

    def _write(self, path: Path, data: bytes) -> None:
        """Replace a file as a whole; other processes see the old one or the new one."""
        handle, name = tempfile.mkstemp(dir=self._folder)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _remove_oldest(self) -> None:
        paths = list(self._folder.glob(f"*{_SUFFIX}"))
        if len(paths) <= self._most_files:
            return
        used: list[tuple[float, Path]] = []
        for path in paths:
            with suppress(FileNotFoundError):  # another process removed it
                used.append((path.stat().st_mtime, path))
        for _, path in sorted(used)[: max(0, len(used) - self._most_files)]:
            path.unlink(missing_ok=True)


def _derived(purpose: bytes, key: bytes) -> bytes:
    return hashlib.sha256(b"localgpt answer " + purpose + b"\0" + key).digest()
