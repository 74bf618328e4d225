"""`POST /v1/chat/completions`: every documented parameter is here, and is honoured or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from localgpt.server.schemas.common import Body, Extension, Reply
from localgpt.server.schemas.parts import ChatTurn
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = [
    "ChatBody",
    "ChatChoice",
    "ChatChunk",
    "ChatReply",
    "ChunkChoice",
    "ChunkDelta",
    "ReplyMessage",
    "StreamOptions",
    "UsageReply",
]

_INT64 = 2**63


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(Body):
    """A chat request.

    Fields of the second half are known to the wire and not (yet) to the model: their neutral values are
    accepted, any other value is refused with the field's name (`NEUTRAL` in `neutral.py`).
    """

    messages: Annotated[list[ChatTurn], Field(min_length=1, max_length=2048)]
    model: str = EMBEDDED_MODEL_ID
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_INT64 - 1)] | None = None  # extension; 0 = no limit
    repetition_penalty: Annotated[float, Field(ge=1, le=2, allow_inf_nan=False)] | None = None  # extension
    max_tokens: Annotated[int, Field(ge=1, le=_INT64 - 1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_INT64 - 1)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=-_INT64, le=_INT64 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None  # names nobody here: accounts are keys

    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    web_search_options: Any = None
    moderation: Any = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None


class UsageReply(Reply):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReplyMessage(Reply):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Reply):
    """One answer and why it ended."""

    index: int = 0
    message: ReplyMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatReply(Reply):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int  # seconds since the epoch
    model: str
    choices: list[ChatChoice]
    usage: UsageReply
    localgpt: Extension = Extension()


class ChunkDelta(Reply):
    """What this chunk adds; a field that adds nothing is left out."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Reply):
    """One piece of the answer."""

    index: int = 0
    delta: ChunkDelta
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: None = None


class ChatChunk(Reply):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int  # seconds since the epoch
    model: str
    choices: list[ChunkChoice]
    usage: UsageReply | None = None  # in the last chunk alone, and only when asked for
    localgpt: Extension | None = None  # in a chunk that brings notices
