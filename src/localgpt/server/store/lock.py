"""`store.lock`: whoever has the store open shares it, and a restore needs it alone.

The lock belongs to the process and ends with it, however it ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from localgpt.errors import StoreError

__all__ = ["FolderLock"]

LOCK_FILE = "store.lock"


class FolderLock:
    """Held from the start to `release`.

    Args:
        folder: the data folder.
        alone: nobody else may have the store open.

    Raises:
        StoreError: somebody else has it, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, alone: bool) -> None:
        path = folder / LOCK_FILE
        try:
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"cannot write to the data folder {folder} ({error})") from None
        try:
            _lock(self._handle, alone)
        except OSError:
            self.release()
            raise StoreError(
                f"another LocalGPT has the data folder {folder} open; stop it first"
                if alone
                else f"the data folder {folder} is being restored; try again when that is done"
            ) from None

    def release(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _lock(handle: int, alone: bool) -> None:
    fcntl: Any = None
    with contextlib.suppress(ImportError):
        import fcntl
    if fcntl is not None:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        return
    import msvcrt

    # Windows knows no shared locks here: those who share take nothing, and one who wants it alone is told by
    # the files themselves, which cannot be replaced while they are open.
    if alone:
        locking: Any = getattr(msvcrt, "locking")  # noqa: B009 - not there on other systems
        locking(handle, getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
