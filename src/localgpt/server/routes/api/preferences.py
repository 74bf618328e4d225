"""`/api/settings`: what the caller chose on the page."""

from __future__ import annotations

from fastapi import APIRouter

from localgpt.server.access import Owner, StoreDep
from localgpt.server.routes.api.common import API_REPLIES
from localgpt.server.schemas.api import PreferencesBody, PreferencesReply
from localgpt.server.translate import checked_text

__all__ = ["router"]

router = APIRouter()


@router.get("/settings", responses=API_REPLIES)
async def read_settings(store: StoreDep, owner: Owner) -> PreferencesReply:
    """The caller's settings."""
    return PreferencesReply.of(await store.preferences.get(owner))


@router.put("/settings", responses=API_REPLIES)
async def change_settings(body: PreferencesBody, store: StoreDep, owner: Owner) -> PreferencesReply:
    """Choose anew what is sent; the rest stays."""
    checked_text(body.system_prompt, "system_prompt")
    if body.model is not None:
        checked_text(body.model, "model")
    changed = body.model_dump(exclude_unset=True)
    return PreferencesReply.of(await store.preferences.change(owner, **changed))
