"""One database: transactions that survive a power cut, and deletions that leave nothing behind.

SQLite runs in WAL mode with `synchronous=FULL`: a transaction that was reported done is on disk. Writers
begin with `BEGIN IMMEDIATE`, so that they queue instead of failing halfway. PostgreSQL is reached by its URL
and keeps its own promises.

Work is handed in as a coroutine function and runs shielded: a caller that is cancelled stops waiting, but
its transaction still ends.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from localgpt.errors import ConfigError, StoreError

__all__ = ["Database", "Work", "insert_or_nothing", "upsert"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
_BUSY_TIMEOUT_MS = 10_000
_EMPTYING_TIMEOUT_MS = 100  # while the log waits for its readers, SQLite lets nobody write
_EMPTY_AGAIN_S = 1.0  # doubled with each try
_EMPTY_AT_LEAST_EACH_S = 60.0
_WRITES = "localgpt_writes"
_PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # first: it holds for a database without tables alone
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    f"busy_timeout={_BUSY_TIMEOUT_MS}",
    "trusted_schema=OFF",
)


class Database:
    """An engine and its habits. Made by `Database.sqlite` or `Database.at_url`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._running: set[asyncio.Future[Any]] = set()
        self._write_turn = asyncio.Lock()  # fair, which SQLite's own waiting is not
        self._emptying: asyncio.Task[None] | None = None  # where the log could not be emptied at once
        self.is_sqlite = engine.dialect.name == "sqlite"

    @classmethod
    def sqlite(cls, path: Path) -> Database:
        """A database in one file, which is made when it is first used."""
        engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)))
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return cls(engine)

    @classmethod
    def at_url(cls, url: str) -> Database:
        """A PostgreSQL database.

        Raises:
            ConfigError: the URL is not one, names another database, or the driver is missing.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigError(
                "database_url is not a URL; expected postgresql+asyncpg://user@host/name"
            ) from None
        if parsed.drivername not in ("postgresql", "postgresql+asyncpg"):
            raise ConfigError(
                f"database_url names {parsed.drivername!r}; expected postgresql+asyncpg://user@host/name "
                "(SQLite needs no URL: it lives in the data folder)"
            )
        try:
            return cls(create_async_engine(parsed.set(drivername="postgresql+asyncpg"), pool_pre_ping=True))
        except ImportError:
            raise ConfigError("PostgreSQL needs asyncpg; pip install 'localgpt[postgres]'") from None

    async def read(self, work: Work[T]) -> T:
        """Run `work` in a transaction that changes nothing; all it reads is of one moment."""
        return await self._shielded(self._transact(work, writes=False))

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction; once this returns, what it wrote is on disk.

        Raises:
            StoreError: the disk is full, or the database is locked or gone; nothing was changed.
        """
        return await self._shielded(self._write(work))

    async def purge(self) -> None:
        """Give the pages of deleted rows back and empty the log, so that no file holds them any more.

        Whoever reads meanwhile, this process or another, still needs the log: then it is emptied soon after
        they are done, and this does not wait for it.
        """
        if not self.is_sqlite:
            return
        await self._shielded(self._vacuum())
        is_empty = await self._shielded(self._empty_log())
        if not is_empty and (self._emptying is None or self._emptying.done()):
            self._emptying = asyncio.ensure_future(self._empty_later())

    async def close(self) -> None:
        """Wait for transactions under way, then let go of the database; its last user empties the log."""
        if self._emptying is not None:
            self._emptying.cancel()
            await asyncio.gather(self._emptying, return_exceptions=True)
            self._emptying = None
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        await self._engine.dispose()

    async def _write(self, work: Work[T]) -> T:
        async with self._write_turn:
            return await self._transact(work, writes=True)

    async def _transact(self, work: Work[T], *, writes: bool) -> T:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_WRITES: writes})
                if not (writes or self.is_sqlite):  # PostgreSQL's own habit is a moment for each statement
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    return await work(connection)
        except (SQLAlchemyError, OSError) as error:
            raise _told(error) from error

    async def _vacuum(self) -> None:
        async with self._write_turn:
            await self._pragmas("incremental_vacuum")

    async def _empty_log(self) -> bool:
        """Whether the log is empty now. It may be read by others, and then it is not."""
        rows = await self._pragmas(
            f"busy_timeout={_EMPTYING_TIMEOUT_MS}",
            "wal_checkpoint(TRUNCATE)",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
        )
        is_busy, *_ = rows[1][0]
        return not is_busy

    async def _empty_later(self) -> None:
        delay_s = _EMPTY_AGAIN_S
        while True:
            await asyncio.sleep(delay_s)
            try:
                if await self._shielded(self._empty_log()):
                    return
            except StoreError:
                logger.exception("the log of the store could not be emptied; this is tried again")
            delay_s = min(2 * delay_s, _EMPTY_AT_LEAST_EACH_S)

    async def _pragmas(self, *pragmas: str) -> list[list[Any]]:
        """The rows of each, beneath SQLAlchemy, which would open a transaction around them."""
        rows = []
        try:
            async with self._engine.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                assert driver is not None
                for pragma in pragmas:
                    async with driver.execute(f"PRAGMA {pragma}") as cursor:
                        rows.append(list(await cursor.fetchall()))
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise _told(error) from error
        return rows

    async def _shielded(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _told(error: Exception) -> StoreError:
    """One line, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StoreError(f"the store cannot be used: {' '.join(str(cause).split())}")


def _insert(connection: AsyncConnection, table: Table) -> Any:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


async def insert_or_nothing(connection: AsyncConnection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is taken; whether it was inserted."""
    statement = _insert(connection, table).values(**values).on_conflict_do_nothing()
    return bool((await connection.execute(statement)).rowcount)


async def upsert(connection: AsyncConnection, table: Table, **values: Any) -> None:
    """Insert a row, or replace the one of the same key."""
    names = [column.name for column in table.primary_key]
    statement = _insert(connection, table).values(**values)
    changed = {name: value for name, value in values.items() if name not in names}
    await connection.execute(statement.on_conflict_do_update(index_elements=names, set_=changed))
