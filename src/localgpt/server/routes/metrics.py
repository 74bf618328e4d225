"""`GET /metrics`: the figures of `localgpt.server.metrics` for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES

__all__ = ["router"]

router = APIRouter(tags=["status"])


@router.get("/metrics", response_class=PlainTextResponse, responses=ERROR_REPLIES)
async def metrics(gateway: GatewayDep, owner: Owner) -> Response:
    """Counters, times and memory in the text format of Prometheus.

    As open as the API itself: where a key is needed, it is needed here.
    """
    page = gateway.metrics.page(await gateway.service.status())
    return Response(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)
