"""What costs time to import is imported when a store is opened, and not before."""

from __future__ import annotations

import subprocess
import sys

from tests.law.source import ROOT

CODE = """
import sys
import localgpt.cli.main, localgpt.server, localgpt.server.store.records
heavy = {"sqlalchemy", "alembic", "aiosqlite", "asyncpg", "keyring"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_server_is_imported_without_the_database() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
