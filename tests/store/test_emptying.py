"""The log that deleted words are in: emptied at once, or as soon as nobody reads it any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from localgpt.server.store import database
from localgpt.server.store.opening import DATABASE_FILE, Store, open_store
from tests.store.conftest import make_settings
from tests.store.test_remnants import CANARY, holders


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Another program that is in the midst of reading the store as it is now."""
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM conversations").fetchone()
        yield


async def open_with_canary(folder: Path) -> Store:
    store = await open_store(make_settings(folder, encrypt=False))
    await store.conversations.create("local", "goes", CANARY)
    return store


async def test_a_log_that_is_read_is_emptied_when_its_reader_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_EMPTY_AGAIN_S", 0.01)
    store = await open_with_canary(tmp_path)
    with reading(tmp_path):
        await store.conversations.delete("local", "goes")
        await store.conversations.create("local", "stays", "another")  # nobody waits for the reader
        assert holders(tmp_path)
    emptying = store.database._emptying
    assert emptying is not None
    await emptying
    assert holders(tmp_path) == []
    await store.close()


async def test_writers_do_not_wait_for_the_log_to_be_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_with_canary(tmp_path)
    empty_log, was_turn_taken = store.database._empty_log, []

    async def watched() -> bool:
        was_turn_taken.append(store.database._write_turn.locked())
        return await empty_log()

    monkeypatch.setattr(store.database, "_empty_log", watched)
    await store.conversations.delete("local", "goes")
    assert was_turn_taken == [False]
    await store.close()


async def test_closing_ends_the_wait_and_the_last_user_empties_the_log(tmp_path: Path) -> None:
    store = await open_with_canary(tmp_path)
    with reading(tmp_path):
        await store.conversations.delete("local", "goes")
        await store.close()
        assert holders(tmp_path)
    assert holders(tmp_path) == []


async def test_what_a_killed_server_left_in_the_log_is_tidied_away(tmp_path: Path) -> None:
    store = await open_with_canary(tmp_path / "first")
    await store.conversations.delete("local", "goes")
    await store.conversations.create("local", "c", CANARY)
    await store.conversations.change("local", "c", title="renamed")
    (tmp_path / "second").mkdir()
    for path in (tmp_path / "first").iterdir():  # what the disk holds of a server that does not come back
        (tmp_path / "second" / path.name).write_bytes(path.read_bytes())
    await store.close()
    again = await open_store(make_settings(tmp_path / "second", encrypt=False))
    assert holders(tmp_path / "second")
    await again.tidy()
    assert holders(tmp_path / "second") == []
    await again.close()
