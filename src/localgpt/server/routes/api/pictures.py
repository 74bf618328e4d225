"""`/api/pictures`: what was painted in all conversations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from localgpt.server.access import Owner, StoreDep
from localgpt.server.routes.api.common import API_REPLIES
from localgpt.server.schemas.gallery import GalleryPicture, PicturesReply

__all__ = ["router"]

router = APIRouter()


@router.get("/pictures", responses=API_REPLIES)
async def list_pictures(
    store: StoreDep,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=200, description="Of at most so many answers.")] = 50,
    before: Annotated[str | None, Query(max_length=200, description="`next` of an earlier page.")] = None,
) -> PicturesReply:
    """Pictures that were painted in the caller's conversations, the newest first."""
    found, following = await store.conversations.pictures(owner, limit=limit, before=before)
    return PicturesReply(data=[GalleryPicture.found(one) for one in found], next=following)
