"""A PostgreSQL of the tests' own, where the programs are there: a folder in /tmp, a unix socket, no port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDERS = ("/usr/local/bin", "/usr/lib/postgresql/*/bin", "/opt/homebrew/bin")


def find_programs() -> Path | None:
    """The folder of initdb, postgres and pg_ctl."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    for pattern in FOLDERS:
        candidates += Path("/").glob(f"{pattern.removeprefix('/')}/initdb")
    folders = [one if one.is_dir() else one.resolve().parent for one in candidates]
    return next((one for one in folders if (one / "pg_ctl").exists()), None)


def _other_user() -> dict[str, Any]:
    """PostgreSQL does not run as root; somebody without rights does."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


@contextmanager
def running(programs: Path) -> Iterator[str]:
    """Start one and yield the URL of its database."""
    folder = Path(tempfile.mkdtemp(prefix="localgpt-pg-"))
    user = _other_user()
    try:
        if user:
            os.chown(folder, user["user"], user["group"])
        data = folder / "data"
        common: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder, **user}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8"],
            **common,
        )
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w", "-s"]
        # Its output goes to a file: a pipe would stay open as long as the server runs.
        start = [*control, "-l", folder / "log", "-o", options, "start"]
        subprocess.run(start, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)
        try:
            yield f"postgresql+asyncpg://tester@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **common)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
