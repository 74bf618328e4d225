"""Routes of the wire whose models are not installed: 501, what is missing, and what to use meanwhile."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from fastapi import APIRouter, Request

from localgpt.server.access import Owner
from localgpt.server.errors import ERROR_REPLIES, WireError
from localgpt.server.schemas.common import ErrorBody

__all__ = ["MISSING", "router"]


class _Missing(NamedTuple):
    method: str
    path: str
    what: str
    meanwhile: str


_TALK = "call over a WebSocket at /v1/realtime"

MISSING = (
    _Missing("POST", "/v1/realtime/calls", "WebRTC", _TALK),
    _Missing(
        "POST", "/v1/vision/detect", "a model that finds objects", "ask /v1/vision/ask what is in the picture"
    ),
    _Missing(
        "POST",
        "/v1/vision/scene",
        "a model that names scenes",
        "ask /v1/vision/ask where the picture was taken",
    ),
)
_REPLIES: dict[int | str, dict[str, Any]] = {
    **{status: reply for status, reply in ERROR_REPLIES.items() if status not in (400, 404)},
    501: {"model": ErrorBody, "description": "Not installed; the message says what is missing."},
}
_WHAT = {(one.method, one.path): one for one in MISSING}

router = APIRouter(tags=["not installed"])


async def tell_what_is_missing(request: Request, owner: Owner) -> NoReturn:
    """Not installed in this version."""
    one = _WHAT[request.method, request.url.path]
    raise WireError(
        501,
        f"{one.path} needs {one.what}, which is not installed in this version; meanwhile, {one.meanwhile}",
        kind="server_error",
        code="not_implemented",
        headers={"x-should-retry": "false"},  # else stock clients try again, and again
    )


for _one in MISSING:
    router.add_api_route(
        _one.path,
        tell_what_is_missing,
        methods=[_one.method],
        status_code=501,
        responses=_REPLIES,
        response_model=ErrorBody,
        summary=f"Needs {_one.what}, which is not installed",
        operation_id=_one.path.strip("/").replace("/", "_"),
    )
