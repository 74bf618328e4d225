"""Messages and their content parts, as the OpenAI wire writes them.

The tags of the unions begin with `tag:` so that an error's path can be shown as the caller wrote it
(`messages[0].content[1].image_url.url`), see `errors.param_path`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from localgpt.server.schemas.common import Body, refused
from localgpt.server.schemas.tags import content_tag
from localgpt.server.schemas.tools import FunctionName

__all__ = [
    "AssistantTurn",
    "ChatTurn",
    "DataUrl",
    "FunctionTurn",
    "ImageUrl",
    "ImageUrlPart",
    "InputAudio",
    "InputAudioPart",
    "InstructionTurn",
    "RefusalPart",
    "TextContentPart",
    "ToolTurn",
    "UserTurn",
]

_NO_BREAKPOINT = refused("cache breakpoints are not supported; leave it out")
_NO_NAME = refused("names of speakers are not told to the model; write the name into the content")


class TextContentPart(Body):
    """A run of text."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Annotated[None, _NO_BREAKPOINT] = None


DataUrl = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^data:image/[^;,]+;base64,",
            "description": "A picture inside the request; nothing is fetched from the network.",
        }
    ),
]


class ImageUrl(Body):
    """A picture."""

    url: DataUrl
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageUrlPart(Body):
    """A picture part."""

    type: Literal["image_url"]
    image_url: ImageUrl
    prompt_cache_breakpoint: Annotated[None, _NO_BREAKPOINT] = None


class InputAudio(Body):
    """A recording inside the request, in base64; what it holds counts, not what `format` says."""

    data: str
    format: Literal["wav", "mp3"]


class InputAudioPart(Body):
    """A recording part: written down by the model that listens here, and read as text."""

    type: Literal["input_audio"]
    input_audio: InputAudio
    prompt_cache_breakpoint: Annotated[None, _NO_BREAKPOINT] = None


class RefusalPart(Body):
    """A refusal that the assistant wrote earlier; read as text."""

    type: Literal["refusal"]
    refusal: str


_REFUSED_PARTS = {
    "file": "files are not read; send their text in a text part, and pictures in an image_url part",
}


def _refuse_part(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in _REFUSED_PARTS:
        raise PydanticCustomError("content_part", "{reason}", {"reason": _REFUSED_PARTS[kind]})
    return value


def _tag_among(*kinds: str) -> Any:
    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"tag:{kind}" if kind in kinds else None

    return tag


def _part_error(kinds: str) -> dict[str, Any]:
    return {
        "custom_error_type": "content_part",
        "custom_error_message": f"this content part is not supported; expected an object of type {kinds}",
    }


_CONTENT_ERROR: dict[str, Any] = {
    "custom_error_type": "content",
    "custom_error_message": "expected a string or a list of content parts",
}
_UserPart = Annotated[
    Annotated[TextContentPart, Tag("tag:text")]
    | Annotated[ImageUrlPart, Tag("tag:image_url")]
    | Annotated[InputAudioPart, Tag("tag:input_audio")],
    Discriminator(
        _tag_among("text", "image_url", "input_audio"), **_part_error("text, image_url or input_audio")
    ),
    BeforeValidator(_refuse_part),
]
_AssistantPart = Annotated[
    Annotated[TextContentPart, Tag("tag:text")] | Annotated[RefusalPart, Tag("tag:refusal")],
    Discriminator(_tag_among("text", "refusal"), **_part_error("text or refusal")),
]
_PARTS = Field(min_length=1, max_length=2048, fail_fast=True)
_Text = Annotated[str, Tag("tag:string")]
_UserContent = Annotated[
    _Text | Annotated[list[_UserPart], _PARTS, Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]
_AssistantContent = Annotated[
    _Text | Annotated[list[_AssistantPart], _PARTS, Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]
_TextContent = Annotated[
    _Text | Annotated[list[TextContentPart], _PARTS, Tag("tag:parts")],
    Discriminator(content_tag, **_CONTENT_ERROR),
]


class InstructionTurn(Body):
    """How the assistant should behave; `developer` is the newer word for `system` and means the same."""

    role: Literal["system", "developer"]
    content: _TextContent
    name: Annotated[None, _NO_NAME] = None


class UserTurn(Body):
    """What the user says and shows."""

    role: Literal["user"]
    content: _UserContent
    name: Annotated[None, _NO_NAME] = None


class FunctionCallEntry(Body):
    """A function the assistant asked for, and its arguments as JSON text."""

    name: FunctionName
    arguments: str


class ToolCallEntry(Body):
    """A call the assistant asked for; clients that keep a stream's pieces send their `index` back."""

    index: int | None = None  # the list's own order is what counts
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: FunctionCallEntry


class AssistantTurn(Body):
    """What the assistant answered earlier: text, calls, or both."""

    role: Literal["assistant"]
    content: _AssistantContent | None = None
    name: Annotated[None, _NO_NAME] = None
    refusal: str | None = None  # read as the content, where there is no other
    audio: Annotated[None, refused("earlier spoken answers are not kept; send what was said as content")] = (
        None
    )
    function_call: FunctionCallEntry | None = None
    tool_calls: Annotated[list[ToolCallEntry], Field(max_length=128, fail_fast=True)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    reasoning_content: str | None = None  # another model's thoughts: left out, with a notice


class ToolTurn(Body):
    """What a call of the assistant gave."""

    role: Literal["tool"]
    content: _TextContent
    tool_call_id: str


class FunctionTurn(Body):
    """What a legacy function call gave."""

    role: Literal["function"]
    content: str | None
    name: FunctionName


def _turn_tag(value: Any) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    if role in ("system", "developer"):
        return "tag:instruction"
    return f"tag:{role}" if role in ("user", "assistant", "tool", "function") else None


ChatTurn = Annotated[
    Annotated[InstructionTurn, Tag("tag:instruction")]
    | Annotated[UserTurn, Tag("tag:user")]
    | Annotated[AssistantTurn, Tag("tag:assistant")]
    | Annotated[ToolTurn, Tag("tag:tool")]
    | Annotated[FunctionTurn, Tag("tag:function")],
    Discriminator(
        _turn_tag,
        custom_error_type="role",
        custom_error_message="expected a message whose role is system, developer, user, assistant, tool or "
        "function",
    ),
]
