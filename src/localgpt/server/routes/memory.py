"""`GET /v1/memory`: who holds the device's memory, who waits for it, and what was moved lately."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.schemas.memory import MemoryReply

__all__ = ["router"]

router = APIRouter(tags=["status"])


@router.get("/v1/memory", responses=ERROR_REPLIES)
async def memory(gateway: GatewayDep, owner: Owner) -> MemoryReply:
    """Residents, reservations, who waits, learned peaks and the last plans."""
    status = await gateway.service.status()
    if status.memory is None:
        return MemoryReply(ready=False, device=status.device)
    return MemoryReply.model_validate({"ready": status.ready, **asdict(status.memory)})
