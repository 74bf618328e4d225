"""Pictures in the answers of chats: how the wire tells of them, whole and on their way."""

from __future__ import annotations

from localgpt.server.pictures import base64_text, heat_map_replies
from localgpt.server.schemas.chat import (
    ChunkExtension,
    PaintedPicture,
    PicturePart,
    PictureUrl,
    PreviewReply,
    ProgressReply,
)
from localgpt.tasks import ChatResult, PaintPreview, Progress

__all__ = ["picture_parts", "picture_url", "told_of"]


def picture_parts(result: ChatResult) -> list[PicturePart] | None:
    """The pictures of an answer; None where there are none."""
    if not result.images:
        return None
    return [
        PicturePart(
            index=index,
            image_url=PictureUrl(url=picture_url(image.data, image.media_type)),
            localgpt=PaintedPicture(
                prompt=result.paints or "",
                model=result.painter or result.model,
                seed=image.seed,
                width=image.width,
                height=image.height,
                heat_maps=heat_map_replies(image.heat_maps),
            ),
        )
        for index, image in enumerate(result.images)
    ]


def told_of(event: PaintPreview | Progress) -> ChunkExtension:
    """What a chunk tells of a picture on its way."""
    if isinstance(event, Progress):
        return ChunkExtension(progress=ProgressReply(done=event.done, total=event.total))
    return ChunkExtension(
        preview=PreviewReply(
            stage=event.stage,
            index=event.index,
            url=picture_url(event.data, event.media_type),
            width=event.width,
            height=event.height,
        )
    )


def picture_url(data: bytes, media_type: str) -> str:
    """A picture as a data URL."""
    return f"data:{media_type};base64,{base64_text(data)}"
