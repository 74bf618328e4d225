"""What a conversation is made of: frozen, serialisable, no arrays, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ImagePart", "Message", "Part", "Role", "TextPart"]

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
class Message:
    """One turn: who speaks and what is said or shown, in order."""

    role: Role
    content: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A message of one text part."""
        return cls(role=role, content=(TextPart(text=text),))
