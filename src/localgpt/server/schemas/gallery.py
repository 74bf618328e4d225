"""Pictures in the page's conversations: how they are painted, what is kept of them, and all of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgpt.server.schemas.common import Body, Reply
from localgpt.server.store.records import ShownPicture, StoredPicture

__all__ = ["GalleryPicture", "HeatMapRef", "PaintBody", "PaintedRef", "PicturesReply"]


class HeatMapRef(Reply):
    """Where a word was looked for in a picture: an attachment."""

    word: str
    id: str


class PaintedRef(Reply):
    """A picture that was painted as an answer, or in it: an attachment, and what it was made of."""

    id: str
    prompt: str
    model: str
    seed: int
    width: int
    height: int
    heat_maps: list[HeatMapRef]

    @classmethod
    def of(cls, picture: StoredPicture) -> PaintedRef:
        """The reply for a stored picture."""
        return cls(
            id=picture.id,
            prompt=picture.prompt,
            model=picture.model,
            seed=picture.seed,
            width=picture.width,
            height=picture.height,
            heat_maps=[HeatMapRef(word=word, id=id) for word, id in picture.heat_maps],
        )


class GalleryPicture(PaintedRef):
    """A painted picture, and where it was painted."""

    conversation_id: str
    message_id: str
    created_at: float

    @classmethod
    def found(cls, shown: ShownPicture) -> GalleryPicture:
        """The reply for a picture of a message."""
        return cls(
            **PaintedRef.of(shown.picture).model_dump(),
            conversation_id=shown.conversation_id,
            message_id=shown.message_id,
            created_at=shown.created_at,
        )


class PaintBody(Body):
    """How the picture of an answer is painted."""

    wanted: bool = False  # paint what the user said, whatever the model would answer
    model: Annotated[str, Field(max_length=256)] | None = None  # None: the one that paints here
    size: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")] = "auto"
    quality: Literal["low", "medium", "high"] = "medium"
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    heat_maps: bool = False


class PicturesReply(Reply):
    """Pictures that were painted in an owner's conversations, the newest first."""

    data: list[GalleryPicture]
    next: str | None  # `before` of the next page; null at the end
