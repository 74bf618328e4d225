"""Models and migrations agree, old databases are brought up to date, and newer ones are refused."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from localgpt.errors import StoreError
from localgpt.server.store.database import Database
from localgpt.server.store.migrate import head_revision, known_revisions, migrate
from localgpt.server.store.opening import DATABASE_FILE, Store, open_store
from localgpt.server.store.tables import metadata
from localgpt.settings import Settings, data_folder


def database_of(settings: Settings) -> Database:
    if settings.database_url is not None:
        return Database.at_url(settings.database_url)
    return Database.sqlite(data_folder(settings, create=True) / DATABASE_FILE)


async def test_models_and_migrations_agree(store: Store) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    assert await store.database.read(lambda connection: connection.run_sync(differences)) == []


async def test_steps_follow_each_other() -> None:
    assert sorted(known_revisions()) == [f"{number:04}" for number in range(1, len(known_revisions()) + 1)]
    assert head_revision() == max(known_revisions())


async def test_an_old_database_is_brought_up_to_date(settings: Settings) -> None:
    database = database_of(settings)

    def make_old(connection: Connection) -> None:
        migrate(connection, "0001")
        assert "responses" not in inspect(connection).get_table_names()
        row = "INSERT INTO preferences (owner, sealed_value) VALUES ('someone', :value)"
        connection.execute(text(row), {"value": b"kept"})

    await database.write(lambda connection: connection.run_sync(make_old))
    await database.close()

    store = await open_store(settings)
    await store.responses.put("local", "r", b"payload")
    query = text("SELECT sealed_value FROM preferences WHERE owner = 'someone'")
    kept = await store.database.read(lambda connection: connection.scalar(query))
    assert bytes(kept) == b"kept"
    await store.close()


async def test_a_step_that_fails_changes_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    database = database_of(settings)
    await database.write(lambda connection: connection.run_sync(migrate, "0001"))
    create_index = "alembic.op.create_index"
    with monkeypatch.context() as patch:
        patch.setattr(create_index, lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(StoreError, match="disk is full"):
            await database.write(lambda connection: connection.run_sync(migrate))

    def tables(connection: Connection) -> list[str]:
        return inspect(connection).get_table_names()

    assert "responses" not in await database.read(lambda connection: connection.run_sync(tables))
    await database.write(lambda connection: connection.run_sync(migrate))
    assert "responses" in await database.read(lambda connection: connection.run_sync(tables))
    await database.close()


async def test_a_later_database_is_refused(settings: Settings) -> None:
    store = await open_store(settings)

    async def age(connection: object) -> None:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))  # type: ignore[attr-defined]

    await store.database.write(age)
    await store.close()
    with pytest.raises(StoreError, match="later LocalGPT"):
        await open_store(settings)
