"""Requests and results of every task. Requests carry encoded bytes, never arrays or tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from localgpt.tasks.base import EMBEDDED_MODEL_ID, RequestBase
from localgpt.tasks.media import (
    DetectRequest,
    DetectResult,
    ListenRequest,
    ListenResult,
    PaintedImage,
    PaintEffort,
    PaintRequest,
    PaintResult,
    PictureFormat,
    SpeakRequest,
    SpeakResult,
)
from localgpt.tasks.messages import ImagePart, Message, TextPart, ToolCall
from localgpt.tasks.options import FinishReason, SamplingOptions, TokenLogprob, Usage

__all__ = [
    "EMBEDDED_MODEL_ID",
    "AnswerFormat",
    "AskRequest",
    "ChatRequest",
    "ChatResult",
    "CompleteRequest",
    "DescribeRequest",
    "EmbedRequest",
    "EmbedResult",
    "Language",
    "MediaRequest",
    "Painting",
    "Request",
    "Result",
    "Tool",
    "ToolChoice",
    "usage_of",
]

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may ask for. `parameters` is a JSON schema of an object, as JSON text."""

    name: str
    description: str = ""
    parameters: str = '{"type": "object", "properties": {}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether tools are asked for: as the model likes, never, at least one, or the one of that name."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None  # of mode "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """What the answer's text must be. The schema is JSON text; any JSON object where it is left out."""

    kind: Literal["text", "json"] = "text"
    schema: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """How a picture is painted that a model gives for an answer; names are those of `PaintRequest`."""

    model: str | None = None  # None = the embedded painter, else the newest that can
    width: int | None = None
    height: int | None = None
    effort: PaintEffort = "medium"
    format: PictureFormat = "png"
    format_quality: int = 100
    seed: int | None = None
    num_previews: int = 0
    wants_heat_maps: bool = False
    is_wanted: bool = False  # paint what the user said last, whatever the model would answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(RequestBase):
    """Answer a conversation."""

    messages: tuple[Message, ...]
    options: SamplingOptions = field(default_factory=SamplingOptions)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)
    leave_out_turns: bool = True  # the oldest ones, where the context is full; False = such a request fails
    painting: Painting | None = None  # how pictures are painted that are the answer; None = there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRequest(RequestBase):
    """Go on with a text that is no conversation."""

    prompt: str
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
    dimensions: int | None = None  # refused before any work unless it is the size of the model's vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """The answer of chat, describe, ask and complete. `notices` tell what was downgraded or left out."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str
    notices: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of the answer's tokens, where they were asked for
    paints: str | None = None  # the prompt of a picture that is the answer, or comes with it
    images: tuple[PaintedImage, ...] = ()  # painted of that
    painter: str | None = None  # the model that did


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResult:
    """Unit-length vectors, one per input, in input order."""

    embeddings: tuple[tuple[float, ...], ...]
    usage: Usage
    model: str
    notices: tuple[str, ...] = ()


MediaRequest = PaintRequest | ListenRequest | SpeakRequest | DetectRequest
Request = ChatRequest | CompleteRequest | DescribeRequest | AskRequest | EmbedRequest | MediaRequest
Result = ChatResult | EmbedResult | PaintResult | ListenResult | SpeakResult | DetectResult


def usage_of(result: Result) -> Usage:
    """The tokens a result counts; pictures and sound are not made of any."""
    if isinstance(result, ChatResult | EmbedResult):
        return result.usage
    return Usage(prompt_tokens=0, completion_tokens=0)
