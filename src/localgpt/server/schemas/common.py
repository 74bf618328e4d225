"""What all bodies share: strictness, and the error body of the OpenAI wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

__all__ = ["Body", "ErrorBody", "ErrorDetail", "Extension", "Reply", "UsageReply", "refused"]


class Body(BaseModel):
    """A request body: no coercion between JSON types, and no field that nobody reads."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Reply(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Reply):
    """The four keys every error carries; `param` and `code` may be null but are never left out."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Reply):
    """Every answer of status 400 and above."""

    error: ErrorDetail


class Extension(Reply):
    """What this server adds to an answer: notices about anything that was downgraded or left out."""

    notices: list[str] = []


class PromptTokensDetails(Reply):
    """Of the tokens read."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Reply):
    """Of the tokens written."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class UsageReply(Reply):
    """Tokens read and written; a picture counts its image tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


def refused(reason: str) -> BeforeValidator:
    """What annotates a field that the wire knows and this server cannot follow; null is accepted."""

    def refuse(value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("refused", "{reason}", {"reason": reason})

    return BeforeValidator(refuse)
