"""`/api/data`: how much is kept, how, and where; and removing it all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from localgpt.server.access import CallerDep, Owner, StoreDep
from localgpt.server.routes.api.common import API_REPLIES
from localgpt.server.schemas.api import DataReply, DeletedDataReply

__all__ = ["router"]

router = APIRouter()


@router.get("/data", responses=API_REPLIES)
async def read_data(store: StoreDep, caller: CallerDep) -> DataReply:
    """What is kept of the caller's."""
    summary = await store.summary(caller.owner)
    return DataReply(
        conversations=summary.num_conversations,
        messages=summary.num_messages,
        attachments=summary.num_attachments,
        responses=summary.num_responses,
        bytes=summary.num_bytes,
        encrypted=store.encrypts,
        retention_days=store.retention_days,
        folder=str(store.folder) if caller.role == "admin" else None,
    )


@router.delete("/data", responses=API_REPLIES)
async def delete_data(
    store: StoreDep,
    owner: Owner,
    settings: Annotated[bool, Query(description="What was chosen on the page, too.")] = False,
) -> DeletedDataReply:
    """Remove all of the caller's conversations, pictures and kept responses; keys stay."""
    removed = await store.forget(owner, with_settings=settings)
    return DeletedDataReply(
        conversations=removed.num_conversations,
        messages=removed.num_messages,
        attachments=removed.num_attachments,
        responses=removed.num_responses,
    )
