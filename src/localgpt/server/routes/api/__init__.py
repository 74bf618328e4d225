"""The page's own routes, under `/api`: sign-in, conversations, pictures, settings, keys, models, data.

All but those of models need the store. What belongs to another owner is answered exactly like what never
was: 404.
"""

from fastapi import APIRouter

from localgpt.server.routes.api import (
    answers,
    attachments,
    conversations,
    data,
    keys,
    messages,
    models,
    pictures,
    preferences,
    session,
)

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["page"])
for family in (
    session,
    conversations,
    messages,
    answers,
    attachments,
    preferences,
    keys,
    data,
    models,
    pictures,
):
    router.include_router(family.router)
