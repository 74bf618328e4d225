"""`POST /v1/embeddings`."""

from __future__ import annotations

import uuid
from typing import cast

from fastapi import APIRouter, Request

from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.models import resolve_model
from localgpt.server.schemas.embeddings import EmbeddingItem, EmbeddingsBody, EmbeddingsReply, EmbeddingsUsage
from localgpt.server.translate import embed_inputs, float32_base64
from localgpt.server.work import run_for_client
from localgpt.tasks import EmbedRequest, EmbedResult

__all__ = ["router"]

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", responses=ERROR_REPLIES)
async def create_embeddings(
    body: EmbeddingsBody, request: Request, gateway: GatewayDep, owner: Owner
) -> EmbeddingsReply:
    """Embed texts and pictures into one space of unit-length vectors."""
    model = await resolve_model(gateway, body.model)
    task = EmbedRequest(
        id=f"embd-{uuid.uuid4().hex}",
        owner=owner,
        model=model.id,
        inputs=embed_inputs(body),
        dimensions=body.dimensions,
    )
    result = cast("EmbedResult", await run_for_client(request, gateway, gateway.service.run(task)))
    as_text = body.encoding_format == "base64"
    return EmbeddingsReply(
        data=[
            EmbeddingItem(index=index, embedding=float32_base64(vector) if as_text else list(vector))
            for index, vector in enumerate(result.embeddings)
        ],
        model=model.id,
        usage=EmbeddingsUsage(
            prompt_tokens=result.usage.prompt_tokens, total_tokens=result.usage.prompt_tokens
        ),
    )
