"""`response_format`: what the answer's text must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body
from localgpt.server.schemas.tools import FunctionName

__all__ = ["JsonObjectFormat", "JsonSchema", "JsonSchemaFormat", "ResponseFormatField", "TextFormat"]


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Body):
    """A schema the answer follows, whether `strict` is asked for or not."""

    name: FunctionName
    description: str | None = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None  # left out: any object
    strict: bool | None = None


class JsonSchemaFormat(Body):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


def _format_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"tag:{kind}" if kind in ("text", "json_object", "json_schema") else None


ResponseFormatField = Annotated[
    Annotated[TextFormat, Tag("tag:text")]
    | Annotated[JsonObjectFormat, Tag("tag:json_object")]
    | Annotated[JsonSchemaFormat, Tag("tag:json_schema")],
    Discriminator(
        _format_tag,
        custom_error_type="response_format",
        custom_error_message="expected an object whose type is text, json_object or json_schema",
    ),
]
