"""Stores in temporary folders, over SQLite and, where it is there, over PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from localgpt.server.store import vault
from localgpt.server.store.opening import Store, open_store
from localgpt.settings import Settings
from tests.store import postgres


@dataclass
class Clock:
    """Seconds since the epoch, as the test says."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001  # no two things happen at once
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least cost that is accepted, so that tests are quick."""
    monkeypatch.setattr(vault, "SCRYPT_COST", vault._MIN_SCRYPT_COST)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    programs = postgres.find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb and pg_ctl were not found")
    with postgres.running(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of an empty store, of each kind."""
    if request.param == "sqlite":
        return make_settings(tmp_path / "home")
    url = request.getfixturevalue("postgres_url")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return make_settings(tmp_path / "home", database_url=url)


def make_settings(folder: Path, **values: Any) -> Settings:
    """Settings without the environment's."""
    if isinstance(values.get("passphrase"), str):
        values["passphrase"] = SecretStr(values["passphrase"])
    return Settings(data_dir=folder, **values)


@pytest.fixture
async def store(settings: Settings, clock: Clock) -> AsyncIterator[Store]:
    opened = await open_store(settings, clock)
    yield opened
    await opened.close()
