"""The bodies of the page's own routes, under `/api`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgpt.server.schemas.common import Body, Reply
from localgpt.server.schemas.gallery import PaintBody, PaintedRef
from localgpt.server.store.records import (
    AttachmentRef,
    Conversation,
    KeyEntry,
    Limits,
    Preferences,
    StoredMessage,
)

__all__ = [
    "ID_PATTERN",
    "AnswerBody",
    "AttachmentReply",
    "ConversationBody",
    "ConversationChange",
    "ConversationReply",
    "ConversationWithMessages",
    "ConversationsReply",
    "DataReply",
    "DeletedDataReply",
    "DeletedReply",
    "Id",
    "KeyBody",
    "KeyReply",
    "KeysReply",
    "LimitsBody",
    "LimitsReply",
    "MessageBody",
    "MessageReply",
    "NewKeyReply",
    "PreferencesBody",
    "PreferencesReply",
    "SessionReply",
    "SignInBody",
    "UsageCounts",
]

MAX_TEXT_CHARACTERS = 1_000_000
MAX_ATTACHMENTS = 16
_INT32_MAX = 2**31 - 1
_INT64 = 2**63

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
Id = Annotated[str, Field(pattern=ID_PATTERN)]
Title = Annotated[str, Field(max_length=200)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
_Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
_TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_MaxTokens = Annotated[int, Field(ge=1, le=_INT32_MAX)]
_Limit = Annotated[int, Field(ge=1, le=_INT32_MAX)]


class SignInBody(Body):
    """A key to sign this browser in with."""

    key: Annotated[str, Field(min_length=1, max_length=512)]


class SessionReply(Reply):
    """Who asks, and what this server wants of them."""

    needs_key: bool
    signed_in: bool
    name: str | None
    role: Literal["admin", "user"] | None
    encrypted: bool
    version: str
    voice: bool  # false: the operator switched it off


class ConversationBody(Body):
    """A conversation to begin; without an id the server chooses one."""

    id: Id | None = None
    title: Title = ""
    model: ModelName | None = None


class ConversationChange(Body):
    """A new title, the last message of the branch to show, or the model that answers from now on."""

    title: Title | None = None
    leaf: Id | None = None
    model: ModelName | None = None


class ConversationReply(Reply):
    """A conversation without its messages. Times are seconds since the epoch."""

    id: str
    title: str
    created_at: float
    updated_at: float
    num_messages: int
    leaf: str | None
    model: str | None  # null: as the owner's settings say

    @classmethod
    def of(cls, conversation: Conversation) -> ConversationReply:
        """The reply for a stored conversation."""
        return cls(
            id=conversation.id,
            title=conversation.title,
            created_at=conversation.created_at,
            updated_at=conversation.updated_at,
            num_messages=conversation.num_messages,
            leaf=conversation.leaf,
            model=conversation.model,
        )


class ConversationsReply(Reply):
    """Some conversations, the last changed first, and the cursor of those after them."""

    data: list[ConversationReply]
    next: str | None


class DeletedReply(Reply):
    """How many were removed."""

    deleted: int


class MessageBody(Body):
    """What a user says and shows, as a child of another message or as the first one.

    `role` is `assistant` only where a conversation kept elsewhere is brought along with its answers.
    """

    id: Id
    role: Literal["user", "assistant"] = "user"
    parent_id: Id | None
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
    attachments: Annotated[list[Id], Field(max_length=MAX_ATTACHMENTS, fail_fast=True, default_factory=list)]


class AttachmentReply(Reply):
    """A stored picture; `GET /api/attachments/{id}` has its bytes."""

    id: str
    media_type: str
    bytes: int
    name: str | None

    @classmethod
    def of(cls, ref: AttachmentRef) -> AttachmentReply:
        """The reply for a stored attachment."""
        return cls(id=ref.id, media_type=ref.media_type, bytes=ref.num_bytes, name=ref.name)


class UsageCounts(Reply):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


class MessageReply(Reply):
    """A stored message; `pictures` are those of its attachments that the model painted."""

    id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    text: str
    attachments: list[AttachmentReply]
    notices: list[str]
    finish_reason: str | None
    error: str | None
    model: str | None
    usage: UsageCounts | None
    pictures: list[PaintedRef]
    created_at: float

    @classmethod
    def of(cls, message: StoredMessage) -> MessageReply:
        """The reply for a stored message."""
        usage = message.usage
        return cls(
            id=message.id,
            parent_id=message.parent_id,
            role=message.role,
            text=message.text,
            attachments=[AttachmentReply.of(ref) for ref in message.attachments],
            notices=list(message.notices),
            finish_reason=message.finish_reason,
            error=message.error,
            model=message.model,
            usage=None
            if usage is None
            else UsageCounts(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens),
            pictures=[PaintedRef.of(picture) for picture in message.pictures],
            created_at=message.created_at,
        )


class ConversationWithMessages(ConversationReply):
    """A conversation with all its messages, oldest first; they form a tree by `parent_id`."""

    messages: list[MessageReply]


class AnswerBody(Body):
    """An answer to make, and the id to keep it under.

    What is left out comes from the owner's settings, `model` from the conversation first.
    """

    parent_id: Id
    id: Id
    stream: Literal[True] = True
    temperature: _Temperature | None = None
    top_p: _TopP | None = None
    max_tokens: _MaxTokens | None = None
    seed: Annotated[int, Field(ge=-_INT64, le=_INT64 - 1)] | None = None
    model: Annotated[str, Field(max_length=256)] | None = None
    paint: PaintBody | None = None  # None: as the painter does by itself


class PreferencesBody(Body):
    """Settings to choose anew; what is left out stays."""

    language: Literal["en", "zh"] | None = None
    theme: Literal["light", "dark"] | None = None
    system_prompt: Annotated[str, Field(max_length=20_000)] = ""
    temperature: _Temperature | None = None
    max_tokens: _MaxTokens | None = None
    show_tour: bool = True
    model: ModelName | None = None


class PreferencesReply(Reply):
    """The owner's settings; null leaves the choice to the page or the model."""

    language: Literal["en", "zh"] | None
    theme: Literal["light", "dark"] | None
    system_prompt: str
    temperature: float | None
    max_tokens: int | None
    show_tour: bool
    model: str | None

    @classmethod
    def of(cls, chosen: Preferences) -> PreferencesReply:
        """The reply for stored settings."""
        return cls(
            language=chosen.language,
            theme=chosen.theme,
            system_prompt=chosen.system_prompt,
            temperature=chosen.temperature,
            max_tokens=chosen.max_tokens,
            show_tour=chosen.show_tour,
            model=chosen.model,
        )


class LimitsBody(Body):
    """What one key may ask for; null is no limit."""

    requests_per_minute: _Limit | None = None
    max_parallel: _Limit | None = None


class KeyBody(Body):
    """A key to make."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
    role: Literal["admin", "user"]
    limits: LimitsBody | None = None
    take_over: bool = False  # while no key is needed: go on with what is there, though it had an admin before


class LimitsReply(Reply):
    """What one key may ask for; null is no limit."""

    requests_per_minute: int | None
    max_parallel: int | None

    @classmethod
    def of(cls, limits: Limits) -> LimitsReply:
        """The reply for stored limits."""
        return cls(requests_per_minute=limits.requests_per_minute, max_parallel=limits.max_parallel)


class KeyReply(Reply):
    """A key without the key."""

    id: str
    name: str
    role: Literal["admin", "user"]
    created_at: float
    last_used_at: float | None
    limits: LimitsReply

    @classmethod
    def of(cls, entry: KeyEntry) -> KeyReply:
        """The reply for a stored key."""
        return KeyReply(
            id=entry.id,
            name=entry.name,
            role=entry.role,
            created_at=entry.created_at,
            last_used_at=entry.last_used_at,
            limits=LimitsReply.of(entry.limits),
        )


class NewKeyReply(KeyReply):
    """A new key; `key` is shown this once and stored nowhere."""

    key: str


class KeysReply(Reply):
    """All keys, oldest first."""

    data: list[KeyReply]


class DataReply(Reply):
    """How much of the caller's is kept, and where."""

    conversations: int
    messages: int
    attachments: int
    responses: int
    bytes: int
    encrypted: bool
    retention_days: int | None
    folder: str | None  # told to admins alone


class DeletedDataReply(Reply):
    """How much was removed."""

    conversations: int
    messages: int
    attachments: int
    responses: int
