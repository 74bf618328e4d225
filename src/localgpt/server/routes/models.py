"""`GET /v1/models` and `GET /v1/models/{id}`; ids contain a slash, plain or encoded."""

from __future__ import annotations

from fastapi import APIRouter

from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.models import find_model, served_models
from localgpt.server.schemas.service import ModelItem, ModelsReply

__all__ = ["router"]

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=ERROR_REPLIES, response_model_exclude_none=True)
async def list_models(gateway: GatewayDep, owner: Owner) -> ModelsReply:
    """All served models, then the aliases that stand for them."""
    return ModelsReply(data=await served_models(gateway))


@router.get("/v1/models/{model:path}", responses=ERROR_REPLIES, response_model_exclude_none=True)
async def retrieve_model(model: str, gateway: GatewayDep, owner: Owner) -> ModelItem:
    """One served model or alias."""
    return await find_model(gateway, model)
