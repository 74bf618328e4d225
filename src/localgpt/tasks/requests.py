"""Requests and results of every task. Requests carry encoded bytes, never arrays or tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from localgpt.tasks.messages import ImagePart, Message, TextPart
from localgpt.tasks.options import FinishReason, SamplingOptions, Usage

__all__ = [
    "EMBEDDED_MODEL_ID",
    "AskRequest",
    "ChatRequest",
    "ChatResult",
    "DescribeRequest",
    "EmbedRequest",
    "EmbedResult",
    "Language",
    "Request",
    "Result",
]

EMBEDDED_MODEL_ID = "local/multimodal-base"
Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBase:
    """Fields every request carries."""

    id: str
    owner: str = "local"
    model: str = EMBEDDED_MODEL_ID
    deadline_s: float | None = None  # seconds from submission; None = no deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(RequestBase):
    """Answer a conversation."""

    messages: tuple[Message, ...]
    options: SamplingOptions = field(default_factory=SamplingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeRequest(RequestBase):
    """Describe one picture in the given language."""

    image: ImagePart
    language: Language = "en"
    options: SamplingOptions = field(default_factory=lambda: SamplingOptions(temperature=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest(RequestBase):
    """Answer one question about one picture."""

    image: ImagePart
    question: str
    options: SamplingOptions = field(default_factory=lambda: SamplingOptions(temperature=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest(RequestBase):
    """Embed texts and pictures into the encoder's joint space."""

    inputs: tuple[TextPart | ImagePart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """The answer of chat, describe and ask. `notices` tell what was downgraded or left out."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResult:
    """Unit-length vectors, one per input, in input order."""

    embeddings: tuple[tuple[float, ...], ...]
    usage: Usage
    model: str


Request = ChatRequest | DescribeRequest | AskRequest | EmbedRequest
Result = ChatResult | EmbedResult
