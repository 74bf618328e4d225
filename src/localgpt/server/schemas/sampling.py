"""Parameters that several routes share: how tokens are chosen, and how the answer is sent."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, entries
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["MAX_CHOICES", "GenerationBody", "SamplingBody", "StreamOptions", "TokenCount"]

MAX_CHOICES: Final = 8
_INT64: Final = 2**63

TokenCount = Annotated[int, Field(ge=1, le=_INT64 - 1)]
_Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
_TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
_Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


def _stop_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    return "tag:strings" if isinstance(value, list) else None


_StopString = Annotated[str, Field(min_length=1)]
_Stop = Annotated[
    Annotated[_StopString, Tag("tag:string")]
    | Annotated[list[_StopString], Field(max_length=4, fail_fast=True), Tag("tag:strings")],
    Discriminator(
        _stop_tag,
        custom_error_type="stop",
        custom_error_message="expected a string or a list of at most 4 strings",
    ),
]


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class GenerationBody(Body):
    """How to choose the tokens of an answer."""

    model: str = EMBEDDED_MODEL_ID
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_INT64 - 1)] | None = None  # extension; 0 = no limit
    repetition_penalty: Annotated[float, Field(ge=1, le=2, allow_inf_nan=False)] | None = None  # extension
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: Annotated[dict[_TokenId, _Bias], Field(max_length=4096), entries(4096)] | None = None
    max_tokens: TokenCount | None = None
    stop: _Stop | None = None
    seed: Annotated[int, Field(ge=-_INT64, le=_INT64 - 1)] | None = None
    user: str | None = None  # names nobody here: accounts are keys


class SamplingBody(GenerationBody):
    """How to choose the tokens of several answers, and how to send them."""

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
