"""Backups: the whole SQLite store as one sealed file, and back again.

A backup is taken with SQLite's online backup, so a running server is neither stopped nor held up. It is
sealed with the store's own key, which its key file, passphrase or keyring opens, or with a passphrase of its
own; only the latter can be restored on a machine that has lost the former.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import secrets
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy.engine import make_url

from localgpt import __version__
from localgpt.errors import ConfigError, StoreError
from localgpt.server.store.chunks import read_chunks, read_header, write_chunks
from localgpt.server.store.lock import FolderLock
from localgpt.server.store.migrate import head_revision, known_revisions
from localgpt.server.store.opening import ASIDE_FILE, DATABASE_FILE, RECORD_NAME, make_private
from localgpt.server.store.sealing import KEY_BYTES
from localgpt.server.store.temporary import remove_left_behind, temporary_folder
from localgpt.server.store.vault import (
    KEY_FILE,
    method_of,
    new_record,
    settle,
    sync_folder,
    unlock,
    unwrap,
    wrap,
)
from localgpt.settings import Settings, data_folder
from localgpt.units import MIB

__all__ = ["BackupReport", "create_backup", "restore_backup"]

_COMPANIONS = ("", "-wal", "-shm")  # of a SQLite file


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup holds. `sealed_by` is passphrase, file, keyring, or none."""

    num_conversations: int
    num_messages: int
    num_bytes: int  # of the file
    created_at: float  # seconds since the epoch
    sealed_by: str


def create_backup(settings: Settings, file: Path, passphrase: str | None = None) -> BackupReport:
    """Write the store of the settings into a new file.

    Args:
        settings: the data folder, and what opens its store.
        file: must not be there yet; appears only when it is complete.
        passphrase: of the backup alone; None seals it with the store's own key.

    Raises:
        ConfigError: the store is not SQLite, the file is there, or the passphrase is empty.
        StoreError: there is no store, or it cannot be opened.
    """
    folder = _sqlite_folder(settings, f"pg_dump --format=custom --file={shlex.quote(str(file))} --dbname")
    if file.exists():
        raise ConfigError(f"{file} is there already; choose another name")
    if not (folder / DATABASE_FILE).exists():
        raise StoreError(f"there is no store in {folder}; nothing to back up")
    lock = FolderLock(folder, alone=False)
    try:
        remove_left_behind(folder)
        with temporary_folder(folder) as temporary:
            snapshot = make_private(temporary / DATABASE_FILE)
            _copy(folder / DATABASE_FILE, snapshot)
            settle(_record(snapshot), folder)
            return _seal(snapshot, settings, folder, file, passphrase)
    finally:
        lock.release()


def restore_backup(
    settings: Settings, file: Path, passphrase: str | None = None, *, force: bool = False
) -> BackupReport:
    """Put the store of a backup into the data folder.

    Everything is decrypted and checked before anything is replaced, and the new store takes the place of what
    was there in one step: whatever ends this, one of the two is there.

    Args:
        settings: the data folder, and what shall open the store.
        file: as `create_backup` wrote it.
        passphrase: of the backup, where it has one.
        force: replace a store that is there.

    Raises:
        ConfigError: there is a store, or the settings name another key than the backup's.
        StoreError: the file is no backup or damaged, the key is wrong, or a server has the folder open.
    """
    quoted = shlex.quote(str(file))
    folder = _sqlite_folder(settings, f"pg_restore {quoted} --clean --if-exists --no-owner --dbname")
    data_folder(settings, create=True)
    lock = FolderLock(folder, alone=True)
    try:
        if not force and any((folder / name).exists() for name in (DATABASE_FILE, ASIDE_FILE)):
            raise ConfigError(f"{folder} has a store already; --force replaces it with the backup")
        remove_left_behind(folder)
        with _opened(file) as backup, temporary_folder(folder) as temporary:
            fresh = make_private(temporary / DATABASE_FILE)
            header, head = read_header(backup)
            key = _backup_key(header, settings, folder, passphrase)
            manifest = _unseal(read_chunks(backup, head, key), fresh)
            num_conversations, num_messages = _check(fresh)
            if manifest["data_key"] is not None:
                _rewrap(fresh, manifest, settings, folder)
            _replace(folder / DATABASE_FILE, fresh)
        return BackupReport(
            num_conversations=num_conversations,
            num_messages=num_messages,
            num_bytes=file.stat().st_size,
            created_at=header["created_at"],
            sealed_by=json.loads(header["record"])["by"],
        )
    finally:
        lock.release()


def _sqlite_folder(settings: Settings, command: str) -> Path:
    """The data folder.

    Raises:
        ConfigError: the store is in PostgreSQL, whose own `command` does it.
    """
    if settings.database_url is None:
        return data_folder(settings)
    url = make_url(settings.database_url).set(drivername="postgresql")
    command += f"={shlex.quote(url._replace(password=None).render_as_string(hide_password=False))}"
    opener = method_of(settings)
    key = f", with a copy of {data_folder(settings) / KEY_FILE}" if opener == "file" else ""
    password = " (its password by PGPASSWORD or ~/.pgpass)" if url.password else ""
    raise ConfigError(f"this store is in PostgreSQL, and its own programs do that{key}: {command}{password}")


def _seal(
    snapshot: Path, settings: Settings, folder: Path, file: Path, passphrase: str | None
) -> BackupReport:
    record = _record(snapshot)
    unlocked = unlock(record, settings, folder)
    key = unlocked.data_key
    if passphrase is not None:
        key = secrets.token_bytes(KEY_BYTES)
        record = wrap(key, passphrase)
    created_at = time.time()
    header = {"version": 1, "localgpt": __version__, "created_at": created_at, "record": record}
    manifest = {
        # With a passphrase of its own, a backup must be of use where the store's key is lost.
        "data_key": None if passphrase is None else base64.b64encode(unlocked.data_key).decode("ascii"),
        "encrypts": unlocked.encrypts,
        "sha256": _sha256(snapshot),
        "num_bytes": snapshot.stat().st_size,
    }
    partial = file.with_name(f"{file.name}.partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            write_chunks(out, header, key, _body(manifest, snapshot))
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except FileExistsError:
        raise ConfigError(
            f"{partial} is there: another backup writes it, or was killed; remove it, or choose another name"
        ) from None
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write the backup {file} ({error.strerror or error})") from None
    num_conversations, num_messages = _counts(snapshot)
    return BackupReport(
        num_conversations=num_conversations,
        num_messages=num_messages,
        num_bytes=file.stat().st_size,
        created_at=created_at,
        sealed_by=json.loads(record)["by"],
    )


def _body(manifest: dict[str, Any], snapshot: Path) -> Iterator[bytes]:
    line = json.dumps(manifest).encode()
    yield len(line).to_bytes(4, "big") + line
    with snapshot.open("rb") as database:
        while piece := database.read(MIB):
            yield piece


def _unseal(pieces: Iterator[bytes], fresh: Path) -> dict[str, Any]:
    """Write the database of a backup's body to `fresh`, and return what the body says about it."""
    first = next(pieces)
    end = 4 + int.from_bytes(first[:4], "big")
    manifest: dict[str, Any] = json.loads(first[4:end])
    digest = hashlib.sha256()
    with fresh.open("wb") as out:
        for piece in itertools.chain((first[end:],), pieces):
            out.write(piece)
            digest.update(piece)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != manifest["sha256"]:
        raise StoreError("the backup's checksum is wrong; nothing was restored")
    return manifest


def _backup_key(header: dict[str, Any], settings: Settings, folder: Path, passphrase: str | None) -> bytes:
    record = header["record"]
    by_passphrase = json.loads(record)["by"] == "passphrase"
    if by_passphrase and passphrase is not None:
        return unwrap(record, passphrase)
    if by_passphrase and settings.passphrase is None:
        raise ConfigError(
            "this backup needs its passphrase; give --passphrase-file, or set LOCALGPT_BACKUP_PASSPHRASE"
        )
    return unlock(record, settings, folder).data_key


def _check(database: Path) -> tuple[int, int]:
    """Conversations and messages of a database that is whole and of a known version.

    Raises:
        StoreError: it is not.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            results = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise StoreError(f"the backup's database is damaged ({error}); nothing was restored") from None
    if results != ["ok"] or orphans:
        raise StoreError("the backup's database is damaged; nothing was restored")
    if revision not in known_revisions():
        raise StoreError(
            f"the backup is of a later LocalGPT (its tables are {revision}, this version knows up to "
            f"{head_revision()}); update LocalGPT first"
        )
    return _counts(database)


def _counts(database: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(database)) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("conversations", "messages")
        ]
    return counts[0], counts[1]


def _record(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = ?", (RECORD_NAME,)).fetchone()
    if row is None:
        raise StoreError("the store has no key record; start the server once, or restore a backup")
    return str(row[0])


def _rewrap(database: Path, manifest: dict[str, Any], settings: Settings, folder: Path) -> None:
    """Close the data key the way the settings say; the values stay as they are.

    Raises:
        ConfigError: the settings ask for encryption and the backup has none, or the other way round.
    """
    if manifest["encrypts"] != (method_of(settings) != "none"):
        asked, held = ("off", "on") if manifest["encrypts"] else ("on", "off")
        raise ConfigError(
            f"encryption is {asked} in the settings and {held} in the backup; "
            f"set LOCALGPT_ENCRYPT={str(manifest['encrypts']).lower()}"
        )
    record = new_record(base64.b64decode(manifest["data_key"]), settings, folder)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = ?", (record, RECORD_NAME))


def _copy(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise StoreError(f"the store cannot be read ({error})") from None


def _replace(database: Path, fresh: Path) -> None:
    """Put `fresh` in the place of a database in one step: whatever ends this, one of the two is there."""
    if database.exists():
        _fold(database)
    for suffix in _COMPANIONS[1:]:  # SQLite would read what lies beside a database as the new one's
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    fresh.replace(database)
    sync_folder(database.parent)
    for suffix in _COMPANIONS:  # of an earlier version's restore that was interrupted
        Path(f"{database.with_name(ASIDE_FILE)}{suffix}").unlink(missing_ok=True)


def _fold(database: Path) -> None:
    """Bring what SQLite keeps beside a database into it.

    Raises:
        StoreError: somebody reads it, or the disk fails.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        mode = str(error)
    except sqlite3.DatabaseError:
        return  # a broken one has nothing to bring in, and is replaced all the same
    if mode != "delete":
        raise StoreError(
            f"{database} cannot be replaced ({mode}); end what uses it, or move it away, and restore again"
        )


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise StoreError(f"cannot read the backup {file} ({error.strerror or error})") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
