"""A new key for the store: all is there afterwards, the former key opens nothing, whatever ended it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from localgpt.errors import ConfigError, LocalGPTError, StoreError
from localgpt.server.store import rotation, vault
from localgpt.server.store.backup import create_backup, restore_backup
from localgpt.server.store.opening import DATABASE_FILE, open_store
from localgpt.server.store.records import StoredMessage
from localgpt.server.store.rotation import rotate_store, sealed_columns
from localgpt.server.store.tables import metadata
from localgpt.settings import Settings
from tests.law.source import ROOT
from tests.store.conftest import make_settings

PICTURE = b"\x89PNG" * 1000
NUM_VALUES = 7  # a title, a message, a picture and its name, settings, a response, a key's name
WORDS, NEW_WORDS = "several words", "other words"


async def fill(settings: Settings) -> str:
    """One value in each sealed column; returns the key that was made."""
    store = await open_store(settings)
    await store.conversations.create("local", "c", "a title")
    ref = await store.attachments.put("local", PICTURE, "image/png", "cat.png")
    message = StoredMessage(id="m", parent_id=None, role="user", text="a secret")
    await store.conversations.add("local", "c", message, [ref.id])
    await store.preferences.change("local", language="zh")
    await store.responses.put("local", "r", b"a payload")
    _, key = await store.accounts.create("phone", "user")
    await store.close()
    return key


async def check(settings: Settings, key: str) -> None:
    """All that `fill` wrote is there."""
    store = await open_store(settings)
    (found,) = (await store.conversations.find("local")).conversations
    (message,) = await store.conversations.messages("local", "c")
    picture = await store.attachments.get("local", message.attachments[0].id)
    assert (found.title, message.text, message.attachments[0].name) == ("a title", "a secret", "cat.png")
    assert picture is not None and picture.data == PICTURE
    again = await store.attachments.put("local", PICTURE, "image/png", "cat.png")
    assert again.id == message.attachments[0].id, "the same content keeps its id"
    assert (await store.preferences.get("local")).language == "zh"
    assert await store.responses.get("local", "r") == b"a payload"
    entry = await store.accounts.find(key)
    assert entry is not None and entry.name == "phone"
    await store.close()


async def rotate(settings: Settings, **options: Any) -> rotation.Rotation:
    return await asyncio.to_thread(rotate_store, settings, **options)


async def test_everything_opens_under_the_new_key_alone(settings: Settings) -> None:
    key = await fill(settings)
    folder = settings.data_dir
    assert folder is not None
    former = (folder / vault.KEY_FILE).read_text()
    done = await rotate(settings)
    assert (done.num_values, done.opened_by, done.was_opened_by) == (NUM_VALUES, "file", "file")
    assert done.former_key is not None and done.former_key.read_text() == former
    assert done.former_key.stat().st_mode & 0o077 == 0
    assert (folder / vault.KEY_FILE).read_text() != former and not (folder / vault.NEXT_KEY_FILE).exists()
    await check(settings, key)
    await rotate(settings)
    await check(settings, key)
    (folder / vault.KEY_FILE).write_text(former)
    with pytest.raises(StoreError, match="not the key of this store"):
        await open_store(settings)


def test_no_sealed_value_is_forgotten() -> None:
    named = {
        (table.name, one.name) for table in metadata.sorted_tables for one in table.c if "sealed" in one.name
    }
    assert {(table.name, one.name) for table, columns in sealed_columns() for one in columns} == named
    assert len(named) == NUM_VALUES


async def test_nothing_under_the_former_key_is_left_in_the_files(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    await fill(settings)
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        sealed = [
            row[0]
            for table, columns in sealed_columns()
            for column in columns
            for row in connection.execute(f"SELECT {column.name} FROM {table.name}")
        ]
    await rotate(settings)
    content = b"".join(path.read_bytes() for path in tmp_path.glob(f"{DATABASE_FILE}*"))
    assert len(sealed) == NUM_VALUES and not [value for value in sealed if value[:100] in content]


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ({"passphrase": WORDS}, {"passphrase": NEW_WORDS}, {"passphrase": NEW_WORDS}),
        ({"passphrase": WORDS}, {}, {"passphrase": WORDS}),
        ({"passphrase": WORDS}, {"by": "file"}, {}),
        ({}, {"passphrase": WORDS}, {"passphrase": WORDS}),
        ({}, {"by": "passphrase", "passphrase": WORDS}, {"passphrase": WORDS}),
        ({"encrypt": False}, {"by": "file"}, {}),
        ({"encrypt": False}, {"passphrase": WORDS}, {"passphrase": WORDS}),
    ],
)
async def test_what_opens_it_may_change(
    tmp_path: Path, before: dict[str, Any], options: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = make_settings(tmp_path, **before), make_settings(tmp_path, **after)
    key = await fill(old)
    await rotate(old, **options)
    await check(new, key)
    if before != after:
        with pytest.raises(LocalGPTError):
            await open_store(old)
    assert b"a secret" not in (tmp_path / DATABASE_FILE).read_bytes()


async def test_what_cannot_be_is_one_line(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store|no key record"):
        await rotate(settings)
    store = await open_store(settings)
    with pytest.raises(StoreError, match="stop it first"):
        await rotate(settings)
    await store.close()
    with pytest.raises(ConfigError, match="passphrase is missing; give --new-passphrase-file"):
        await rotate(settings, by="passphrase")
    with pytest.raises(ConfigError, match="leave one of them out"):
        await rotate(settings, by="file", passphrase=WORDS)
    with pytest.raises(ConfigError, match="the passphrase is empty"):
        await rotate(settings, passphrase=" ")
    plain = make_settings(tmp_path / "plain", encrypt=False)
    await (await open_store(plain)).close()
    with pytest.raises(ConfigError, match="--by file, --by passphrase or --by keyring"):
        await rotate(plain)
    await (await open_store(settings)).close()


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_a_database_that_others_use_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    store = await open_store(settings)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})  # with a lock of its own
    with pytest.raises(StoreError, match="connected to the database; stop the servers"):
        await rotate(elsewhere)
    await store.close()


async def test_backups_on_both_sides_of_it(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home")
    key = await fill(settings)
    create_backup(settings, tmp_path / "before")
    former = (await rotate(settings)).former_key
    assert former is not None
    create_backup(settings, tmp_path / "after")
    create_backup(settings, tmp_path / "words", WORDS)
    restore_backup(settings, tmp_path / "after", force=True)
    await check(settings, key)
    with pytest.raises(StoreError, match="not the key of this store"):
        restore_backup(settings, tmp_path / "before", force=True)
    other = make_settings(tmp_path / "other")
    restore_backup(other, tmp_path / "words", WORDS)
    await check(other, key)
    shutil.copy(former, tmp_path / "home" / vault.KEY_FILE)
    restore_backup(settings, tmp_path / "before", force=True)
    await check(settings, key)


# ---- ended at any moment ----


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("before", [{}, {"passphrase": WORDS}])
async def test_it_may_end_at_any_step(
    before: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    key = await fill(make_settings(home, **before))
    num_left = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal num_left
            num_left -= 1
            if num_left < 0:
                raise Killed
            return call(*args, **kwargs)

        return step

    for num_steps in range(100):
        folder = tmp_path / f"home{num_steps}"
        shutil.copytree(home, folder)
        settings, num_left = make_settings(folder, **before), num_steps
        with monkeypatch.context() as patch:
            for owner, name in (
                (Path, "replace"),
                (Path, "unlink"),
                (vault, "_write_key_file"),
                (vault, "sync_folder"),
                (rotation, "_reseal_table"),
                (rotation, "new_record"),
                (rotation, "settle"),
            ):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            with contextlib.suppress(Killed):
                await rotate(settings, by="file")
        is_whole = num_left >= 0
        opener = settings
        if before:  # the passphrase opens it, or the key file does, and never none of them
            with contextlib.suppress(ConfigError):
                await (await open_store(settings)).close()
            record = _record(folder)
            opener = make_settings(folder) if '"by": "file"' in record else settings
        await check(opener, key)
        assert not (folder / vault.NEXT_KEY_FILE).exists()
        if is_whole:
            break
    assert 5 < num_steps < 100


def _record(folder: Path) -> str:
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        (record,) = connection.execute("SELECT value FROM meta WHERE name = 'data_key'").fetchone()
    return str(record)


@pytest.mark.parametrize("num_kills", [3, pytest.param(50, marks=pytest.mark.prove)])
async def test_a_killed_rotation_loses_nothing(num_kills: int, tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    key = await fill(settings)
    chance = random.Random(num_kills)
    records = {_record(tmp_path)}
    for _ in range(num_kills):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.store.killable_rotation", str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 25)):
                assert process.stdout.readline() == b"step\n"
            process.kill()
        await check(settings, key)
        records.add(_record(tmp_path))
    assert len(records) > 1, "some rotation came to its end"
