"""`/health` (the process answers), `/ready` (the models are loaded), `/v1/status` (what runs where)."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from localgpt import __version__
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.metrics import total_process_bytes
from localgpt.server.schemas.service import HealthReply, ReadyReply, ServedModel, StatusReply
from localgpt.tasks import ModelStatus

__all__ = ["router"]

router = APIRouter(tags=["status"])


_REFUSALS: dict[int | str, dict[str, Any]] = {status: ERROR_REPLIES[status] for status in (403, 431)}


@router.get("/health", responses=_REFUSALS)
async def health() -> HealthReply:
    """Answers as soon as the process accepts requests; needs no key."""
    return HealthReply(version=__version__)


@router.get(
    "/ready", responses={**_REFUSALS, 503: {"model": ReadyReply, "description": "Loading, or stopping."}}
)
async def ready(gateway: GatewayDep, response: Response) -> ReadyReply:
    """Answers 200 once the models are loaded, 503 before and while the server stops. Needs no key.

    Requests sent before the models are loaded wait for them.
    """
    is_stopping = gateway.turns.is_closed
    if not is_stopping and (await gateway.service.status()).ready:
        return ReadyReply(status="ready")
    response.status_code = 503
    response.headers["retry-after"] = "1"
    return ReadyReply(status="stopping" if is_stopping else "loading")


@router.get("/v1/status", responses=ERROR_REPLIES)
async def status(gateway: GatewayDep, owner: Owner) -> StatusReply:
    """Device, models, memory and load."""
    now = await gateway.service.status()
    return StatusReply(
        ready=now.ready,
        version=__version__,
        device=now.device,
        dtype=now.dtype,
        models=[_served(model) for model in now.models],
        resident_bytes=now.resident_bytes,
        num_running=now.num_running,
        num_waiting=now.num_waiting,
        max_batch_size=now.max_batch_size,
        max_queue=gateway.settings.max_queue,
        tokens_per_s=round(gateway.metrics.recent_tokens.per_s(), 2),
        process_bytes=total_process_bytes(now),
        uptime_s=int(time.time()) - gateway.started_at,
        notices=list(now.notices),
    )


def _served(model: ModelStatus) -> ServedModel:
    return ServedModel(
        id=model.id,
        tasks=list(model.tasks),
        num_params=model.num_params,
        weight_bytes=model.weight_bytes,
        context_len=model.context_len,
        licence=model.licence,
        upstream=model.upstream,
        leaves_machine=model.leaves_machine,
        names=list(model.names),
        loaded=model.is_loaded,
    )
