"""`open_store`: the folder, the key, the tables, and everything that is kept in them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import StoreError
from localgpt.server.store.accounts import Accounts
from localgpt.server.store.attachments import Attachments
from localgpt.server.store.conversations import Conversations
from localgpt.server.store.database import Database, insert_or_nothing
from localgpt.server.store.lock import FolderLock
from localgpt.server.store.migrate import migrate
from localgpt.server.store.preferences import PreferenceStore
from localgpt.server.store.records import DataSummary
from localgpt.server.store.responses import KEPT_RESPONSE_DAYS, Responses
from localgpt.server.store.sealing import KEY_BYTES, Sealer
from localgpt.server.store.tables import attachments, conversations, messages, meta, preferences, responses
from localgpt.server.store.temporary import remove_left_behind
from localgpt.server.store.vault import Unlocked, method_of, new_record, settle, unlock
from localgpt.settings import Settings, data_folder

__all__ = [
    "ASIDE_FILE",
    "DATABASE_FILE",
    "RECORD_NAME",
    "Store",
    "make_private",
    "may_be_there",
    "open_database",
    "open_store",
    "open_store_at_rest",
    "with_store",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

DATABASE_FILE = "store.db"
ASIDE_FILE = f"{DATABASE_FILE}.before-restore"  # where earlier versions put the old store while they restored
RECORD_NAME = "data_key"
_DAY_S = 24 * 3600
_HOLD_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """An open store. `close` it.

    `holds` are answers that will be stored when they end; closing gives them a moment.
    """

    folder: Path
    encrypts: bool
    had_keys: bool  # when it was opened
    retention_days: int | None
    accounts: Accounts
    conversations: Conversations
    attachments: Attachments
    preferences: PreferenceStore
    responses: Responses
    database: Database
    lock: FolderLock
    clock: Callable[[], float]
    holds: set[asyncio.Future[None]] = field(default_factory=set)

    async def summary(self, owner: str) -> DataSummary:
        """How much of an owner's is kept."""
        return await self.database.read(lambda connection: _count(connection, owner))

    async def forget(self, owner: str, *, with_settings: bool) -> DataSummary:
        """Remove everything of an owner's but their keys; how much it was.

        Args:
            owner: whose.
            with_settings: what they chose on the page, too.
        """

        async def work(connection: AsyncConnection) -> DataSummary:
            counted = await _count(connection, owner)
            chosen = (preferences,) if with_settings else ()
            for table in (conversations, attachments, responses, *chosen):  # messages go with conversations
                await connection.execute(delete(table).where(table.c.owner == owner))
            return counted

        counted = await self.database.write(work)
        await self.database.purge()
        return counted

    async def tidy(self) -> None:
        """Remove what is older than the retention allows, old responses, and uploads nobody used."""
        now, num_deleted = self.clock(), 0
        response_days = KEPT_RESPONSE_DAYS
        if self.retention_days is not None:
            response_days = min(response_days, self.retention_days)
            num_deleted = await self.conversations.delete_older(now - self.retention_days * _DAY_S)
        num_deleted += await self.responses.delete_older(now - response_days * _DAY_S)
        num_deleted += await self.attachments.sweep()
        if num_deleted:
            logger.info("%d conversations, responses and uploads were too old and are deleted", num_deleted)
        await self.database.purge()  # also what was deleted just before a server was killed

    async def tidy_daily(self) -> None:
        """`tidy` now and every day, until it is cancelled; a failure is logged and tried again next day."""
        while True:
            try:
                await self.tidy()
            except StoreError:
                logger.exception("the store could not be tidied")
            await asyncio.sleep(_DAY_S)

    async def rest(self) -> None:
        """Let go of connections, so that another event loop may use the store next."""
        await self.database.close()

    async def close(self) -> None:
        """Finish what is being written and let go of the folder."""
        if self.holds:
            await asyncio.wait(self.holds, timeout=_HOLD_TIMEOUT_S)
        await self.database.close()
        self.lock.release()


async def open_store(settings: Settings, clock: Callable[[], float] = time.time) -> Store:
    """Open the store of the settings, and make or migrate it where needed.

    Args:
        settings: folder or URL, what opens the encryption, retention.
        clock: seconds since the epoch.

    Raises:
        ConfigError: the settings contradict each other or the store.
        StoreError: the key is missing or wrong, or the store is damaged, newer or in use.
    """
    method_of(settings)  # before anything is made
    folder = data_folder(settings, create=True)
    lock = FolderLock(folder, alone=False)
    try:
        database = open_database(settings, folder)
        try:
            unlocked = await _unlock(database, settings, folder)
        except BaseException:
            await database.close()
            raise
    except BaseException:
        lock.release()
        raise
    sealer = Sealer(unlocked.data_key, encrypt=unlocked.encrypts)
    accounts = Accounts(database, sealer, clock)
    return Store(
        folder=folder,
        encrypts=unlocked.encrypts,
        had_keys=await accounts.has_keys(),
        retention_days=settings.retention_days,
        accounts=accounts,
        conversations=Conversations(database, sealer, clock),
        attachments=Attachments(database, sealer, clock),
        preferences=PreferenceStore(database, sealer),
        responses=Responses(database, sealer, clock),
        database=database,
        lock=lock,
        clock=clock,
    )


def open_database(settings: Settings, folder: Path) -> Database:
    """The database of the settings, whose folder is locked; errors as `open_store`."""
    if settings.database_url is not None:
        return Database.at_url(settings.database_url)
    remove_left_behind(folder)
    _refuse_half_restored(folder)
    return Database.sqlite(make_private(folder / DATABASE_FILE))


def open_store_at_rest(settings: Settings) -> Store:
    """A store that was opened outside of any event loop, for the one that comes; errors as `open_store`."""

    async def work() -> Store:
        store = await open_store(settings)
        await store.rest()
        return store

    return asyncio.run(work())


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """What `work` makes of the store, which is opened for it and closed again; errors as `open_store`."""

    async def run() -> T:
        store = await open_store(settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def may_be_there(settings: Settings) -> bool:
    """Whether there may be a store already; only opening it tells about a database elsewhere."""
    return settings.database_url is not None or (data_folder(settings) / DATABASE_FILE).exists()


async def _count(connection: AsyncConnection, owner: str) -> DataSummary:
    counts, num_bytes = [], 0
    for table, column in (
        (conversations, conversations.c.sealed_title),
        (messages, messages.c.sealed_content),
        (attachments, attachments.c.sealed_data),
        (responses, responses.c.sealed_payload),
    ):
        size = func.coalesce(func.sum(func.length(column)), 0)
        row = (await connection.execute(select(func.count(), size).where(table.c.owner == owner))).one()
        counts.append(int(row[0]))
        num_bytes += int(row[1])
    return DataSummary(
        num_conversations=counts[0],
        num_messages=counts[1],
        num_attachments=counts[2],
        num_responses=counts[3],
        num_bytes=num_bytes,
    )


async def _unlock(database: Database, settings: Settings, folder: Path) -> Unlocked:
    query = select(meta.c.value).where(meta.c.name == RECORD_NAME)

    async def prepare(connection: AsyncConnection) -> str:
        await connection.run_sync(migrate)
        record: str | None = await connection.scalar(query)
        if record is None:
            record = new_record(secrets.token_bytes(KEY_BYTES), settings, folder)
            if not await insert_or_nothing(connection, meta, name=RECORD_NAME, value=record):
                record = await connection.scalar(query)
        assert record is not None
        return record

    record = await database.write(prepare)
    settle(record, folder)
    return unlock(record, settings, folder)


def _refuse_half_restored(folder: Path) -> None:
    """A new, empty store in the place of one that lies aside would look like a loss."""
    if (folder / ASIDE_FILE).exists() and not (folder / DATABASE_FILE).exists():
        raise StoreError(
            f"a restore was interrupted, and the store it was to replace is {folder / ASIDE_FILE}; restore "
            f"again with --force, or rename it (and what begins with its name) back to {DATABASE_FILE}"
        )


def make_private(path: Path) -> Path:
    """Make the file before SQLite does, readable by this user alone; its companions take its mode over."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if os.name == "posix":
        path.chmod(0o600)
    return path
