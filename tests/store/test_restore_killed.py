"""A restore that is killed at any step leaves one of the two stores, whole."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localgpt.errors import ConfigError, StoreError
from localgpt.server.store import backup
from localgpt.server.store.backup import create_backup, restore_backup
from localgpt.server.store.opening import ASIDE_FILE, DATABASE_FILE, open_store
from localgpt.settings import Settings
from tests.store.conftest import make_settings


class Killed(BaseException):
    """The end of the process."""


class Steps:
    """Lets some calls through and kills at the next; a dead process calls nothing any more.

    Args:
        num_left: calls before the end.
    """

    def __init__(self, num_left: int) -> None:
        self.num_left = num_left

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.num_left -= 1
            if self.num_left < 0:
                raise Killed
            return call(*args, **kwargs)

        return step


async def titles(settings: Settings) -> set[str]:
    store = await open_store(settings)
    found = (await store.conversations.find("local")).conversations
    await store.close()
    return {one.title for one in found}


async def test_a_restore_may_be_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, home = tmp_path / "backup", tmp_path / "home"
    store = await open_store(make_settings(home))
    await store.conversations.create("local", "new", "in the backup")
    create_backup(make_settings(home), file)
    await store.conversations.delete("local", "new")
    await store.conversations.create("local", "old", "in the log alone")
    outcomes = []
    for num_left in range(100):
        folder = tmp_path / f"home{num_left}"
        shutil.copytree(home, folder)  # as a killed server leaves it, with its log
        steps = Steps(num_left)
        with monkeypatch.context() as patch:
            for owner, name in (
                (Path, "replace"),
                (Path, "unlink"),
                (sqlite3, "connect"),
                (backup, "sync_folder"),
            ):
                patch.setattr(owner, name, steps.counted(getattr(owner, name)))
            with contextlib.suppress(Killed):
                restore_backup(make_settings(folder), file, force=True)
        outcomes.append(await titles(make_settings(folder)))
        if steps.num_left >= 0:
            break
    await store.close()
    old, new = {"in the log alone"}, {"in the backup"}
    num_old = outcomes.count(old)
    assert 0 < num_old < len(outcomes) < 100
    assert outcomes == [old] * num_old + [new] * (len(outcomes) - num_old)


async def test_a_broken_store_is_replaced_too(tmp_path: Path) -> None:
    settings, file = make_settings(tmp_path / "home"), tmp_path / "backup"
    store = await open_store(settings)
    await store.conversations.create("local", "c", "title")
    create_backup(settings, file)
    await store.close()
    (tmp_path / "home" / DATABASE_FILE).write_bytes(b"this is no database " * 100)
    (tmp_path / "home" / f"{DATABASE_FILE}-wal").write_bytes(b"nor a log")
    restore_backup(settings, file, force=True)
    assert await titles(settings) == {"title"}


async def test_a_store_that_is_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, file = make_settings(tmp_path / "home"), tmp_path / "backup"
    await (await open_store(settings)).close()
    create_backup(settings, file)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, timeout=0))
    other = connect(tmp_path / "home" / DATABASE_FILE, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM conversations").fetchone()
    with pytest.raises(StoreError, match="cannot be replaced"):
        restore_backup(settings, file, force=True)
    other.close()
    restore_backup(settings, file, force=True)


async def test_a_store_that_lies_aside_is_not_forgotten(tmp_path: Path) -> None:
    settings, file = make_settings(tmp_path / "home"), tmp_path / "backup"
    store = await open_store(settings)
    await store.conversations.create("local", "c", "title")
    create_backup(settings, file)
    await store.close()
    aside = (tmp_path / "home" / DATABASE_FILE).rename(tmp_path / "home" / ASIDE_FILE)
    with pytest.raises(StoreError, match="a restore was interrupted"):
        await open_store(settings)
    with pytest.raises(ConfigError, match="--force"):
        restore_backup(settings, file)
    assert aside.exists() and not (tmp_path / "home" / DATABASE_FILE).exists()
    restore_backup(settings, file, force=True)
    assert await titles(settings) == {"title"} and not aside.exists()
