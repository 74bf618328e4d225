"""A full disk, a broken file, a folder in use: one clear error, and what was there stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from localgpt.errors import ConfigError, StoreError
from localgpt.server.store.database import Database
from localgpt.server.store.lock import FolderLock
from localgpt.server.store.opening import DATABASE_FILE, Store, may_be_there, open_store
from localgpt.server.store.records import StoredMessage
from tests.store.conftest import make_settings


async def say(store: Store, message_id: str, words: str) -> None:
    message = StoredMessage(id=message_id, parent_id=None, role="user", text=words)
    await store.conversations.add("local", "c", message)


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    store = await open_store(make_settings(tmp_path))
    await store.conversations.create("local", "c")
    await say(store, "a", "kept")

    async def fill_up(connection: Any) -> None:
        num_pages = await connection.scalar(text("PRAGMA page_count"))
        await connection.execute(text(f"PRAGMA max_page_count = {num_pages}"))

    await store.database.write(fill_up)
    with pytest.raises(StoreError, match="full") as refused:
        await say(store, "b", "x" * 1_000_000)
    assert "INSERT" not in str(refused.value) and "\n" not in str(refused.value)
    assert [message.id for message in await store.conversations.messages("local", "c")] == ["a"]
    await store.close()


async def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"this is no database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        await open_store(make_settings(tmp_path))


async def test_a_folder_that_is_restored_is_not_opened(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, alone=True)
    with pytest.raises(StoreError, match="being restored"):
        await open_store(make_settings(tmp_path))
    lock.release()
    first, second = await open_store(make_settings(tmp_path)), await open_store(make_settings(tmp_path))
    with pytest.raises(StoreError, match="stop it first"):
        FolderLock(tmp_path, alone=True)
    await first.close()
    await second.close()
    FolderLock(tmp_path, alone=True).release()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nonsense", "not a URL"),
        ("mysql://localhost/x", "names 'mysql'"),
        ("sqlite:///file", "SQLite needs no URL"),
    ],
)
def test_urls_that_are_not_served_are_told(url: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        Database.at_url(url)


async def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://me:secretword@/x?host={tmp_path}"
    with pytest.raises(StoreError, match="cannot be used") as refused:
        await open_store(make_settings(tmp_path, database_url=url))
    assert "secretword" not in str(refused.value)


async def test_looking_for_a_store_makes_none(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home")
    assert not may_be_there(settings) and not (tmp_path / "home").exists()
    await (await open_store(settings)).close()
    assert may_be_there(settings)
