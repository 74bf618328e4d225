"""A store in PostgreSQL is backed up by PostgreSQL's programs: the commands that are named do it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from localgpt.errors import ConfigError
from localgpt.server.store.backup import create_backup, restore_backup
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from tests.store import postgres
from tests.store.conftest import make_settings


def run_named(refusal: ConfigError) -> None:
    """Run the command that a message ends with."""
    programs = postgres.find_programs()
    assert programs is not None
    name, *arguments = shlex.split(str(refusal).partition(": ")[2])
    if not (programs / name).exists():
        pytest.skip(f"{name} is not installed")
    subprocess.run([programs / name, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_the_commands_that_are_named_do_it(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a backup"
    store = await open_store(settings)
    await store.conversations.create("local", "c", "a title")
    await store.close()
    with pytest.raises(ConfigError, match=r"with a copy of .*store\.key: pg_dump") as refused:
        create_backup(settings, file)
    run_named(refused.value)
    store = await open_store(settings)
    await store.conversations.delete("local", "c")
    await store.close()
    with pytest.raises(ConfigError, match=r"with a copy of .*store\.key: pg_restore") as refused:
        restore_backup(settings, file)
    run_named(refused.value)
    store = await open_store(settings)
    (found,) = (await store.conversations.find("local")).conversations
    await store.close()
    assert found.title == "a title"


def test_a_password_is_not_repeated(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://user:hunter2@db.example/store?ssl=require"
    settings = make_settings(tmp_path, database_url=url, passphrase="several words")
    with pytest.raises(ConfigError) as refused:
        create_backup(settings, Path("file"))
    said = str(refused.value)
    assert "hunter2" not in said and "PGPASSWORD" in said and "store.key" not in said
    assert "--file=file --dbname='postgresql://user@db.example/store?ssl=require'" in said
