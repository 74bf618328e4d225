"""What a conversation is made of: frozen, serialisable, no arrays, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ImagePart", "Message", "Part", "Role", "TextPart", "ToolCall"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A run of text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """One encoded picture, exactly as it arrived (JPEG, PNG, WebP, GIF, HEIC ... bytes)."""

    data: bytes
    media_type: str = "application/octet-stream"


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the assistant asks its caller to run. `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn: who speaks and what is said or shown, in order."""

    role: Role
    content: tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()  # of an assistant turn
    tool_call_id: str | None = None  # of a tool turn: the call it answers

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A message of one text part."""
        return cls(role=role, content=(TextPart(text=text),))
