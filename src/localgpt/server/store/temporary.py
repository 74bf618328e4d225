"""Folders of a backup or restore under way. What a killed one left is removed by whoever comes next."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["remove_left_behind", "temporary_folder"]

_PREFIX, _SUFFIX = "store-", ".tmp"
_OLD_S = 24 * 3600.0  # where a lock cannot tell, nothing of a backup that runs is so old


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A folder in the data folder, for this user alone, that is gone at the end."""
    path, handle = _claimed(folder)
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def remove_left_behind(folder: Path) -> None:
    """Remove what nobody is using any more; of earlier versions such things are files."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}*"):
        with contextlib.suppress(OSError):  # somebody else was quicker, or still has it
            if path.is_dir():
                handle = _lock(path)
                if handle is None and not _is_old(path):
                    continue
                shutil.rmtree(path, ignore_errors=True)
                if handle is not None:
                    os.close(handle)
            elif _is_old(path):
                path.unlink()


def _claimed(folder: Path) -> tuple[Path, int | None]:
    """A new folder and what holds it, which ends with the process."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
        with contextlib.suppress(OSError):
            handle = _lock(path)
            if path.exists():  # else it was taken for left behind before it was held
                return path, handle


def _lock(path: Path) -> int | None:
    """A handle that keeps others from the folder; None where folders cannot be locked.

    Raises:
        OSError: somebody has it, or it is gone.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _OLD_S
