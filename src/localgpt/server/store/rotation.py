"""A new key for the store: every value is sealed again, and what opens the store may change with it.

All values and the key record change in one transaction, so whatever ends this, every value opens under the
record that is there. A new key file is written before the transaction ends and takes its place after it; a
start in between puts it there (`vault.settle`). Fingerprints stay, since keys and sessions are known by them
alone: so a former key tells of keys and pictures that somebody holds already whether they are here, and reads
nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from sqlalchemy import Column, LargeBinary, Table, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import ConfigError, StoreError
from localgpt.server.store.database import Database
from localgpt.server.store.lock import FolderLock
from localgpt.server.store.migrate import migrate
from localgpt.server.store.opening import RECORD_NAME, may_be_there, open_database
from localgpt.server.store.sealing import Sealer, renewed
from localgpt.server.store.tables import meta, metadata
from localgpt.server.store.vault import (
    KEY_FILE,
    NEXT_KEY_FILE,
    former_key_file,
    method_of,
    new_record,
    settle,
    unlock,
)
from localgpt.settings import Settings, data_folder

__all__ = ["Opener", "Rotation", "rotate_store", "sealed_columns"]

Opener = Literal["file", "passphrase", "keyring"]
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type IS DISTINCT FROM 'autovacuum worker'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What was done. `former_key` is the file that opens backups sealed by the former key, where one did."""

    num_values: int
    opened_by: str
    was_opened_by: str
    former_key: Path | None


def rotate_store(settings: Settings, by: Opener | None = None, passphrase: str | None = None) -> Rotation:
    """Seal every value of the store with a new key.

    Args:
        settings: the data folder, and what opens its store now.
        by: what shall open it from now on; None is what opens it now, or the passphrase where one is given.
        passphrase: the new words; None keeps those of the settings.

    Raises:
        ConfigError: the arguments contradict each other or the store, or name no key for a store without one.
        StoreError: there is no store, it cannot be opened, or a server has it open; nothing was changed.
    """
    successor = _successor(settings, by, passphrase)
    if not may_be_there(settings):
        raise StoreError(f"there is no store in {data_folder(settings)}; start the server once")
    folder = data_folder(settings, create=True)
    lock = FolderLock(folder, alone=True)
    try:
        return asyncio.run(_rotate(settings, successor, folder))
    finally:
        lock.release()


def sealed_columns() -> list[tuple[Table, list[Column[bytes]]]]:
    """Every table with columns that the store's key closes."""
    found = []
    for table in metadata.sorted_tables:
        columns = [
            one for one in table.c if one.name.startswith("sealed_") and isinstance(one.type, LargeBinary)
        ]
        if columns:
            found.append((table, columns))
    return found


def _successor(settings: Settings, by: Opener | None, passphrase: str | None) -> Settings:
    """The settings that open the store afterwards."""
    method = method_of(settings)
    chosen = by or ("passphrase" if passphrase is not None else method)
    if chosen == "none":
        raise ConfigError(
            "this store is not encrypted, so it has no key to replace; name what shall open it, and it is "
            "encrypted: --by file, --by passphrase or --by keyring"
        )
    if chosen != "passphrase" and passphrase is not None:
        raise ConfigError(f"a new passphrase was given, and --by {chosen}; leave one of them out")
    words = settings.passphrase if passphrase is None else SecretStr(passphrase)
    if chosen == "passphrase" and words is None:
        raise ConfigError("the new passphrase is missing; give --new-passphrase-file FILE")
    return settings.model_copy(
        update={
            "encrypt": True,
            "use_keyring": chosen == "keyring",
            "passphrase": words if chosen == "passphrase" else None,
        }
    )


async def _rotate(settings: Settings, successor: Settings, folder: Path) -> Rotation:
    database = open_database(settings, folder)
    try:
        num_values, record = await database.write(partial(_reseal, database, settings, successor, folder))
        was, now = method_of(settings), method_of(successor)
        former = None
        if was == "file":
            former = former_key_file(folder) if now == "file" else folder / KEY_FILE
        settle(record, folder)
        await database.purge()
        return Rotation(num_values=num_values, opened_by=now, was_opened_by=was, former_key=former)
    finally:
        await database.close()


async def _reseal(
    database: Database, settings: Settings, successor: Settings, folder: Path, connection: AsyncConnection
) -> tuple[int, str]:
    """Within one transaction: how many values were sealed again, and the new record."""
    if not database.is_sqlite and (num := await connection.scalar(_OTHERS)):
        raise StoreError(f"{num} others are connected to the database; stop the servers that use it first")
    await connection.run_sync(migrate)
    place = meta.c.name == RECORD_NAME
    record = await connection.scalar(select(meta.c.value).where(place))
    if record is None:
        raise StoreError("the store has no key record; start the server once, or restore a backup")
    settle(record, folder)
    unlocked = unlock(record, settings, folder)
    data_key = renewed(unlocked.data_key)
    former, sealer = Sealer(unlocked.data_key, encrypt=unlocked.encrypts), Sealer(data_key, encrypt=True)
    num_values = 0
    for table, columns in sealed_columns():
        num_values += await _reseal_table(connection, table, columns, former, sealer)
    (folder / NEXT_KEY_FILE).unlink(missing_ok=True)
    following = new_record(data_key, successor, folder, NEXT_KEY_FILE)
    await connection.execute(update(meta).where(place).values(value=following))
    return num_values, following


async def _reseal_table(
    connection: AsyncConnection, table: Table, columns: list[Column[bytes]], former: Sealer, sealer: Sealer
) -> int:
    """One row at a time, since a row may hold a picture; how many values."""
    keys = list(table.primary_key)
    rows = (await connection.execute(select(*keys))).all()
    for row in rows:
        is_row = [key == value for key, value in zip(keys, row, strict=True)]
        stored = (await connection.execute(select(*columns).where(*is_row))).one()
        values = {}
        for column, value in zip(columns, stored, strict=True):
            place = (table.name, column.name.removeprefix("sealed_"), *row)
            values[column.name] = sealer.seal(former.unseal(value, *place), *place)
        await connection.execute(update(table).where(*is_row).values(values))
    return len(rows) * len(columns)
