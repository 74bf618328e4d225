"""Responses that a client asked to keep, so that a later request may refer to them."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.server.store.database import Database, Work, upsert
from localgpt.server.store.sealing import Sealer
from localgpt.server.store.tables import responses

__all__ = ["KEPT_RESPONSE_DAYS", "Responses"]

KEPT_RESPONSE_DAYS = 30  # as OpenAI's; programs rarely delete what they had kept, and nobody sees it


class Responses:
    """Payloads by owner and id; what is in them is the route's matter.

    Args:
        database: holds the table.
        sealer: closes payloads.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def put(self, owner: str, response_id: str, payload: bytes) -> None:
        """Keep a payload, in the place of an earlier one of that id."""
        sealed = self._sealer.seal(payload, *_place(owner, response_id))
        now = self._clock()

        async def work(connection: AsyncConnection) -> None:
            await upsert(
                connection, responses, owner=owner, id=response_id, sealed_payload=sealed, created_at=now
            )

        await self._database.write(work)

    async def get(self, owner: str, response_id: str) -> bytes | None:
        """The payload; None when that owner keeps none of that id."""
        if not _is_id(response_id):
            return None

        async def work(connection: AsyncConnection) -> bytes | None:
            query = select(responses.c.sealed_payload).where(
                responses.c.owner == owner, responses.c.id == response_id
            )
            sealed = await connection.scalar(query)
            return None if sealed is None else bytes(sealed)

        sealed = await self._database.read(work)
        return None if sealed is None else self._sealer.unseal(sealed, *_place(owner, response_id))

    async def delete(self, owner: str, response_id: str) -> bool:
        """Remove a payload; whether it was there."""
        if not _is_id(response_id):
            return False

        async def work(connection: AsyncConnection) -> int:
            which = (responses.c.owner == owner, responses.c.id == response_id)
            return (await connection.execute(delete(responses).where(*which))).rowcount

        return await self._drop(work) == 1

    async def delete_older(self, than: float) -> int:
        """Remove every owner's payloads that were kept before a time; how many."""

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(responses).where(responses.c.created_at < than))).rowcount

        return await self._drop(work)

    async def _drop(self, work: Work[int]) -> int:
        num_deleted = await self._database.write(work)
        if num_deleted:
            await self._database.purge()
        return num_deleted


def _is_id(response_id: str) -> bool:
    """Whether it can be one at all; databases choke on NUL and on halves of characters."""
    return response_id.isascii() and response_id.isprintable()


def _place(owner: str, response_id: str) -> tuple[str, ...]:
    return ("responses", "payload", owner, response_id)
