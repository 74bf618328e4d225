"""Room on the disk: looked for before anything is fetched, and told of in our words when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localgpt.errors import ConfigError, DiskFullError
from localgpt.units import MIB, format_bytes

__all__ = ["check_room", "disk_errors"]

_SPARE_BYTES = 64 * MIB  # left for everything else
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_room(num_bytes: int, *, repo: str, folder: Path) -> None:
    """Refuse to begin what cannot end.

    Args:
        num_bytes: still to come.
        repo: owner/name.
        folder: where it goes.

    Raises:
        DiskFullError: there is less room than that and a little more.
    """
    free = shutil.disk_usage(folder).free
    lacking = num_bytes + _SPARE_BYTES - free
    if lacking > 0:
        raise DiskFullError(
            f"{repo} needs {format_bytes(num_bytes)} more, and {format_bytes(free)} are free in {folder}; "
            f"make room for another {format_bytes(lacking)}, or choose another disk with --data-dir"
        )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk in this block into ours.

    Raises:
        DiskFullError: it is full.
        ConfigError: it cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"the disk of {folder} is full; make room and run the same command again to go on from here"
            ) from None
        raise ConfigError(
            f"cannot write to {folder} ({error.strerror or error}); choose another with --data-dir"
        ) from None
