"""What the store keeps, as its callers see it: plain, frozen, decrypted."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from localgpt.server.turns import Limits

__all__ = [
    "LOCAL_OWNER",
    "Attachment",
    "AttachmentRef",
    "Conversation",
    "ConversationPage",
    "DataSummary",
    "KeepAdmin",
    "KeyEntry",
    "Limits",
    "MessageRole",
    "Preferences",
    "Role",
    "ShownPicture",
    "StoredMessage",
    "StoredPicture",
    "StoredUsage",
    "new_key",
]

LOCAL_OWNER = "local"  # whoever asks while there is no key
Role = Literal["admin", "user"]
KeepAdmin = Literal["never", "for_others", "always"]
"""When the last admin's key is kept: never, while there are other keys, or even if it is the only one."""
MessageRole = Literal["user", "assistant"]


def new_key() -> str:
    """A random API key."""
    return f"sk-{secrets.token_urlsafe(32)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A key without the key. Times are seconds since the epoch."""

    id: str
    owner: str  # whose conversations it opens
    name: str
    role: Role
    created_at: float
    last_used_at: float | None = None  # to the minute
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentRef:
    """An attachment as a message names it."""

    id: str
    media_type: str
    num_bytes: int
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment(AttachmentRef):
    """An attachment with its content."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPicture:
    """A picture that was painted as an answer, or in it. Ids are of the message's attachments."""

    id: str
    prompt: str
    model: str
    seed: int
    width: int
    height: int
    heat_maps: tuple[tuple[str, str], ...] = ()  # word and id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUsage:
    """Tokens read and written for an answer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """One message of a conversation's tree; siblings share their `parent_id` and are branches."""

    id: str
    parent_id: str | None
    role: MessageRole
    text: str
    attachments: tuple[AttachmentRef, ...] = ()
    notices: tuple[str, ...] = ()
    finish_reason: str | None = None  # of an answer: stop, length, cancelled or error
    error: str | None = None
    model: str | None = None
    usage: StoredUsage | None = None
    pictures: tuple[StoredPicture, ...] = ()  # that the model painted
    created_at: float = 0.0  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPicture:
    """A painted picture, and the message it is in."""

    picture: StoredPicture
    conversation_id: str
    message_id: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation without its messages. `leaf` is the last message of the branch that is shown.

    `model` is the one that was chosen to answer it; None leaves that to the owner's settings.
    """

    id: str
    title: str
    created_at: float
    updated_at: float
    num_messages: int = 0
    leaf: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPage:
    """Some conversations, and the cursor of those after them; None at the end."""

    conversations: tuple[Conversation, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What an owner chose; None leaves the choice to the page or the model."""

    language: Literal["en", "zh"] | None = None
    theme: Literal["light", "dark"] | None = None
    system_prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    show_tour: bool = True
    model: str | None = None  # of conversations that name none


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """How much of an owner's is kept."""

    num_conversations: int
    num_messages: int
    num_attachments: int
    num_responses: int  # that programs asked to keep
    num_bytes: int  # of all these, sealed


def branch_of(messages: Iterable[StoredMessage], leaf: str | None) -> list[StoredMessage]:
    """The messages of a tree from the first one to `leaf`; none when there is no such message."""
    by_id = {message.id: message for message in messages}
    path: list[StoredMessage] = []
    current = None if leaf is None else by_id.get(leaf)
    while current is not None:
        path.append(current)
        # A parent is always stored first, so the walk cannot go in a circle.
        current = by_id.get(current.parent_id) if current.parent_id is not None else None
    return path[::-1]
