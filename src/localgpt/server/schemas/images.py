"""`/v1/images/*`: every documented parameter is here, and is honoured or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from localgpt.server.schemas.common import Body, Extension, Incoming, Reply, refused
from localgpt.server.schemas.parts import DataUrl
from localgpt.tasks import StageName

__all__ = [
    "EditBody",
    "EditForm",
    "GenerationsBody",
    "HeatMapReply",
    "ImageFields",
    "ImagesExtension",
    "ImagesReply",
    "PaintedReply",
    "PictureUsage",
    "StageReply",
    "VariationForm",
    "WireQuality",
]

_MAX_SEED: Final = 2**53 - 1
WireQuality = Literal["low", "medium", "high"]
Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]


def _only(expected: str, reason: str) -> Callable[[Any], Any]:
    """Accept one value of a parameter that others have more of; the reason says why not those."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value != expected:
            raise PydanticCustomError(
                "refused", "got {got}, expected {expected}: {reason}",
                {"got": value[:40], "expected": expected, "reason": reason},
            )  # fmt: skip
        return value

    return check


_Background = Annotated[
    Literal["auto", "opaque"],
    BeforeValidator(
        lambda value: (
            _only("opaque", "pictures have no transparency here")(value) if value != "auto" else value
        )
    ),
]
_ResponseFormat = Annotated[
    Literal["b64_json"],
    BeforeValidator(_only("b64_json", "pictures come inside the answer and are kept at no address")),
]
_Moderation = Annotated[
    Literal["auto"],
    BeforeValidator(_only("auto", "the filter is the operator's choice, see LOCALGPT_PICTURE_FILTER")),
]
_Size = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")]


class ImageFields(Incoming):
    """What generations and edits share; the second half are extensions of this server."""

    prompt: str
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: _Size = "auto"
    quality: Quality = "auto"
    background: _Background = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: _ResponseFormat = "b64_json"
    moderation: _Moderation = "auto"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    user: str | None = None  # labels for abuse reports, which never leave here
    safety_identifier: str | None = None
    complexity: Annotated[None, refused("nothing plans a picture before it is painted; leave it out")] = None
    frame_count: Annotated[None, refused("pictures do not move here; leave it out")] = None
    frame_duration_ms: Annotated[None, refused("pictures do not move here; leave it out")] = None
    svg: Annotated[None, refused("pictures are pixels here; leave it out")] = None

    negative_prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=500)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=50, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=_MAX_SEED)] | None = None
    bind_words: bool | None = None
    heat_maps: bool = False
    progressive: bool | None = None


_NO_STYLE = refused("describe the style in the prompt; leave it out")


class GenerationsBody(ImageFields, Body):
    """A text to paint."""

    style: Annotated[None, _NO_STYLE] = None


class _Strength(ImageFields):
    input_fidelity: Literal["low", "high"] = "low"
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    markup: Annotated[None, refused("drawn remarks are not read; write them into the prompt")] = None


class EditForm(_Strength):
    """A picture to paint over, as a form; fields of a form are texts, and numbers are read from them."""


class ImageReference(Body):
    """A picture inside the request."""

    image_url: DataUrl | None = None
    file_id: Annotated[None, refused("this server keeps no files; send image_url")] = None


class EditBody(_Strength, Body):
    """A picture to paint over, as JSON."""

    images: Annotated[list[ImageReference], Field(min_length=1, max_length=16, fail_fast=True)]
    mask: ImageReference | None = None


class VariationForm(Incoming):
    """A picture to paint in another way."""

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: _Size = "auto"
    response_format: _ResponseFormat = "b64_json"
    user: str | None = None
    seed: Annotated[int, Field(ge=0, le=_MAX_SEED)] | None = None
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None


File = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class PictureTokens(Reply):
    """Of text and pictures; pictures here are not made of tokens."""

    text_tokens: int = 0
    image_tokens: int = 0


class PictureUsage(Reply):
    """The wire wants token counts; painting counts none."""

    input_tokens: int = 0
    input_tokens_details: PictureTokens = PictureTokens()
    output_tokens: int = 0
    total_tokens: int = 0


class StageReply(Reply):
    """A stage that a picture went through."""

    name: StageName
    steps: int
    width: int
    height: int


class HeatMapReply(Reply):
    """Where a word was looked for: a grey PNG, white where it was looked for most."""

    word: str
    b64_json: str
    width: int
    height: int


class PaintedReply(Reply):
    """What this server tells of one picture."""

    index: int
    seed: int
    width: int
    height: int
    stages: list[StageReply]
    heat_maps: list[HeatMapReply]


class ImagesExtension(Extension):
    """What this server tells of the whole work."""

    model: str
    seconds: float
    steps: int
    guidance_scale: float
    binds_words: bool
    binding_seconds: float


class ImageReply(Reply):
    """One picture; `revised_prompt` is there where the server wrote it."""

    b64_json: str
    revised_prompt: str | None = None
    localgpt: PaintedReply


class ImagesReply(Reply):
    """The pictures, in order."""

    created: int  # seconds since the epoch
    background: Literal["opaque"] = "opaque"
    data: list[ImageReply]
    output_format: Literal["png", "jpeg", "webp"]
    quality: WireQuality
    size: str
    safety_identifier: str | None = None
    usage: PictureUsage = PictureUsage()
    localgpt: ImagesExtension


class PartialImageEvent(Reply):
    """A picture on its way."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    b64_json: str
    created_at: int
    size: str
    quality: WireQuality
    background: Literal["opaque"] = "opaque"
    output_format: Literal["png", "jpeg", "webp"]
    partial_image_index: int
    localgpt: dict[str, Any]


class CompletedEvent(Reply):
    """A finished picture."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    created_at: int
    size: str
    quality: WireQuality
    background: Literal["opaque"] = "opaque"
    output_format: Literal["png", "jpeg", "webp"]
    usage: PictureUsage = PictureUsage()
    safety_identifier: str | None = None
    localgpt: dict[str, Any]
