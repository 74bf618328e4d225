"""`POST /api/conversations/{id}/messages`: what a user says, on disk before it is acknowledged."""

from __future__ import annotations

from fastapi import APIRouter, Response

from localgpt.errors import InputError
from localgpt.server.access import Owner, StoreDep
from localgpt.server.routes.api.common import API_REPLIES, PathId, Replies, conversation_missing
from localgpt.server.schemas.api import MessageBody, MessageReply
from localgpt.server.store.records import StoredMessage
from localgpt.server.translate import checked_text

__all__ = ["router"]

router = APIRouter()
_CREATED: Replies = {201: {"model": MessageReply, "description": "It is new."}}


@router.post("/conversations/{conversation_id}/messages", responses=API_REPLIES | _CREATED)
async def add_message(
    conversation_id: PathId, body: MessageBody, response: Response, store: StoreDep, owner: Owner
) -> MessageReply:
    """Store a message and show its branch: 201, or 200 when there is one of that id already."""
    if not body.text.strip() and not body.attachments:
        raise InputError("the message is empty; expected text or a picture", param="text")
    if body.role == "assistant" and body.attachments:
        raise InputError("an answer shows no pictures; leave attachments out", param="attachments")
    message = StoredMessage(
        id=body.id, parent_id=body.parent_id, role=body.role, text=checked_text(body.text, "text")
    )
    stored = await store.conversations.add(owner, conversation_id, message, body.attachments)
    if stored is None:
        raise conversation_missing()
    full, is_new = stored
    response.status_code = 201 if is_new else 200
    return MessageReply.of(full)
