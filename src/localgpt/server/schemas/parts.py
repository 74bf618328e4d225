"""Messages and their content parts, as the OpenAI wire writes them.

The tags of the unions begin with `tag:` so that an error's path can be shown as the caller wrote it
(`messages[0].content[1].image_url.url`), see `errors.param_path`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body

__all__ = [
    "AssistantTurn",
    "ChatTurn",
    "ImageUrl",
    "ImageUrlPart",
    "InstructionTurn",
    "TextContentPart",
    "UserTurn",
]


class TextContentPart(Body):
    """A run of text."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """A picture inside the request: a `data:` URL. Nothing is ever fetched from the network."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageUrlPart(Body):
    """A picture part."""

    type: Literal["image_url"]
    image_url: ImageUrl


def _part_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"tag:{kind}" if kind in ("text", "image_url") else None


def _content_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:string"
    return "tag:parts" if isinstance(value, list) else None


def _turn_tag(value: Any) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    if role in ("system", "developer"):
        return "tag:instruction"
    return f"tag:{role}" if role in ("user", "assistant") else None


_UserPart = Annotated[
    Annotated[TextContentPart, Tag("tag:text")] | Annotated[ImageUrlPart, Tag("tag:image_url")],
    Discriminator(
        _part_tag,
        custom_error_type="content_part",
        custom_error_message="this content part is not supported; expected an object whose type is text or "
        "image_url",
    ),
]
_CONTENT_ERROR: dict[str, Any] = {
    "custom_error_type": "content",
    "custom_error_message": "expected a string or a list of content parts",
}
_UserContent = Annotated[
    Annotated[str, Tag("tag:string")] | Annotated[list[_UserPart], Field(min_length=1), Tag("tag:parts")],
    Discriminator(_content_tag, **_CONTENT_ERROR),
]
_TextContent = Annotated[
    Annotated[str, Tag("tag:string")]
    | Annotated[list[TextContentPart], Field(min_length=1), Tag("tag:parts")],
    Discriminator(_content_tag, **_CONTENT_ERROR),
]


class InstructionTurn(Body):
    """How the assistant should behave; `developer` is the newer word for `system` and means the same."""

    role: Literal["system", "developer"]
    content: _TextContent
    name: None = None


class UserTurn(Body):
    """What the user says and shows."""

    role: Literal["user"]
    content: _UserContent
    name: None = None


class AssistantTurn(Body):
    """What the assistant answered earlier."""

    role: Literal["assistant"]
    content: _TextContent
    name: None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    reasoning_content: None = None


ChatTurn = Annotated[
    Annotated[InstructionTurn, Tag("tag:instruction")]
    | Annotated[UserTurn, Tag("tag:user")]
    | Annotated[AssistantTurn, Tag("tag:assistant")],
    Discriminator(
        _turn_tag,
        custom_error_type="role",
        custom_error_message="expected a message whose role is system, developer, user or assistant "
        "(tools are not supported yet)",
    ),
]
