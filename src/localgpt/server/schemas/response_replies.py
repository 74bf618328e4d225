"""What `/v1/responses` answers: the response object, its items, and the list of what it was made from."""

from __future__ import annotations

from typing import Any, Literal

from localgpt.server.schemas.chat import PaintedPicture, TokenLogprobReply
from localgpt.server.schemas.common import Extension, Reply

__all__ = [
    "DeletedReply",
    "IncompleteDetails",
    "InputItemsReply",
    "ItemStatus",
    "OutputCall",
    "OutputItem",
    "OutputMessage",
    "OutputPicture",
    "OutputText",
    "ResponseFailure",
    "ResponseReply",
    "ResponseStatus",
    "ResponseUsage",
]

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(Reply):
    """A run of the answer's text."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprobReply]


class OutputMessage(Reply):
    """What the assistant says."""

    id: str
    type: Literal["message"] = "message"
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputCall(Reply):
    """A function the assistant asks for."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputPicture(Reply):
    """A picture the assistant painted; `result` is base64."""

    id: str
    type: Literal["image_generation_call"] = "image_generation_call"
    status: Literal["in_progress", "generating", "completed", "incomplete", "failed"]
    result: str | None = None
    revised_prompt: str | None = None
    size: str | None = None
    quality: Literal["low", "medium", "high"] | None = None
    background: Literal["opaque"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    localgpt: PaintedPicture | None = None


OutputItem = OutputMessage | OutputCall | OutputPicture


class InputTokensDetails(Reply):
    """How much of the prompt was not read anew."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Reply):
    """How much of the answer was thinking: nothing."""

    reasoning_tokens: int = 0


class ResponseUsage(Reply):
    """Tokens read and written."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class ResponseFailure(Reply):
    """Why a response failed after it had begun."""

    code: Literal["server_error", "invalid_prompt", "rate_limit_exceeded"]
    message: str


class IncompleteDetails(Reply):
    """Why a response ended before the model was done."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseReply(Reply):
    """A response, under way or ended. What was asked for is sent back as it was understood."""

    id: str
    object: Literal["response"] = "response"
    created_at: int  # seconds since the epoch, as is completed_at
    completed_at: int | None = None
    status: ResponseStatus
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None = None
    instructions: str | None
    previous_response_id: str | None
    store: bool
    metadata: dict[str, str]
    temperature: float
    top_p: float
    max_output_tokens: int | None
    max_tool_calls: int | None
    top_logprobs: int
    text: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    truncation: Literal["auto", "disabled"]
    reasoning: dict[str, Any]
    background: Literal[False] = False
    service_tier: Literal["default"] = "default"
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    localgpt: Extension = Extension()


class DeletedReply(Reply):
    """A kept response that is kept no more."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputItemsReply(Reply):
    """A page of what a response was made from."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
