"""A conversation as a file for people (Markdown) or programs (JSON)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from localgpt.server.schemas.api import ConversationReply, ConversationWithMessages, MessageReply
from localgpt.server.store.records import Conversation, StoredMessage

__all__ = ["as_json", "as_markdown", "disposition"]

_NAMES = {"user": "You", "assistant": "LocalGPT"}
_UNSAFE = re.compile(r"[^\w\- ]+")


def as_json(conversation: Conversation, messages: Sequence[StoredMessage]) -> str:
    """All branches, in the shape of `GET /api/conversations/{id}`."""
    reply = ConversationWithMessages(
        **ConversationReply.of(conversation).model_dump(),
        messages=[MessageReply.of(message) for message in messages],
    )
    return json.dumps(reply.model_dump(), ensure_ascii=False, indent=2) + "\n"


def as_markdown(conversation: Conversation, branch: Sequence[StoredMessage]) -> str:
    """The messages of one branch under headings; pictures by their names."""
    began = datetime.fromtimestamp(conversation.created_at, UTC)
    lines = [f"# {_one_line(conversation.title) or 'Conversation'}", "", f"{began:%Y-%m-%d %H:%M} UTC", ""]
    for message in branch:
        lines += [f"## {_NAMES[message.role]}", ""]
        lines += [f"*Picture: {_one_line(ref.name or ref.media_type)}*\n" for ref in message.attachments]
        if message.text:
            lines += [message.text.rstrip(), ""]
        if message.error is not None:
            lines += [f"*Error: {_one_line(message.error)}*", ""]
    return "\n".join(lines)


def disposition(conversation: Conversation, suffix: str) -> dict[str, str]:
    """The header that names the file after the title, in ASCII and in full (RFC 6266)."""
    name = _UNSAFE.sub("", _one_line(conversation.title)).strip()[:60] or "conversation"
    plain = name.encode("ascii", "ignore").decode().strip() or "conversation"
    return {
        "content-disposition": f'attachment; filename="{plain}.{suffix}"; '
        f"filename*=UTF-8''{quote(f'{name}.{suffix}')}",
        "cache-control": "private, no-store",
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())
