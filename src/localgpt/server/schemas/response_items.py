"""What goes into `POST /v1/responses`: messages with their parts, tool calls and their outputs.

The tags of the unions begin with `tag:`, see `parts`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, refused
from localgpt.server.schemas.parts import InputAudio
from localgpt.server.schemas.tags import content_tag, type_tag, value_of

__all__ = [
    "AssistantMessage",
    "FunctionCall",
    "FunctionCallOutput",
    "HeardPart",
    "InputImagePart",
    "InputItem",
    "InputMessage",
    "InputTextPart",
    "ItemReference",
    "OutputTextPart",
    "PaintedItem",
    "ReasoningItem",
    "RefusalPart",
]

_Status = Literal["in_progress", "completed", "incomplete"]
_Phase = Literal["commentary", "final_answer"]
_MAX_PARTS = 2048
_MAX_LOGPROBS = 131_072  # one for each token that another model wrote
_PARTS = Field(min_length=1, max_length=_MAX_PARTS, fail_fast=True)
_NO_CACHE = refused("what is cached cannot be chosen by requests")
_NO_PROGRAM = refused("functions are asked for by the model alone, never by a program")
_NO_NAMESPACE = refused("functions have no namespaces here")


class InputTextPart(Body):
    """A run of text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Annotated[None, _NO_CACHE] = None


class InputImagePart(Body):
    """A picture inside the request: a `data:` URL. Nothing is ever fetched from the network."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: Annotated[None, refused("this server keeps no files; send the picture in image_url")] = None
    prompt_cache_breakpoint: Annotated[None, _NO_CACHE] = None


class HeardPart(Body):
    """A recording inside the request: written down, read and kept as text."""

    type: Literal["input_audio"]
    input_audio: InputAudio
    prompt_cache_breakpoint: Annotated[None, _NO_CACHE] = None


class OutputTextPart(Body):
    """What the assistant said earlier; only its text is read again."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=_MAX_PARTS)] | None = None
    logprobs: Annotated[list[Any], Field(max_length=_MAX_LOGPROBS)] | None = None


class RefusalPart(Body):
    """What the assistant refused earlier, in its own words."""

    type: Literal["refusal"]
    refusal: str


def _item_tag(value: Any) -> str | None:
    kind, role = value_of(value, "type"), value_of(value, "role")
    if kind is None and role is None and value_of(value, "id") is not None:
        return "tag:item_reference"
    if kind in (None, "message"):
        return "tag:assistant" if role == "assistant" else "tag:message"
    return f"tag:{kind}" if isinstance(kind, str) else None


_CONTENT_ERROR: dict[str, Any] = {
    "custom_error_type": "content",
    "custom_error_message": "expected a string or a list of content parts",
}
_InputPart = Annotated[
    Annotated[InputTextPart, Tag("tag:input_text")]
    | Annotated[InputImagePart, Tag("tag:input_image")]
    | Annotated[HeardPart, Tag("tag:input_audio")],
    Discriminator(
        type_tag,
        custom_error_type="content_part",
        custom_error_message="this content part is not supported; expected an object whose type is "
        "input_text, input_image or input_audio",
    ),
]
_InputContent = Annotated[
    Annotated[str, Tag("tag:string")] | Annotated[list[_InputPart], _PARTS, Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]
_OutputPart = Annotated[
    Annotated[OutputTextPart, Tag("tag:output_text")] | Annotated[RefusalPart, Tag("tag:refusal")],
    Discriminator(
        type_tag,
        custom_error_type="content_part",
        custom_error_message="this content part is not supported in what the assistant said; expected an "
        "object whose type is output_text or refusal",
    ),
]
_OutputContent = Annotated[
    Annotated[str, Tag("tag:string")]
    | Annotated[list[_OutputPart], Field(max_length=_MAX_PARTS, fail_fast=True), Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]
_ToolPart = Annotated[
    Annotated[InputTextPart, Tag("tag:input_text")],
    Discriminator(
        type_tag,
        custom_error_type="content_part",
        custom_error_message="this content part is not supported in a function's output; expected an object "
        "whose type is input_text",
    ),
]
_ToolContent = Annotated[
    Annotated[str, Tag("tag:string")] | Annotated[list[_ToolPart], _PARTS, Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]


class InputMessage(Body):
    """What the user says and shows, or how the assistant should behave."""

    type: Literal["message"] | None = None
    role: Literal["user", "system", "developer"]
    content: _InputContent
    id: str | None = None
    status: _Status | None = None
    phase: _Phase | None = None


class AssistantMessage(Body):
    """What the assistant answered earlier."""

    type: Literal["message"] | None = None
    role: Literal["assistant"]
    content: _OutputContent
    id: str | None = None
    status: _Status | None = None
    phase: _Phase | None = None


class FunctionCall(Body):
    """A function the assistant asked for earlier."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: _Status | None = None
    caller: Annotated[None, _NO_PROGRAM] = None
    namespace: Annotated[None, _NO_NAMESPACE] = None


class FunctionCallOutput(Body):
    """What that function gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: _ToolContent
    id: str | None = None
    status: _Status | None = None
    caller: Annotated[None, _NO_PROGRAM] = None
    name: str | None = None
    namespace: Annotated[None, _NO_NAMESPACE] = None


class ReasoningItem(Body):
    """Another model's thoughts: skipped with a notice, since this model neither writes nor reads them."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["reasoning"]


class PaintedItem(Body):
    """A picture that was painted earlier: skipped with a notice, since models here read none of their own."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["image_generation_call"]


class ItemReference(Body):
    """An item of a kept response, by its id."""

    type: Literal["item_reference"] | None = None
    id: str


InputItem = Annotated[
    Annotated[InputMessage, Tag("tag:message")]
    | Annotated[AssistantMessage, Tag("tag:assistant")]
    | Annotated[FunctionCall, Tag("tag:function_call")]
    | Annotated[FunctionCallOutput, Tag("tag:function_call_output")]
    | Annotated[ReasoningItem, Tag("tag:reasoning")]
    | Annotated[PaintedItem, Tag("tag:image_generation_call")]
    | Annotated[ItemReference, Tag("tag:item_reference")],
    Discriminator(
        _item_tag,
        custom_error_type="input_item",
        custom_error_message="this input item is not supported; expected an object whose type is message, "
        "function_call, function_call_output, reasoning, image_generation_call or item_reference",
    ),
]
