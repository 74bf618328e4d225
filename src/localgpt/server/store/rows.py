"""Messages as rows and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.server.store.records import AttachmentRef, StoredMessage, StoredPicture, StoredUsage
from localgpt.server.store.sealing import Sealer

__all__ = ["MessageRows"]


class MessageRows:
    """Closes what is private in a message, and opens it again.

    Args:
        sealer: closes values.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def values(self, owner: str, conversation_id: str, message: StoredMessage) -> dict[str, Any]:
        """The columns of a message."""
        content: dict[str, Any] = {
            "text": message.text,
            "attachments": [[ref.id, ref.media_type, ref.num_bytes, ref.name] for ref in message.attachments],
            "notices": message.notices,
            "error": message.error,
        }
        if message.pictures:
            content["pictures"] = [asdict(picture) for picture in message.pictures]
        place = _place(owner, conversation_id, message.id)
        return {
            "owner": owner,
            "conversation_id": conversation_id,
            "id": message.id,
            "parent_id": message.parent_id,
            "role": message.role,
            "sealed_content": self._sealer.seal_text(json.dumps(content, ensure_ascii=False), *place),
            "finish_reason": message.finish_reason,
            "model": message.model,
            "prompt_tokens": message.usage.prompt_tokens if message.usage else None,
            "completion_tokens": message.usage.completion_tokens if message.usage else None,
            "created_at": message.created_at,
        }

    async def load(self, connection: AsyncConnection, query: Select[Any]) -> list[StoredMessage]:
        """The messages that a query finds."""
        return [self.message(row) for row in (await connection.execute(query)).mappings()]

    def message(self, row: Any) -> StoredMessage:
        """The message of a row."""
        content = self._content(row)
        has_usage = row["prompt_tokens"] is not None
        return StoredMessage(
            id=row["id"],
            parent_id=row["parent_id"],
            role=row["role"],
            text=content["text"],
            attachments=tuple(
                AttachmentRef(id=name, media_type=media_type, num_bytes=num_bytes, name=shown)
                for name, media_type, num_bytes, shown in content["attachments"]
            ),
            notices=tuple(content["notices"]),
            finish_reason=row["finish_reason"],
            error=content["error"],
            model=row["model"],
            usage=StoredUsage(prompt_tokens=row["prompt_tokens"], completion_tokens=row["completion_tokens"])
            if has_usage
            else None,
            pictures=tuple(_picture(values) for values in content.get("pictures", ())),
            created_at=row["created_at"],
        )

    def conversations_with(self, rows: Iterable[Any], wanted: str) -> set[str]:
        """Ids of the conversations that hold a casefolded text in one of these messages."""
        hits: set[str] = set()
        for row in rows:
            if row["conversation_id"] not in hits and wanted in self._content(row)["text"].casefold():
                hits.add(row["conversation_id"])
        return hits

    def _content(self, row: Any) -> dict[str, Any]:
        place = _place(row["owner"], row["conversation_id"], row["id"])
        content: dict[str, Any] = json.loads(self._sealer.unseal(row["sealed_content"], *place))
        return content


def _picture(values: dict[str, Any]) -> StoredPicture:
    maps = tuple((word, attachment_id) for word, attachment_id in values["heat_maps"])
    return StoredPicture(**{**values, "heat_maps": maps})


def _place(owner: str, conversation_id: str, message_id: str) -> tuple[str, ...]:
    return ("messages", "content", owner, conversation_id, message_id)
