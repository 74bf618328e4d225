"""`/api/attachments`: pictures of messages, judged by their first bytes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from localgpt.errors import ImageFormatError
from localgpt.picture_types import picture_type
from localgpt.server.access import Owner, StoreDep
from localgpt.server.errors import WireError
from localgpt.server.routes.api.common import API_REPLIES, PathId, Replies, missing
from localgpt.server.schemas.api import AttachmentReply
from localgpt.server.translate import checked_text
from localgpt.units import MIB, format_bytes

__all__ = ["MAX_ATTACHMENT_BYTES", "router"]

router = APIRouter()
MAX_ATTACHMENT_BYTES = 20 * MIB
_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "private, max-age=31536000, immutable",  # the id is of the content
    "content-disposition": "inline",
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_PICTURE: Replies = {200: {"description": "The picture.", "content": {"image/*": {}}}}


@router.post("/attachments", status_code=201, responses=API_REPLIES, openapi_extra=_BODY)
async def add_attachment(
    request: Request,
    store: StoreDep,
    owner: Owner,
    name: Annotated[str | None, Query(max_length=255, description="The file's name.")] = None,
) -> AttachmentReply:
    """Store a picture of at most 20 MiB: its bytes are the body."""
    data = await _read(request)
    media_type = picture_type(data)
    if media_type is None:
        raise ImageFormatError(
            "this is no picture that can be shown; expected PNG, JPEG, WebP, GIF, HEIC or AVIF bytes",
            param="body",
        )
    shown = None if name is None else checked_text(name, "name")
    return AttachmentReply.of(await store.attachments.put(owner, data, media_type, shown))


async def _read(request: Request) -> bytes:
    chunks, num_bytes = [], 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > MAX_ATTACHMENT_BYTES:
            raise WireError(
                413, f"the picture is too large; at most {format_bytes(MAX_ATTACHMENT_BYTES)}", param="body"
            )
        chunks.append(chunk)
    return b"".join(chunks)


@router.get("/attachments/{attachment_id}", response_class=Response, responses=API_REPLIES | _PICTURE)
async def read_attachment(attachment_id: PathId, store: StoreDep, owner: Owner) -> Response:
    """A picture's bytes, so that nothing in them can run."""
    found = await store.attachments.get(owner, attachment_id)
    if found is None:
        raise missing("attachment", "attachment_id")
    return Response(found.data, media_type=found.media_type, headers=_HEADERS)
