"""`POST /v1/completions`: a text that is no conversation is gone on with."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Extension, Reply, UsageReply, refused
from localgpt.server.schemas.sampling import MAX_CHOICES, SamplingBody

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "MAX_TEXTS",
    "CompletionBody",
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionReply",
]

DEFAULT_MAX_TOKENS: Final = 16  # as this wire documents it
MAX_TEXTS: Final = 32  # prompts times choices of one request


def _prompt_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "tag:strings"
    return None


_Prompt = Annotated[str, Field(min_length=1)]


class CompletionBody(SamplingBody):
    """A text to go on with, and how."""

    prompt: Annotated[
        Annotated[_Prompt, Tag("tag:string")]
        | Annotated[
            list[_Prompt], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True), Tag("tag:strings")
        ],
        Discriminator(
            _prompt_tag,
            custom_error_type="prompt",
            custom_error_message="expected a string or a list of strings (arrays of token numbers are not "
            "supported: numbers of another model's vocabulary mean nothing here)",
        ),
    ]
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    suffix: Annotated[None, refused("the model writes on from the prompt and cannot fill a gap")] = None


class CompletionLogprobs(Reply):
    """Log probabilities of a text's tokens, as this wire wrote them before chat."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None  # null when no alternatives were asked for
    text_offset: list[int]  # in characters, from the beginning of `text`


class CompletionChoice(Reply):
    """One text and why it ended; in a stream, one piece, whose reason is null before the last."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None


class CompletionReply(Reply):
    """The whole answer, or one event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int  # seconds since the epoch
    model: str  # the model that answered, whatever alias was asked for
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: UsageReply | None = None  # in a stream in the last chunk alone, and only when asked for
    localgpt: Extension | None = None  # always there in a whole answer
