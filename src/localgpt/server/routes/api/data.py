"""`GET /api/data`: how much is kept, how, and where."""

from __future__ import annotations

from fastapi import APIRouter

from localgpt.server.access import CallerDep, StoreDep
from localgpt.server.routes.api.common import API_REPLIES
from localgpt.server.schemas.api import DataReply

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
        bytes=summary.num_bytes,
        encrypted=store.encrypts,
        retention_days=store.retention_days,
        folder=str(store.folder) if caller.role == "admin" else None,
    )
