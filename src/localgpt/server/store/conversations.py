"""Conversations and the trees of messages in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Select, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import InputError
from localgpt.server.store.attachments import drop_unused, find_refs, find_shown
from localgpt.server.store.database import Database, insert_or_nothing
from localgpt.server.store.paging import make_cursor, painted_pictures, parse_cursor
from localgpt.server.store.records import Conversation, ConversationPage, ShownPicture, StoredMessage
from localgpt.server.store.rows import MessageRows
from localgpt.server.store.sealing import Sealer
from localgpt.server.store.tables import conversations, message_attachments, messages

__all__ = ["Conversations"]

_SEARCH_STEP = 50  # conversations read at once while searching
_TITLE_CHARACTERS = 60


class Conversations:
    """What each owner said and was answered. A foreign id is as unknown as one that never was.

    Args:
        database: holds the tables.
        sealer: closes titles and messages.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sealer = sealer
        self._rows = MessageRows(sealer)
        self._clock = clock

    async def create(
        self, owner: str, conversation_id: str, title: str = "", model: str | None = None
    ) -> tuple[Conversation, bool]:
        """Begin a conversation; whether it is new, or was there under that id already."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> tuple[Conversation, bool]:
            is_new = await insert_or_nothing(
                connection,
                conversations,
                owner=owner,
                id=conversation_id,
                sealed_title=self._seal_title(owner, conversation_id, title),
                created_at=now,
                updated_at=now,
                num_messages=0,
                model=model,
            )
            found = await self._load(connection, owner, conversation_id)
            assert found is not None
            return found, is_new

        return await self._database.write(work)

    async def get(self, owner: str, conversation_id: str) -> Conversation | None:
        """One conversation, without its messages."""
        return await self._database.read(lambda connection: self._load(connection, owner, conversation_id))

    async def messages(self, owner: str, conversation_id: str) -> list[StoredMessage]:
        """All messages of a conversation, oldest first."""

        async def work(connection: AsyncConnection) -> list[StoredMessage]:
            return await self._rows.load(connection, _of(owner, [conversation_id]))

        return await self._database.read(work)

    async def whole(
        self, owner: str, conversation_id: str
    ) -> tuple[Conversation, list[StoredMessage]] | None:
        """A conversation and its messages, oldest first, both as they were at one moment."""

        async def work(connection: AsyncConnection) -> tuple[Conversation, list[StoredMessage]] | None:
            found = await self._load(connection, owner, conversation_id)
            if found is None:
                return None
            return found, await self._rows.load(connection, _of(owner, [conversation_id]))

        return await self._database.read(work)

    async def pictures(
        self, owner: str, *, limit: int = 50, before: str | None = None
    ) -> tuple[list[ShownPicture], str | None]:
        """Pictures that were painted in an owner's conversations; see `painted_pictures`."""
        mark = None if before is None else parse_cursor(before)
        found = await self._database.read(partial(painted_pictures, self._rows, owner, limit, mark))
        return found[0], None if found[1] is None else make_cursor(*found[1])

    async def find(
        self, owner: str, *, query: str = "", limit: int = 50, before: str | None = None
    ) -> ConversationPage:
        """Conversations, the last changed first.

        Args:
            owner: whose.
            query: only those with this text in their title or a message, in whatever case.
            limit: at most so many.
            before: the cursor of an earlier page.

        Raises:
            InputError: the cursor is not one.
        """
        found: list[Conversation] = []
        mark = None if before is None else parse_cursor(before)
        step = limit + 1 if not query else max(limit + 1, _SEARCH_STEP)
        while len(found) <= limit:
            rows = await self._page(owner, mark, step)
            found += rows if not query else await self._matching(owner, rows, query)
            if len(rows) < step:
                break
            mark = (rows[-1].updated_at, rows[-1].id)
        is_more = len(found) > limit
        found = found[:limit]
        return ConversationPage(
            conversations=tuple(found),
            next=make_cursor(found[-1].updated_at, found[-1].id) if is_more else None,
        )

    async def change(
        self,
        owner: str,
        conversation_id: str,
        *,
        title: str | None = None,
        leaf: str | None = None,
        model: str | None = None,
    ) -> Conversation | None:
        """Rename a conversation, show another of its branches, or have another model answer.

        None when there is no such conversation.

        Raises:
            InputError: it has no message `leaf`.
        """
        values: dict[str, Any] = {}
        if title is not None:
            values["sealed_title"] = self._seal_title(owner, conversation_id, title)
        if leaf is not None:
            values["leaf"] = leaf
        if model is not None:
            values["model"] = model

        async def work(connection: AsyncConnection) -> Conversation | None:
            if await self._load(connection, owner, conversation_id) is None:
                return None
            if leaf is not None:
                await self._require(connection, owner, conversation_id, leaf, "leaf")
            if values:
                await connection.execute(
                    update(conversations).where(*_is(owner, conversation_id)).values(values)
                )
            return await self._load(connection, owner, conversation_id)

        return await self._database.write(work)

    async def add(
        self, owner: str, conversation_id: str, message: StoredMessage, attachment_ids: Sequence[str] = ()
    ) -> tuple[StoredMessage, bool] | None:
        """Store a message and show its branch; when this returns, it is on disk.

        Args:
            owner: whose conversation.
            conversation_id: which one; None is returned when there is none.
            message: its `created_at` and `attachments` are filled in here.
            attachment_ids: pictures that were stored before.

        Returns:
            The message, and whether it is new: an id that is there already changes nothing.

        Raises:
            InputError: the parent or an attachment is not there.
        """

        async def work(connection: AsyncConnection) -> tuple[StoredMessage, bool] | None:
            conversation = await self._load(connection, owner, conversation_id)
            if conversation is None:
                return None
            query = _of(owner, [conversation_id]).where(messages.c.id == message.id)
            if known := await self._rows.load(connection, query):
                return known[0], False
            if message.parent_id is not None:
                await self._require(connection, owner, conversation_id, message.parent_id, "parent_id")
            refs = await find_refs(connection, self._sealer, owner, attachment_ids)
            full = replace(message, created_at=self._clock(), attachments=refs)
            if not await insert_or_nothing(
                connection, messages, **self._rows.values(owner, conversation_id, full)
            ):
                return (await self._rows.load(connection, query))[0], False  # another server was faster
            for ref in refs:
                await connection.execute(
                    insert(message_attachments).values(
                        owner=owner,
                        conversation_id=conversation_id,
                        message_id=full.id,
                        attachment_id=ref.id,
                    )
                )
            await self._append(connection, owner, conversation, full)
            return full, True

        return await self._database.write(work)

    async def delete(self, owner: str, conversation_id: str) -> bool:
        """Remove a conversation, and the pictures that no other one shows; whether it was there."""
        return await self._delete(and_(*_is(owner, conversation_id))) == 1

    async def delete_all(self, owner: str) -> int:
        """Remove all of an owner's conversations and their pictures; how many conversations there were."""
        return await self._delete(conversations.c.owner == owner)

    async def delete_older(self, than: float) -> int:
        """Remove every owner's conversations that were last changed before a time; how many there were."""
        return await self._delete(conversations.c.updated_at < than)

    async def _delete(self, which: Any) -> int:
        async def work(connection: AsyncConnection) -> int:
            shown = await find_shown(connection, which)  # others may be of a message that is being written
            num_deleted = (await connection.execute(delete(conversations).where(which))).rowcount
            for owner, ids in shown.items():
                await drop_unused(connection, owner, ids)
            return int(num_deleted)

        num_deleted = await self._database.write(work)
        if num_deleted:
            await self._database.purge()
        return num_deleted

    async def _append(
        self, connection: AsyncConnection, owner: str, conversation: Conversation, message: StoredMessage
    ) -> None:
        values: dict[str, Any] = {
            "leaf": message.id,
            "updated_at": message.created_at,
            "num_messages": conversations.c.num_messages + 1,
        }
        if not conversation.title and message.text.strip():
            title = _title_of(message.text)
            values["sealed_title"] = self._seal_title(owner, conversation.id, title)
        await connection.execute(update(conversations).where(*_is(owner, conversation.id)).values(values))

    async def _load(
        self, connection: AsyncConnection, owner: str, conversation_id: str
    ) -> Conversation | None:
        row = (await connection.execute(select(conversations).where(*_is(owner, conversation_id)))).mappings()
        found = row.first()
        return None if found is None else self._conversation(found)

    async def _require(
        self, connection: AsyncConnection, owner: str, conversation_id: str, message_id: str, param: str
    ) -> None:
        query = select(messages.c.id).where(
            messages.c.owner == owner,
            messages.c.conversation_id == conversation_id,
            messages.c.id == message_id,
        )
        if await connection.scalar(query) is None:
            raise InputError(f"{param} is {message_id!r}; this conversation has no such message", param=param)

    async def _page(self, owner: str, mark: tuple[float, str] | None, limit: int) -> list[Conversation]:
        table = conversations.c
        query = select(conversations).where(table.owner == owner)
        if mark is not None:
            when, name = mark
            query = query.where(or_(table.updated_at < when, and_(table.updated_at == when, table.id < name)))
        query = query.order_by(table.updated_at.desc(), table.id.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> list[Conversation]:
            return [self._conversation(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work)

    async def _matching(self, owner: str, found: list[Conversation], query: str) -> list[Conversation]:
        """Those with the text in their title or a message. Everything is unsealed, off the event loop."""
        wanted = query.casefold()
        rest = [one.id for one in found if wanted not in one.title.casefold()]

        async def work(connection: AsyncConnection) -> list[Any]:
            return list((await connection.execute(_of(owner, rest))).mappings())

        rows = await self._database.read(work) if rest else []
        hits = await asyncio.to_thread(self._rows.conversations_with, rows, wanted)
        return [one for one in found if one.id in hits or wanted in one.title.casefold()]

    def _conversation(self, row: Any) -> Conversation:
        return Conversation(
            id=row["id"],
            title=self._sealer.unseal_text(
                row["sealed_title"], "conversations", "title", row["owner"], row["id"]
            ),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            num_messages=row["num_messages"],
            leaf=row["leaf"],
            model=row["model"],
        )

    def _seal_title(self, owner: str, conversation_id: str, title: str) -> bytes:
        return self._sealer.seal_text(title, "conversations", "title", owner, conversation_id)


def _is(owner: str, conversation_id: str) -> tuple[Any, Any]:
    return conversations.c.owner == owner, conversations.c.id == conversation_id


def _of(owner: str, conversation_ids: Iterable[str]) -> Select[Any]:
    """The messages of some conversations, oldest first."""
    table = messages.c
    return (
        select(messages)
        .where(table.owner == owner, table.conversation_id.in_(list(conversation_ids)))
        .order_by(table.created_at, table.id)
    )


def _title_of(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CHARACTERS else line[: _TITLE_CHARACTERS - 1].rstrip() + "…"
