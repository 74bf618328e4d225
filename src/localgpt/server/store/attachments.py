"""Pictures, stored once per content and owner.

The id is a keyed hash of the content, so that it does not tell which picture it is. The bytes live in the
database, sealed: one transaction holds message and picture together, one file is all there is to back up,
and a picture that no message shows any more goes with the last one that did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import and_, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import InputError
from localgpt.server.store.database import Database, upsert
from localgpt.server.store.records import Attachment, AttachmentRef
from localgpt.server.store.sealing import Sealer
from localgpt.server.store.tables import attachments, conversations, message_attachments

__all__ = ["UPLOAD_GRACE_S", "Attachments", "drop_unused", "find_refs", "find_shown"]

UPLOAD_GRACE_S = 24 * 3600  # an upload that no message took up is kept so long
_DROP_STEP = 500  # ids in one statement


class Attachments:
    """Contents by owner and id.

    Args:
        database: holds the table.
        sealer: closes names and contents, and hashes them.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def put(self, owner: str, data: bytes, media_type: str, name: str | None = None) -> AttachmentRef:
        """Store a picture; the same content again takes no further room."""
        return await self._database.write(await self._prepare(owner, data, media_type, name))

    async def _prepare(self, owner: str, data: bytes, media_type: str, name: str | None) -> Any:
        def close() -> tuple[str, bytes]:
            digest = self._sealer.fingerprint("attachment", data).hex()
            return digest, self._sealer.seal(data, "attachments", "data", owner, digest)

        attachment_id, sealed = await asyncio.to_thread(close)

        async def work(connection: AsyncConnection) -> AttachmentRef:
            await upsert(
                connection,
                attachments,
                owner=owner,
                id=attachment_id,
                media_type=media_type,
                num_bytes=len(data),
                sealed_name=self._sealer.seal_text(name or "", "attachments", "name", owner, attachment_id),
                sealed_data=sealed,
                created_at=self._clock(),
            )
            return AttachmentRef(id=attachment_id, media_type=media_type, num_bytes=len(data), name=name)

        return work

    async def get(self, owner: str, attachment_id: str) -> Attachment | None:
        """A picture with its content."""

        async def work(connection: AsyncConnection) -> Any:
            query = select(attachments).where(attachments.c.owner == owner, attachments.c.id == attachment_id)
            return (await connection.execute(query)).mappings().first()

        row = await self._database.read(work)
        if row is None:
            return None
        place = ("attachments", "data", owner, attachment_id)
        data = await asyncio.to_thread(self._sealer.unseal, row["sealed_data"], *place)
        ref = _ref(self._sealer, row)
        return Attachment(
            id=ref.id, media_type=ref.media_type, num_bytes=ref.num_bytes, name=ref.name, data=data
        )

    async def sweep(self) -> int:
        """Remove uploads of yesterday that no message took up; how many."""
        limit = self._clock() - UPLOAD_GRACE_S

        async def work(connection: AsyncConnection) -> int:
            old = attachments.c.created_at < limit
            return (await connection.execute(delete(attachments).where(old, _is_unused()))).rowcount

        num_deleted = await self._database.write(work)
        if num_deleted:
            await self._database.purge()
        return num_deleted


async def find_refs(
    connection: AsyncConnection, sealer: Sealer, owner: str, ids: Sequence[str]
) -> tuple[AttachmentRef, ...]:
    """The owner's attachments of these ids, in order, each once.

    Raises:
        InputError: one is not there.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return ()
    query = select(*_SMALL).where(attachments.c.owner == owner, attachments.c.id.in_(wanted))
    found = {row["id"]: _ref(sealer, row) for row in (await connection.execute(query)).mappings()}
    for index, attachment_id in enumerate(wanted):
        if attachment_id not in found:
            raise InputError(
                f"there is no attachment {attachment_id!r}; send its bytes to /api/attachments first",
                param=f"attachments[{index}]",
            )
    return tuple(found[attachment_id] for attachment_id in wanted)


async def find_shown(connection: AsyncConnection, which: Any) -> dict[str, list[str]]:
    """By owner, the ids of the attachments that some conversations show."""
    table = message_attachments.c
    of = and_(table.owner == conversations.c.owner, table.conversation_id == conversations.c.id)
    query = select(table.owner, table.attachment_id).join(conversations, of).where(which).distinct()
    shown: dict[str, list[str]] = {}
    for owner, attachment_id in await connection.execute(query):
        shown.setdefault(owner, []).append(attachment_id)
    return shown


async def drop_unused(connection: AsyncConnection, owner: str, ids: Sequence[str]) -> None:
    """Delete those of an owner's attachments that no message shows any more."""
    for start in range(0, len(ids), _DROP_STEP):
        some = attachments.c.id.in_(ids[start : start + _DROP_STEP])
        await connection.execute(delete(attachments).where(attachments.c.owner == owner, some, _is_unused()))


_SMALL = [column for column in attachments.c if column.name != "sealed_data"]


def _is_unused() -> Any:
    uses = select(message_attachments.c.attachment_id).where(
        and_(
            message_attachments.c.owner == attachments.c.owner,
            message_attachments.c.attachment_id == attachments.c.id,
        )
    )
    return ~uses.exists()


def _ref(sealer: Sealer, row: Any) -> AttachmentRef:
    place = ("attachments", "name", row["owner"], row["id"])
    return AttachmentRef(
        id=row["id"],
        media_type=row["media_type"],
        num_bytes=row["num_bytes"],
        name=sealer.unseal_text(row["sealed_name"], *place) or None,
    )
