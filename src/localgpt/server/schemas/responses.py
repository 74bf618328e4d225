"""`POST /v1/responses`: every documented parameter is here, and is honoured or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, Incoming, entries, refused
from localgpt.server.schemas.formats import JsonObjectFormat, TextFormat
from localgpt.server.schemas.response_items import InputItem
from localgpt.server.schemas.tags import type_tag
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = [
    "LOGPROBS",
    "AllowedFunctions",
    "FunctionChoice",
    "FunctionTool",
    "Include",
    "ItemsQuery",
    "JsonSchemaFormat",
    "Metadata",
    "PaintChoice",
    "PaintTool",
    "ReasoningOptions",
    "ResponseStreamOptions",
    "ResponsesBody",
    "RetrieveQuery",
    "TextOptions",
]

_INT64 = 2**63
LOGPROBS: Final = "message.output_text.logprobs"
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
"""What may be asked for beside the answer. Logprobs are given when asked for and pictures always; the
others speak of items that no answer of this server holds."""

_Includes = Annotated[list[Include], Field(max_length=64, fail_fast=True)]

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
    entries(16),
]


def _choice_tag(value: Any) -> str | None:
    return "tag:string" if isinstance(value, str) else type_tag(value)


def _input_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    return "tag:items" if isinstance(value, list) else None


class FunctionTool(Body):
    """A function that the caller runs."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: Annotated[list[Literal["direct"]], Field(max_length=16, fail_fast=True)] | None = (
        None  # there is no program that could call functions
    )
    async_: Annotated[Literal[False] | None, Field(alias="async")] = None  # every call is waited for
    defer_loading: Literal[False] | None = None  # there is no tool search that could load it later
    output_schema: Annotated[None, refused("outputs are read as they are; describe them in words")] = None


class PaintTool(Body):
    """Pictures as answers. What is left out is as `/v1/images/generations` has it."""

    type: Literal["image_generation"]
    action: Literal["auto", "generate"] | None = None
    model: str | None = None
    size: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")] | None = None
    quality: Literal["auto", "low", "medium", "high"] | None = None
    background: Literal["auto", "opaque"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    moderation: Literal["auto"] | None = None
    input_fidelity: Literal["low"] | None = None  # of pictures to paint over, of which there are none here
    input_image_mask: Annotated[None, refused("pictures are painted over by /v1/images/edits")] = None
    complexity: Annotated[None, refused("nothing plans a picture before it is painted")] = None
    frame_count: Annotated[None, refused("pictures do not move here")] = None
    frame_duration_ms: Annotated[None, refused("pictures do not move here")] = None
    svg: Annotated[None, refused("pictures are pixels here")] = None


class PaintChoice(Body):
    """Paint what the user said, whatever the model would answer."""

    type: Literal["image_generation"]


class FunctionChoice(Body):
    """The one function that must be asked for."""

    type: Literal["function"]
    name: str


class AllowedFunctions(Body):
    """The tools that may be asked for, out of those that the model is told of."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice], Field(min_length=1, max_length=128, fail_fast=True)]


class JsonSchemaFormat(Body):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    name: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextOptions(Body):
    """The form of the answer's text."""

    format: (
        Annotated[
            Annotated[TextFormat, Tag("tag:text")]
            | Annotated[JsonObjectFormat, Tag("tag:json_object")]
            | Annotated[JsonSchemaFormat, Tag("tag:json_schema")],
            Discriminator(
                type_tag,
                custom_error_type="text_format",
                custom_error_message="expected an object whose type is text, json_object or json_schema",
            ),
        ]
        | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Body):
    """How long to think before the answer. This model does not: only what asks for nothing is accepted."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class ResponseStreamOptions(Body):
    """What a stream carries beside its events."""

    include_obfuscation: bool | None = None


_Tool = Annotated[
    Annotated[FunctionTool, Tag("tag:function")] | Annotated[PaintTool, Tag("tag:image_generation")],
    Discriminator(
        type_tag,
        custom_error_type="tool",
        custom_error_message="only tools of type function and image_generation are supported; this server "
        "runs no others of its own (web search, file search, code, MCP ...)",
    ),
]
_ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("tag:string")]
    | Annotated[FunctionChoice, Tag("tag:function")]
    | Annotated[PaintChoice, Tag("tag:image_generation")]
    | Annotated[AllowedFunctions, Tag("tag:allowed_tools")],
    Discriminator(
        _choice_tag,
        custom_error_type="tool_choice",
        custom_error_message="expected none, auto, required, or an object whose type is function, "
        "image_generation or allowed_tools",
    ),
]
_Input = Annotated[
    Annotated[str, Tag("tag:string")]
    | Annotated[list[InputItem], Field(min_length=1, max_length=2048, fail_fast=True), Tag("tag:items")],
    Discriminator(
        _input_tag,
        custom_error_type="input",
        custom_error_message="expected a string or a list of input items",
    ),
]


class ResponsesBody(Body):
    """A request for a response.

    Fields of the second half are known to the wire and not to the model: what asks for nothing is accepted,
    anything else is refused with the field's name (see `responses.refusals`).
    """

    input: _Input
    model: str = EMBEDDED_MODEL_ID
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-_INT64, le=_INT64 - 1)] | None = None  # extension, as in chat
    max_output_tokens: Annotated[int, Field(ge=1, le=_INT64 - 1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: _Includes | None = None
    text: TextOptions | None = None
    tools: Annotated[list[_Tool], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Field(ge=1, le=_INT64 - 1)] | None = None  # of built-in tools: none here
    truncation: Literal["auto", "disabled"] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    user: str | None = None  # this and the next two are labels: they name nobody here, and are sent back
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    reasoning: ReasoningOptions | None = None
    service_tier: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    moderation: Any = None
    background: bool | None = None
    background_options: Any = None
    conversation: Any = None
    prompt: Any = None
    context_management: Annotated[list[Any], Field(max_length=128)] | None = None
    access_programs: Any = None
    image: dict[str, Any] | None = None


class RetrieveQuery(Incoming):
    """What may be asked of a kept response; nothing of it changes what was kept."""

    include: _Includes | None = None
    include_brackets: Annotated[_Includes | None, Field(alias="include[]")] = None  # the official spelling
    stream: bool | None = None
    starting_after: int | None = None
    include_obfuscation: bool | None = None


class ItemsQuery(Incoming):
    """Which page of the input's items."""

    include: _Includes | None = None
    include_brackets: Annotated[_Includes | None, Field(alias="include[]")] = None
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
