"""`POST /v1/embeddings`: texts, and pictures as an extension, in one space."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, Reply
from localgpt.server.schemas.parts import ImageUrlPart, TextContentPart
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["EmbeddingItem", "EmbeddingsBody", "EmbeddingsReply", "EmbeddingsUsage"]

MAX_INPUTS = 2048


def _item_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"tag:{kind}" if kind in ("text", "image_url") else None


_Item = Annotated[
    Annotated[str, Tag("tag:string")]
    | Annotated[TextContentPart, Tag("tag:text")]
    | Annotated[ImageUrlPart, Tag("tag:image_url")],
    Discriminator(
        _item_tag,
        custom_error_type="input",
        custom_error_message="expected a string, or a text or image_url part "
        "(arrays of token numbers are not supported: numbers of another model's vocabulary mean nothing "
        "here)",
    ),
]


def _input_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    return "tag:items" if isinstance(value, list) else None


class EmbeddingsBody(Body):
    """What to embed and how to write the vectors down."""

    input: Annotated[
        Annotated[str, Tag("tag:string")]
        | Annotated[
            list[_Item], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True), Tag("tag:items")
        ],
        Discriminator(
            _input_tag,
            custom_error_type="input",
            custom_error_message="expected a string or a list of strings and parts",
        ),
    ]
    model: str = EMBEDDED_MODEL_ID
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None  # honoured when it is the model's own size
    user: str | None = None


class EmbeddingItem(Reply):
    """One vector: a list of numbers, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Reply):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Reply):
    """One vector per input, in input order."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingsUsage
