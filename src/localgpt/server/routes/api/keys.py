"""`/api/keys`: who may use this server; for admins."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from localgpt.errors import InputError, LastAdminError
from localgpt.server.access import Admin, GatewayDep, StoreDep, keep_admin, needs_key
from localgpt.server.errors import WireError
from localgpt.server.routes.api.common import API_REPLIES, PathId, Replies, missing
from localgpt.server.routes.api.session import set_session_cookie
from localgpt.server.schemas.api import KeyBody, KeyReply, KeysReply, NewKeyReply
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.store.records import Limits
from localgpt.server.translate import checked_text

__all__ = ["router"]

router = APIRouter()
_REVOKE_REPLIES: Replies = {
    **API_REPLIES,
    409: {"model": ErrorBody, "description": "It is the last admin's key, and somebody needs an admin."},
}


@router.get("/keys", responses=API_REPLIES)
async def list_keys(store: StoreDep, caller: Admin) -> KeysReply:
    """All keys, without the keys themselves."""
    return KeysReply(data=[KeyReply.of(entry) for entry in await store.accounts.entries()])


@router.post("/keys", status_code=201, responses=API_REPLIES)
async def create_key(
    body: KeyBody, request: Request, response: Response, gateway: GatewayDep, store: StoreDep, caller: Admin
) -> NewKeyReply:
    """Make a key. The first one closes the server to everybody without one, and signs this browser in."""
    was_open = not await needs_key(gateway)
    if was_open and body.role != "admin":
        raise InputError("the first key must be an admin's, or nobody could make another", param="role")
    limits = None if body.limits is None else Limits(**body.limits.model_dump())
    entry, key = await store.accounts.create(
        checked_text(body.name.strip(), "name"),
        body.role,
        limits,
        may_own_local=was_open,
        take_over=body.take_over,
    )
    if was_open:
        set_session_cookie(request, response, await store.accounts.sign_in(entry.id))
    return NewKeyReply(**KeyReply.of(entry).model_dump(), key=key)


@router.delete("/keys/{key_id}", status_code=204, responses=_REVOKE_REPLIES)
async def revoke_key(
    key_id: PathId, gateway: GatewayDep, store: StoreDep, caller: Admin, force: bool = False
) -> None:
    """Revoke a key and sign its browsers out; what its owner wrote stays.

    The last admin's key is kept while somebody needs an admin, unless `force` is true.
    """
    if await store.accounts.entry(key_id) is None:
        raise missing("key", "key_id")
    try:
        await store.accounts.revoke(key_id, keep_admin=keep_admin(gateway.settings, force=force))
    except LastAdminError as error:
        raise WireError(409, str(error), param="key_id", code="last_admin_key") from None
