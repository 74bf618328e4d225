"""`/api/session`: whether a key is needed, signing in with one, signing out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from localgpt import __version__
from localgpt.server.access import (
    SESSION_COOKIE,
    Caller,
    GatewayDep,
    StoreDep,
    identify,
    match_key,
    needs_key,
    unknown_key,
)
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.routes.api.common import API_REPLIES
from localgpt.server.schemas.api import SessionReply, SignInBody

__all__ = ["router", "set_session_cookie"]

router = APIRouter()


async def _somebody(request: Request) -> Caller | None:
    try:
        return await identify(request)
    except WireError:
        return None


@router.get("/session", responses=API_REPLIES)
async def read_session(
    gateway: GatewayDep, caller: Annotated[Caller | None, Depends(_somebody)]
) -> SessionReply:
    """Who asks, and whether a key is needed; never a 401."""
    return await _reply(gateway, caller)


@router.post("/session", responses=API_REPLIES)
async def sign_in(
    body: SignInBody, request: Request, response: Response, gateway: GatewayDep, store: StoreDep
) -> SessionReply:
    """Sign this browser in with a key, by a cookie that scripts cannot read."""
    if not await needs_key(gateway):
        return await _reply(gateway, await _somebody(request))
    caller = await match_key(gateway, body.key.strip())
    if caller is None or caller.account is None:
        raise unknown_key("that key is not one of this server's")
    set_session_cookie(request, response, await store.accounts.sign_in(caller.account))
    return await _reply(gateway, caller)


@router.delete("/session", status_code=204, responses=API_REPLIES)
async def sign_out(request: Request, response: Response, store: StoreDep) -> None:
    """End this browser's session."""
    token = request.cookies.get(SESSION_COOKIE)
    if token:
        await store.accounts.sign_out(token)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")


def set_session_cookie(request: Request, response: Response, token: str) -> None:
    """Hand a session's token to the browser.

    Args:
        request: tells whether the connection is encrypted.
        response: takes the cookie.
        token: as `Accounts.sign_in` made it.
    """
    from localgpt.server.store.accounts import SESSION_S

    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=SESSION_S,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


async def _reply(gateway: Gateway, caller: Caller | None) -> SessionReply:
    return SessionReply(
        needs_key=await needs_key(gateway),
        signed_in=caller is not None,
        name=None if caller is None else caller.name,
        role=None if caller is None else caller.role,
        encrypted=gateway.store is not None and gateway.store.encrypts,
        version=__version__,
        voice=gateway.settings.enable_voice,
    )
