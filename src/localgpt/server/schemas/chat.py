"""`POST /v1/chat/completions`: every documented parameter is here, and is honoured or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from localgpt.server.schemas.common import Body, Extension, Reply, UsageReply, entries
from localgpt.server.schemas.formats import ResponseFormatField
from localgpt.server.schemas.images import HeatMapReply
from localgpt.server.schemas.parts import ChatTurn
from localgpt.server.schemas.sampling import SamplingBody, TokenCount
from localgpt.server.schemas.tools import FunctionCallChoice, LegacyFunction, ToolChoiceField, ToolField
from localgpt.tasks import StageName

__all__ = [
    "ChatBody",
    "ChatChoice",
    "ChatChunk",
    "ChatReply",
    "ChoiceLogprobs",
    "ChunkChoice",
    "ChunkDelta",
    "ChunkExtension",
    "FunctionCallReply",
    "LikelyToken",
    "PaintedPicture",
    "PicturePart",
    "PictureUrl",
    "PreviewReply",
    "ProgressReply",
    "ReplyMessage",
    "TokenLogprobReply",
    "ToolCallChunk",
    "ToolCallReply",
]

_Label = Annotated[str, Field(max_length=64)]
_LabelText = Annotated[str, Field(max_length=512)]


class TemplateOptions(Body):
    """What llama.cpp's clients tell the chat template: not to think, which this model does not."""

    enable_thinking: Literal[False] | None = None


class ChatBody(SamplingBody):
    """A chat request.

    Fields of the last part are known to the wire and not to the model: their neutral values are accepted,
    any other value is refused with the field's name (`NEUTRAL` in `neutral.py`).
    """

    messages: Annotated[list[ChatTurn], Field(min_length=1, max_length=2048, fail_fast=True)]
    max_output_tokens: TokenCount | None = None  # extension: what llama.cpp's clients call max_tokens
    repeat_penalty: Annotated[float, Field(ge=1, le=2, allow_inf_nan=False)] | None = None  # and repetition_
    chat_template_kwargs: TemplateOptions | None = None  # extension; only what asks for nothing
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormatField | None = None
    tools: Annotated[list[ToolField], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[LegacyFunction], Field(max_length=128, fail_fast=True)] | None = None
    function_call: FunctionCallChoice | None = None
    metadata: Annotated[dict[_Label, _LabelText], Field(max_length=16), entries(16)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    safety_identifier: str | None = None  # like `user`: a label for abuse reports, which never leave here
    prompt_cache_key: str | None = None  # a hint for routing between machines; there is one

    modalities: Annotated[list[str], Field(max_length=16, fail_fast=True)] | None = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    store: bool | None = None
    web_search_options: Any = None
    moderation: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None


class FunctionCallReply(Reply):
    """The function asked for, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallReply(Reply):
    """One call the caller is asked to make."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCallReply


class PictureUrl(Reply):
    """A picture as a data URL."""

    url: str


class PaintedPicture(Reply):
    """What this server tells of a picture in an answer."""

    prompt: str
    model: str
    seed: int
    width: int
    height: int
    heat_maps: list[HeatMapReply]


class PicturePart(Reply):
    """A picture in an answer, in the form that others who paint in chats use."""

    type: Literal["image_url"] = "image_url"
    index: int
    image_url: PictureUrl
    localgpt: PaintedPicture


class ReplyMessage(Reply):
    """The answer; `images`, `tool_calls` and the legacy `function_call` are there where there are some."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    images: list[PicturePart] | None = None
    tool_calls: list[ToolCallReply] | None = None
    function_call: FunctionCallReply | None = None


class LikelyToken(Reply):
    """A token, its bytes (one character may be spread over several tokens) and its log probability."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprobReply(LikelyToken):
    """A token of the answer and the likeliest alternatives."""

    top_logprobs: list[LikelyToken]


class ChoiceLogprobs(Reply):
    """Log probabilities of the answer's tokens; this model has no separate refusals."""

    content: list[TokenLogprobReply]
    refusal: None = None


WireFinish = Literal["stop", "length", "tool_calls", "function_call"]


class ChatChoice(Reply):
    """One answer and why it ended."""

    index: int = 0
    message: ReplyMessage
    finish_reason: WireFinish
    logprobs: ChoiceLogprobs | None = None


class ChatReply(Reply):
    """The whole answer; `service_tier` and `metadata` are there when the request has them."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int  # seconds since the epoch
    model: str  # the model that answered, whatever alias was asked for
    choices: list[ChatChoice]
    usage: UsageReply
    system_fingerprint: str
    service_tier: Literal["default"] | None = None
    metadata: dict[str, str] | None = None
    localgpt: Extension = Extension()


class FunctionCallChunk(Reply):
    """The next piece of a function's name or arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallChunk(Reply):
    """The next piece of the call of that index; `id`, `type` and the name come with its first piece."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallChunk


class ChunkDelta(Reply):
    """What this chunk adds; a field that adds nothing is left out."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    images: list[PicturePart] | None = None
    tool_calls: list[ToolCallChunk] | None = None
    function_call: FunctionCallChunk | None = None


class ChunkChoice(Reply):
    """One piece of the answer."""

    index: int = 0
    delta: ChunkDelta
    finish_reason: WireFinish | None = None
    logprobs: ChoiceLogprobs | None = None


class PreviewReply(Reply):
    """A picture on its way, as a data URL."""

    stage: StageName
    index: int
    url: str
    width: int
    height: int


class ProgressReply(Reply):
    """How far a picture is, in steps; `total` is null where that is not known."""

    done: float
    total: float | None


class ChunkExtension(Extension):
    """What this server adds to a chunk; `preview` and `progress` are there while a picture is painted."""

    preview: PreviewReply | None = None
    progress: ProgressReply | None = None


class ChatChunk(Reply):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int  # seconds since the epoch
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    service_tier: Literal["default"] | None = None
    usage: UsageReply | None = None  # in the last chunk alone, and only when asked for
    localgpt: ChunkExtension | None = None  # in a chunk that brings notices, or tells of a picture
