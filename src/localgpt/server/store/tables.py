"""The tables. Columns named `sealed_*` hold values closed by `sealing`; everything else is in the clear.

Rows belong to an owner, and every key begins with it, so that one owner's ids say nothing about another's.
Changing this means a new file in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

__all__ = [
    "attachments",
    "conversations",
    "keys",
    "message_attachments",
    "messages",
    "meta",
    "metadata",
    "preferences",
    "responses",
    "sessions",
]

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("requests_per_minute", Integer),
    Column("max_parallel", Integer),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("account", Text, nullable=False),  # a key's id, or a mark of a key in the settings
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("sealed_title", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("num_messages", Integer, nullable=False),
    Column("leaf", Text),
    Column("model", Text),
    Index("ix_conversations_newest", "owner", "updated_at", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("parent_id", Text),
    Column("role", Text, nullable=False),
    Column("sealed_content", LargeBinary, nullable=False),  # text, attachments' names, notices, error
    Column("finish_reason", Text),
    Column("model", Text),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("created_at", Double, nullable=False),
    ForeignKeyConstraint(
        ["owner", "conversation_id"],
        ["conversations.owner", "conversations.id"],
        name="fk_messages_conversation",
        ondelete="CASCADE",
    ),
)

attachments = Table(
    "attachments",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),  # keyed hash of the content
    Column("media_type", Text, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("sealed_data", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
)

message_attachments = Table(
    "message_attachments",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("attachment_id", Text, primary_key=True),
    ForeignKeyConstraint(
        ["owner", "conversation_id", "message_id"],
        ["messages.owner", "messages.conversation_id", "messages.id"],
        name="fk_message_attachments_message",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["owner", "attachment_id"],
        ["attachments.owner", "attachments.id"],
        name="fk_message_attachments_attachment",
    ),
    Index("ix_message_attachments_attachment", "owner", "attachment_id"),
)

preferences = Table(
    "preferences",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("sealed_value", LargeBinary, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("sealed_payload", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_responses_created_at", "created_at"),
)
