"""Items that a client puts into a realtime conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, refused
from localgpt.server.schemas.tags import type_tag, value_of

__all__ = ["AssistantItem", "CallItem", "Item", "OutputItem", "SystemItem", "UserItem"]

_Status = Literal["completed", "incomplete", "in_progress"]
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_PARTS = Field(min_length=1, max_length=64, fail_fast=True)


class TextPart(Body):
    """Words."""

    type: Literal["input_text"]
    text: str


class SoundPart(Body):
    """Sound in the session's input format."""

    type: Literal["input_audio"]
    audio: str
    transcript: Annotated[None, refused("what is said is written down here; send input_text for words")] = (
        None
    )


class PicturePart(Body):
    """A picture as a data URL."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None


class SaidPart(Body):
    """What the assistant said earlier; of spoken words the transcript is read."""

    type: Literal["output_text", "output_audio", "text", "audio"]
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None


class _Made(Body):
    id: _Id | None = None
    object: Literal["realtime.item"] | None = None
    status: _Status | None = None


class UserItem(_Made):
    """What the user says and shows."""

    type: Literal["message"]
    role: Literal["user"]
    content: Annotated[
        list[
            Annotated[
                Annotated[TextPart, Tag("tag:input_text")]
                | Annotated[SoundPart, Tag("tag:input_audio")]
                | Annotated[PicturePart, Tag("tag:input_image")],
                Discriminator(
                    type_tag,
                    custom_error_type="content_part",
                    custom_error_message="expected an object whose type is input_text, input_audio or "
                    "input_image",
                ),
            ]
        ],
        _PARTS,
    ]


class SystemItem(_Made):
    """How the assistant should behave."""

    type: Literal["message"]
    role: Literal["system"]
    content: Annotated[list[TextPart], _PARTS]


class AssistantItem(_Made):
    """What the assistant said earlier."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: Annotated[list[SaidPart], _PARTS]


class CallItem(_Made):
    """A function the assistant asked for earlier."""

    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: str | None = None


class OutputItem(_Made):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str


def _tag(value: Any) -> str | None:
    kind, role = value_of(value, "type"), value_of(value, "role")
    return f"tag:{role}" if kind == "message" else f"tag:{kind}"


Item = Annotated[
    Annotated[UserItem, Tag("tag:user")]
    | Annotated[SystemItem, Tag("tag:system")]
    | Annotated[AssistantItem, Tag("tag:assistant")]
    | Annotated[CallItem, Tag("tag:function_call")]
    | Annotated[OutputItem, Tag("tag:function_call_output")],
    Discriminator(
        _tag,
        custom_error_type="item",
        custom_error_message="expected an object whose type is message (with the role user, system or "
        "assistant), function_call or function_call_output",
    ),
]
