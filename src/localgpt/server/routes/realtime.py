"""`/v1/realtime`: a spoken conversation over a WebSocket, and the short-lived keys that open one.

What keeps a caller out (a key, the number of calls, a server without voice) is told as an HTTP status before
the socket opens; what is wrong with the call itself, as an `error` event in it, since browsers show no
status.
"""

from __future__ import annotations

import logging
import time
from typing import Any, NoReturn, cast

from fastapi import APIRouter, Depends, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect, WebSocketState

from localgpt.errors import CapacityError, LocalGPTError
from localgpt.server.access import Caller, CallerDep, GatewayDep, identify_socket
from localgpt.server.errors import ERROR_REPLIES, WireError, describe_error
from localgpt.server.gateway import Gateway
from localgpt.server.realtime.call import POLICY, Call
from localgpt.server.realtime.session import first_session, merged, session_wire
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.schemas.realtime import SecretBody, SessionBody
from localgpt.server.schemas.realtime_replies import SecretReply
from localgpt.server.voice import require_voice

__all__ = ["router", "sockets"]

logger = logging.getLogger(__name__)
router = APIRouter(tags=["realtime"], dependencies=[Depends(require_voice)])
sockets = APIRouter()

_PROTOCOL = "realtime"
_UPGRADE: dict[int | str, dict[str, Any]] = {
    **{status: reply for status, reply in ERROR_REPLIES.items() if status != 404},
    426: {"description": "Not asked for a WebSocket."},
}
_QUERIES = ("model", "intent")


@sockets.websocket("/v1/realtime")
async def talk(socket: WebSocket) -> None:
    """Speak with a model; see docs/api.md for the events."""
    gateway = cast("Gateway", socket.app.state.gateway)
    try:
        caller, session = await _admit(socket, gateway)
    except (LocalGPTError, WireError) as error:
        status, body, headers = describe_error(error)
        await socket.send_denial_response(
            JSONResponse(body.model_dump(), status_code=status, headers=headers)
        )
        return
    protocol = _PROTOCOL if _PROTOCOL in socket.scope["subprotocols"] else None
    gateway.calls.add(socket)
    gateway.metrics.calls.set(len(gateway.calls))
    started = time.perf_counter()
    try:
        await socket.accept(subprotocol=protocol)
        call = Call(gateway, caller, session, send=_sender(socket), receive=_receiver(socket))
        code, reason = await call.run()
        if socket.application_state is WebSocketState.CONNECTED:
            await _close(socket, code, reason)
    finally:
        gateway.calls.discard(socket)
        gateway.metrics.calls.set(len(gateway.calls))
        logger.info("call %s ended after %.0f s", socket.url.path, time.perf_counter() - started)


@router.get("/v1/realtime", status_code=426, response_model=ErrorBody, responses=_UPGRADE)
async def upgrade(caller: CallerDep, model: str | None = None, intent: str | None = None) -> NoReturn:
    """A call is a WebSocket: send `Upgrade: websocket`."""
    raise WireError(
        426,
        "a call is a WebSocket; open ws://.../v1/realtime, or ask /v1/chat/completions",
        code="upgrade_required",
        headers={"upgrade": "websocket"},
    )


@router.post("/v1/realtime/client_secrets", responses=ERROR_REPLIES)
async def create_client_secret(body: SecretBody, caller: CallerDep, gateway: GatewayDep) -> SecretReply:
    """A key that opens calls for a few minutes, so that a browser need not know the caller's own."""
    given = dict(body.session or {})
    kind = given.get("type", "realtime")
    session = merged(first_session(kind if kind == "transcription" else "realtime"), given)
    secret, expires_at = gateway.secrets.make(caller, session, body.expires_after.seconds)
    shown = session_wire(session, session_id="", model=session.model or "", expires_at=expires_at)
    return SecretReply(value=secret, expires_at=expires_at, session=shown)


async def _admit(socket: WebSocket, gateway: Gateway) -> tuple[Caller, SessionBody]:
    """Who calls, and what the call begins with.

    Raises:
        WireError: 401 without a key that opens this server; 400 for a query that is not known; 501 where the
            server was started without voice.
        CapacityError: there are as many calls as may be, or the server is stopping.
    """
    require_voice(gateway)
    caller, session = await identify_socket(socket, gateway)
    for name in socket.query_params:
        if name not in _QUERIES:
            raise WireError(400, f"{name} is not a parameter of this route", param=name)
    if gateway.turns.is_closed:
        raise CapacityError("the server is stopping; try again soon")
    if len(gateway.calls) >= gateway.settings.max_calls:
        gateway.metrics.refused("calls")
        raise CapacityError(
            f"{len(gateway.calls)} calls are open, which is the limit (LOCALGPT_MAX_CALLS); try again later"
        )
    intent = socket.query_params.get("intent", "conversation")
    if intent not in ("conversation", "transcription"):
        raise WireError(400, f"intent is {intent!r}; expected transcription, or none", param="intent")
    if session is None:
        session = first_session("transcription" if intent == "transcription" else "realtime")
    if (model := socket.query_params.get("model")) is not None and session.type == "realtime":
        session = session.model_copy(update={"model": model})
    return caller, session


def _sender(socket: WebSocket) -> Any:
    async def send(text: str) -> None:
        try:
            await socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError: it has been closed meanwhile
            raise ConnectionError("the client is gone") from error

    return send


def _receiver(socket: WebSocket) -> Any:
    async def receive() -> str | None:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"").decode("utf-8", "replace")

    return receive


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason if code == POLICY else reason[:100])
    except (WebSocketDisconnect, RuntimeError):
        logger.debug("the client had closed the call already")
