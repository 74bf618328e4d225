"""Between the images wire and the task to paint: requests one way, replies and events the other."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel

from localgpt.errors import InputError
from localgpt.server.events import Events, news_of
from localgpt.server.schemas.images import (
    CompletedEvent,
    HeatMapReply,
    ImageFields,
    ImageReply,
    ImagesExtension,
    ImagesReply,
    PaintedReply,
    PartialImageEvent,
    StageReply,
    WireQuality,
)
from localgpt.server.translate import checked_text
from localgpt.server.voice import lacking_is_told
from localgpt.server.work import StreamWire
from localgpt.tasks import (
    Finished,
    HeatMap,
    ImagePart,
    PaintedImage,
    PaintEffort,
    PaintPreview,
    PaintRequest,
    PaintResult,
)

__all__ = [
    "PictureWire",
    "PictureWriter",
    "base64_text",
    "effort_of",
    "paint_task",
    "painted_reply",
    "sides_of",
]

# Parameters of the task that the wire calls otherwise.
_NAMES: Final = {
    "width": "size",
    "height": "size",
    "num_images": "n",
    "num_steps": "steps",
    "num_previews": "partial_images",
    "format_quality": "output_compression",
    "format": "output_format",
    "effort": "quality",
    "binds_words": "bind_words",
    "wants_heat_maps": "heat_maps",
    "is_progressive": "progressive",
}
_EFFORTS: Final[dict[str, PaintEffort]] = {"low": "low", "high": "high", "hd": "high"}
_FAITHFUL_STRENGTH: Final = 0.35  # how much of a picture is painted over with input_fidelity: high
Kind = Literal["image_generation", "image_edit"]


@contextmanager
def wire_names() -> Iterator[None]:
    """Name the parameters of a task's errors as this wire does, in the message too."""
    try:
        yield
    except InputError as error:
        here = _NAMES.get(error.param or "")
        if here is not None and error.param is not None:
            error.args = (f"{here}: {error}",)
            error.param = here
        raise


def sides_of(size: str) -> tuple[int, int] | tuple[None, None]:
    """Width and height of `WxH`; none of `auto`."""
    if size == "auto":
        return None, None
    width, _, height = size.partition("x")
    return int(width), int(height)


def effort_of(quality: str) -> PaintEffort:
    """How much work a `quality` is."""
    return _EFFORTS.get(quality, "medium")


def paint_task(
    body: ImageFields,
    *,
    owner: str,
    model: str,
    image: ImagePart | None = None,
    mask: ImagePart | None = None,
    strength: float | None = None,
) -> PaintRequest:
    """The task of a request.

    Args:
        body: its parameters.
        owner: whose it is.
        model: that paints.
        image: to begin from.
        mask: where that is painted over: transparent, or white where nothing is.
        strength: how much of it is.

    Raises:
        InputError: a value is of no use, or without its companion; `param` names it.
    """
    if body.partial_images and not body.stream:
        raise InputError("partial_images needs stream: true", param="partial_images")
    if body.steps is not None and body.quality not in ("auto", "medium", "standard"):
        raise InputError("steps and quality say the same in two ways; send one of them", param="quality")
    quality = 100 if body.output_compression is None else body.output_compression
    if body.output_format == "png" and quality != 100:
        raise InputError(
            f"output_compression is {quality}, but PNG loses nothing; expected output_format jpeg or webp",
            param="output_compression",
        )
    width, height = sides_of(body.size)
    with wire_names():
        return PaintRequest(
            id=f"image-{uuid.uuid4().hex}",
            owner=owner,
            model=model,
            prompt=checked_text(body.prompt, "prompt"),
            negative_prompt=checked_text(body.negative_prompt, "negative_prompt"),
            width=width,
            height=height,
            num_steps=body.steps,
            effort=effort_of(body.quality),
            guidance_scale=body.guidance_scale,
            seed=body.seed,
            num_images=body.n,
            image=image,
            strength=strength,
            mask=mask,
            mask_marks="clear",
            num_previews=body.partial_images,
            binds_words=body.bind_words,
            wants_heat_maps=body.heat_maps,
            is_progressive=body.progressive,
            format=body.output_format,
            format_quality=quality,
        )


def strength_of(fidelity: str, strength: float | None) -> float | None:
    """How much of a picture is painted over; None leaves it to the model."""
    return _FAITHFUL_STRENGTH if strength is None and fidelity == "high" else strength


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureWriter:
    """What all parts of one answer share, and how they are written.

    `notices` are known before the answer; a stream adds those that come before its first picture.
    """

    task: PaintRequest
    kind: Kind = "image_generation"
    safety_identifier: str | None = None
    revised_prompt: str | None = None
    notices: list[str] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def quality(self) -> WireQuality:
        """As the reply has it."""
        return self.task.effort

    def whole(self, result: PaintResult) -> dict[str, Any]:
        """The reply; fields that are only there when asked for are left out."""
        first = result.images[0]
        reply = ImagesReply(
            created=self.created,
            data=[
                ImageReply(
                    b64_json=base64_text(image.data),
                    revised_prompt=self.revised_prompt,
                    localgpt=painted_reply(image, index),
                )
                for index, image in enumerate(result.images)
            ],
            output_format=self.task.format,
            quality=self.quality,
            size=f"{first.width}x{first.height}",
            safety_identifier=self.safety_identifier,
            localgpt=self._extension(result),
        )
        return reply.model_dump(exclude_none=True)

    async def events(self, events: Events) -> AsyncGenerator[str]:
        """The events of a stream, as they go over the wire."""
        with lacking_is_told(self.task.model), wire_names():
            async for _, event, _ in news_of(events, self.notices):
                if isinstance(event, PaintPreview):
                    yield self._written(self._partial(event))
                elif isinstance(event, Finished):
                    assert isinstance(event.result, PaintResult)
                    for index, image in enumerate(event.result.images):
                        yield self._written(self._completed(image, index, event.result))

    def _partial(self, preview: PaintPreview) -> PartialImageEvent:
        return PartialImageEvent(
            type=f"{self.kind}.partial_image",  # type: ignore[arg-type]  # of two kinds
            b64_json=base64_text(preview.data),
            created_at=self.created,
            size=f"{preview.width}x{preview.height}",
            quality=self.quality,
            output_format=self.task.format,
            partial_image_index=("sketch", "middle", "final").index(preview.stage),
            localgpt={"index": preview.index, "stage": preview.stage, "steps": preview.num_steps},
        )

    def _completed(self, image: PaintedImage, index: int, result: PaintResult) -> CompletedEvent:
        extension = painted_reply(image, index).model_dump() | self._extension(result).model_dump()
        return CompletedEvent(
            type=f"{self.kind}.completed",  # type: ignore[arg-type]  # of two kinds
            b64_json=base64_text(image.data),
            created_at=self.created,
            size=f"{image.width}x{image.height}",
            quality=self.quality,
            output_format=self.task.format,
            safety_identifier=self.safety_identifier,
            localgpt=extension,
        )

    def _extension(self, result: PaintResult) -> ImagesExtension:
        return ImagesExtension(
            model=result.model,
            seconds=round(result.seconds, 3),
            steps=result.num_steps,
            guidance_scale=result.guidance_scale,
            binds_words=result.binds_words,
            binding_seconds=round(result.binding_seconds, 3),
            notices=list(dict.fromkeys((*self.notices, *result.notices))),
        )

    @staticmethod
    def _written(event: BaseModel) -> str:
        return event.model_dump_json(exclude_none=True)


class PictureWire(StreamWire):
    """Names events by their type; the last one says that it is, so there is no mark at the end."""

    last = ""

    def event(self, body: str) -> str:
        """One event."""
        kind = body[len('{"type":"') :].partition('"')[0]
        return f"event: {kind}\ndata: {body}\n\n"

    def failure(self, error: Any) -> str:
        """The event that tells what went wrong."""
        return f"event: error\n{StreamWire().failure(error)}"


def painted_reply(image: PaintedImage, index: int) -> PaintedReply:
    """What is told of a picture beside its bytes."""
    return PaintedReply(
        index=index,
        seed=image.seed,
        width=image.width,
        height=image.height,
        stages=[
            StageReply(name=stage.name, steps=stage.num_steps, width=stage.width, height=stage.height)
            for stage in image.stages
        ],
        heat_maps=heat_map_replies(image.heat_maps),
    )


def heat_map_replies(maps: Sequence[HeatMap]) -> list[HeatMapReply]:
    """Heat maps as the wire has them."""
    return [
        HeatMapReply(word=one.word, b64_json=base64_text(one.data), width=one.width, height=one.height)
        for one in maps
    ]


def base64_text(data: bytes) -> str:
    """Bytes as JSON holds them."""
    return base64.b64encode(data).decode("ascii")
