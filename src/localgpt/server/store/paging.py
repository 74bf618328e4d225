"""Pages of lists: where one ends and the next begins, and the pictures of all conversations."""

from __future__ import annotations

import base64
import json

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import InputError
from localgpt.server.store.records import ShownPicture
from localgpt.server.store.rows import MessageRows
from localgpt.server.store.tables import message_attachments, messages

__all__ = ["Mark", "make_cursor", "painted_pictures", "parse_cursor"]

Mark = tuple[float, str]
"""The last entry of a page: its time, and its id."""


def make_cursor(when: float, name: str) -> str:
    """A mark as callers hand it back."""
    text = json.dumps([when, name])
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def parse_cursor(cursor: str) -> Mark:
    """The mark of a cursor.

    Raises:
        InputError: it is none.
    """
    try:
        when, name = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not (isinstance(name, str) and name.isascii() and name.isprintable()):
            raise ValueError
        return float(when), name
    except (ValueError, TypeError):
        raise InputError(
            "before is not a cursor; send the 'next' of an earlier page", param="before"
        ) from None


async def painted_pictures(
    rows: MessageRows, owner: str, limit: int, mark: Mark | None, connection: AsyncConnection
) -> tuple[list[ShownPicture], Mark | None]:
    """Pictures that were painted in an owner's conversations, the newest first.

    Args:
        rows: opens messages.
        owner: whose.
        limit: of at most so many messages.
        mark: of an earlier page.
        connection: to the database.

    Returns:
        The pictures, and the mark of those after them; None at the end.
    """
    table = messages.c
    uses = select(message_attachments.c.message_id).where(
        message_attachments.c.owner == table.owner,
        message_attachments.c.conversation_id == table.conversation_id,
        message_attachments.c.message_id == table.id,
    )
    query = select(messages).where(table.owner == owner, table.role == "assistant", uses.exists())
    if mark is not None:
        when, name = mark
        query = query.where(or_(table.created_at < when, and_(table.created_at == when, table.id < name)))
    query = query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)
    found = [
        (row["conversation_id"], rows.message(row)) for row in (await connection.execute(query)).mappings()
    ]
    shown = [
        ShownPicture(
            picture=picture,
            conversation_id=conversation_id,
            message_id=message.id,
            created_at=message.created_at,
        )
        for conversation_id, message in found[:limit]
        for picture in message.pictures
    ]
    last = found[limit - 1][1] if len(found) > limit else None
    return shown, None if last is None else (last.created_at, last.id)
