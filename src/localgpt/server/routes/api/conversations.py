"""`/api/conversations`: begin, list, search, rename, export, delete."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from localgpt.server.access import Owner, StoreDep
from localgpt.server.routes.api.common import API_REPLIES, PathId, Replies, conversation_missing
from localgpt.server.routes.api.export import as_json, as_markdown, disposition
from localgpt.server.schemas.api import (
    ConversationBody,
    ConversationChange,
    ConversationReply,
    ConversationsReply,
    ConversationWithMessages,
    DeletedReply,
    MessageReply,
)
from localgpt.server.store.records import branch_of
from localgpt.server.translate import checked_text

__all__ = ["router"]

router = APIRouter()
_CREATED: Replies = {201: {"model": ConversationReply, "description": "It is new."}}


@router.get("/conversations", responses=API_REPLIES)
async def list_conversations(
    store: StoreDep,
    owner: Owner,
    query: Annotated[str, Query(max_length=200, description="Only those with this text somewhere.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=200, description="`next` of an earlier page.")] = None,
) -> ConversationsReply:
    """The caller's conversations, the last changed first."""
    page = await store.conversations.find(owner, query=query.strip(), limit=limit, before=before)
    return ConversationsReply(data=[ConversationReply.of(one) for one in page.conversations], next=page.next)


@router.post("/conversations", responses=API_REPLIES | _CREATED)
async def create_conversation(
    body: ConversationBody, response: Response, store: StoreDep, owner: Owner
) -> ConversationReply:
    """Begin a conversation: 201, or 200 when there is one of that id already."""
    title = checked_text(body.title, "title")
    model = None if body.model is None else checked_text(body.model, "model")
    conversation, is_new = await store.conversations.create(owner, body.id or uuid.uuid4().hex, title, model)
    response.status_code = 201 if is_new else 200
    return ConversationReply.of(conversation)


@router.delete("/conversations", responses=API_REPLIES)
async def delete_conversations(store: StoreDep, owner: Owner) -> DeletedReply:
    """Remove all of the caller's conversations and their pictures."""
    return DeletedReply(deleted=await store.conversations.delete_all(owner))


@router.get("/conversations/{conversation_id}", responses=API_REPLIES)
async def read_conversation(
    conversation_id: PathId, store: StoreDep, owner: Owner
) -> ConversationWithMessages:
    """One conversation with its messages."""
    whole = await store.conversations.whole(owner, conversation_id)
    if whole is None:
        raise conversation_missing()
    conversation, messages = whole
    return ConversationWithMessages(
        **ConversationReply.of(conversation).model_dump(),
        messages=[MessageReply.of(message) for message in messages],
    )


@router.patch("/conversations/{conversation_id}", responses=API_REPLIES)
async def change_conversation(
    conversation_id: PathId, body: ConversationChange, store: StoreDep, owner: Owner
) -> ConversationReply:
    """Rename a conversation, show another of its branches, or choose the model that answers."""
    title = None if body.title is None else checked_text(body.title, "title")
    model = None if body.model is None else checked_text(body.model, "model")
    conversation = await store.conversations.change(
        owner, conversation_id, title=title, leaf=body.leaf, model=model
    )
    if conversation is None:
        raise conversation_missing()
    return ConversationReply.of(conversation)


@router.delete("/conversations/{conversation_id}", status_code=204, responses=API_REPLIES)
async def delete_conversation(conversation_id: PathId, store: StoreDep, owner: Owner) -> None:
    """Remove a conversation, its messages, and the pictures no other one shows."""
    if not await store.conversations.delete(owner, conversation_id):
        raise conversation_missing()


_FILE: Replies = {
    200: {
        "description": "The file.",
        "content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {}},
    }
}


@router.get("/conversations/{conversation_id}/export", response_class=Response, responses=API_REPLIES | _FILE)
async def export_conversation(
    conversation_id: PathId,
    store: StoreDep,
    owner: Owner,
    format: Annotated[Literal["markdown", "json"], Query()] = "markdown",
) -> Response:
    """A conversation as a file: Markdown of the shown branch, or JSON of everything but the pictures."""
    whole = await store.conversations.whole(owner, conversation_id)
    if whole is None:
        raise conversation_missing()
    conversation, messages = whole
    if format == "json":
        text, media_type, suffix = as_json(conversation, messages), "application/json", "json"
    else:
        shown = as_markdown(conversation, branch_of(messages, conversation.leaf))
        text, media_type, suffix = shown, "text/markdown", "md"
    return Response(text, media_type=media_type, headers=disposition(conversation, suffix))
