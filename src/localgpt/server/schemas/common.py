"""What all bodies share: strictness, and the error body of the OpenAI wire."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Body", "ErrorBody", "ErrorDetail", "Extension", "Reply"]


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
