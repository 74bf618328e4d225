"""Bringing a database to the tables of this version, inside one transaction."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from localgpt.errors import StoreError
from localgpt.server.store.tables import metadata

__all__ = ["head_revision", "known_revisions", "migrate"]

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK_ID = 0x6C6F6367  # one program at a time may migrate a PostgreSQL database


def migrate(connection: Connection, to: str = "head") -> None:
    """Create the tables, or change old ones; nothing happens where they are current.

    Args:
        connection: in a transaction that may write.
        to: a revision, for tests.

    Raises:
        StoreError: the database was made by a later version.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every step, also the ones not taken
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
    scripts = _scripts()
    now = MigrationContext.configure(connection).get_current_revision()
    if now is not None and now not in known_revisions():
        raise StoreError(
            f"this store was written by a later LocalGPT (its tables are {now}, this version knows up to "
            f"{head_revision()}); update LocalGPT, or choose another --data-dir"
        )
    if now == head_revision():
        return

    def steps(revision: Any, _: MigrationContext) -> Any:
        return scripts._upgrade_revs(to, revision)

    with EnvironmentContext(_config(), scripts, fn=steps, destination_rev=to) as environment:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


def head_revision() -> str:
    """The newest revision this version knows."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def known_revisions() -> set[str]:
    """Every revision this version knows."""
    return {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
