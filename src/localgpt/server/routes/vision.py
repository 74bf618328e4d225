"""`POST /v1/vision/describe` and `POST /v1/vision/ask`."""

from __future__ import annotations

import uuid
from typing import Any, cast

from fastapi import APIRouter, Request

from localgpt.errors import InputError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.gateway import Gateway
from localgpt.server.models import resolve_model
from localgpt.server.schemas.sampling import GenerationBody
from localgpt.server.schemas.vision import AskBody, DescribeBody, VisionReply
from localgpt.server.translate import checked_text, image_part, options_of, usage_reply
from localgpt.server.work import run_for_client
from localgpt.tasks import AskRequest, ChatResult, DescribeRequest

__all__ = ["router"]

router = APIRouter(tags=["vision"])


@router.post("/v1/vision/describe", responses=ERROR_REPLIES)
async def describe_picture(
    body: DescribeBody, request: Request, gateway: GatewayDep, owner: Owner
) -> VisionReply:
    """Describe one picture, in English unless asked otherwise."""
    fields = await _common_fields(gateway, body, owner)
    task = DescribeRequest(**fields, image=image_part(body.image, "image"), language=body.language or "en")
    return await _answer(task, request, gateway)


@router.post("/v1/vision/ask", responses=ERROR_REPLIES)
async def ask_about_picture(
    body: AskBody, request: Request, gateway: GatewayDep, owner: Owner
) -> VisionReply:
    """Answer one question about one picture."""
    if not body.question.strip():
        raise InputError("the question is empty; expected some words", param="question")
    fields = await _common_fields(gateway, body, owner)
    task = AskRequest(
        **fields, image=image_part(body.image, "image"), question=checked_text(body.question, "question")
    )
    return await _answer(task, request, gateway)


async def _common_fields(gateway: Gateway, body: GenerationBody, owner: str) -> dict[str, Any]:
    model = await resolve_model(gateway, body.model)
    # Facts about a picture are told greedily, as on the command line.
    options = options_of(body, temperature=0.0)
    return {"id": f"vision-{uuid.uuid4().hex}", "owner": owner, "model": model.id, "options": options}


async def _answer(task: DescribeRequest | AskRequest, request: Request, gateway: Gateway) -> VisionReply:
    result = cast("ChatResult", await run_for_client(request, gateway, gateway.service.run(task)))
    return VisionReply(
        generated_text=result.text,
        finish_reason="length" if result.finish_reason == "length" else "stop",
        model=task.model,
        usage=usage_reply([result.usage]),
        notices=list(result.notices),
    )
