"""What each owner chose on the page."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.server.store.database import Database, upsert
from localgpt.server.store.records import Preferences
from localgpt.server.store.sealing import Sealer
from localgpt.server.store.tables import preferences

__all__ = ["PreferenceStore"]

_NAMES = {field.name for field in fields(Preferences)}


class PreferenceStore:
    """One sealed value per owner.

    Args:
        database: holds the table.
        sealer: closes values.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def get(self, owner: str) -> Preferences:
        """What was chosen, or the defaults."""
        return await self._database.read(lambda connection: self._load(connection, owner))

    async def change(self, owner: str, **values: Any) -> Preferences:
        """Choose anew what is named; the rest stays."""

        async def work(connection: AsyncConnection) -> Preferences:
            chosen = replace(await self._load(connection, owner), **values)
            sealed = self._sealer.seal_text(json.dumps(asdict(chosen)), *_place(owner))
            await upsert(connection, preferences, owner=owner, sealed_value=sealed)
            return chosen

        return await self._database.write(work)

    async def _load(self, connection: AsyncConnection, owner: str) -> Preferences:
        query = select(preferences.c.sealed_value).where(preferences.c.owner == owner)
        sealed = await connection.scalar(query)
        if sealed is None:
            return Preferences()
        stored = json.loads(self._sealer.unseal(sealed, *_place(owner)))
        return Preferences(**{name: value for name, value in stored.items() if name in _NAMES})


def _place(owner: str) -> tuple[str, ...]:
    return ("preferences", "value", owner)
