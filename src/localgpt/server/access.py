"""Who may ask: keys, and the sessions of browsers that signed in with one.

A caller is known by the key in the Authorization header, else by the session cookie of a browser that signed
in with one. On a server that is for this machine alone, while there is no key at all, everybody is its owner.

Covered: guessing by timing; requests of other web sites with the user's cookie (it is SameSite=Strict, what
changes something must name its origin besides, and `origins` refuses foreign ones).
Not covered: other programs of the same user on this machine, who may use a loopback server that has no key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, WebSocket
from starlette.datastructures import Headers

from localgpt.errors import ConfigError, StoreError
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway, get_gateway
from localgpt.server.store.records import LOCAL_OWNER, KeepAdmin, KeyEntry, Role, new_key
from localgpt.settings import Settings

if TYPE_CHECKING:
    from localgpt.server.schemas.realtime import SessionBody
    from localgpt.server.store.opening import Store

__all__ = [
    "SESSION_COOKIE",
    "Admin",
    "Caller",
    "CallerDep",
    "GatewayDep",
    "Owner",
    "StoreDep",
    "authenticate",
    "identify",
    "identify_socket",
    "is_loopback",
    "is_public",
    "keep_admin",
    "lacks_key",
    "match_key",
    "needs_key",
    "require_key",
    "unknown_key",
]

SESSION_COOKIE = "localgpt_session"
MIN_KEY_LENGTH = 8  # of a key in the settings, where others can try; keys of the store have 43 and more
_KEY_PROTOCOL = "openai-insecure-api-key."  # how a browser, which sends no headers, shows a key
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `account` names the key they came with, for sessions; None without a key."""

    owner: str  # whose conversations these are, and who waits in the queue
    role: Role
    name: str | None = None
    account: str | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address: localhost, 127.0.0.0/8, ::1."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_public(settings: Settings) -> bool:
    """Whether others than this machine can ask: at its address, or through a proxy that listens elsewhere.

    A further name and a believed proxy are there for callers from other machines, whom such a server cannot
    tell from those of its own.
    """
    return bool(not is_loopback(settings.host) or settings.allowed_hosts or settings.trusted_proxies)


def lacks_key(settings: Settings, *, has_stored_keys: bool) -> bool:
    """Whether others could ask without a key; the arguments are those of `require_key`."""
    return is_public(settings) and not (settings.api_keys or has_stored_keys)


def require_key(settings: Settings, *, has_stored_keys: bool) -> None:
    """Refuse to listen where others can ask without a key, or with one that is soon guessed.

    Args:
        settings: address, proxies and keys.
        has_stored_keys: whether the store has some besides.

    Raises:
        ConfigError: the server is public and there is no key, or a short one.
    """
    if is_public(settings) and any(len(key) < MIN_KEY_LENGTH for key in settings.api_keys):
        raise ConfigError(
            f"an API key has fewer than {MIN_KEY_LENGTH} characters, which others soon guess, and "
            f"{_why(settings)}; give a long random one, such as {new_key()}"
        )
    if lacks_key(settings, has_stored_keys=has_stored_keys):
        raise ConfigError(
            f"{_why(settings)} and needs a key, for example: localgpt serve {_options(settings)} "
            f"--api-key {new_key()} (or make one that is kept: localgpt keys create NAME --role admin)"
        )


def keep_admin(settings: Settings, *, force: bool) -> KeepAdmin:
    """When a server with these settings keeps its last admin's key; `force` lets go of it."""
    if force or settings.api_keys:  # each of these is an admin's
        return "never"
    return "always" if is_public(settings) else "for_others"


def _why(settings: Settings) -> str:
    if not is_loopback(settings.host):
        return f"{settings.host} can be reached from other machines"
    return "a server with a further name or a trusted proxy can be reached from other machines"


def _options(settings: Settings) -> str:
    named = [("--host", settings.host)] if not is_loopback(settings.host) else []
    named += [("--allowed-host", name) for name in settings.allowed_hosts]
    named += [("--trusted-proxy", address) for address in settings.trusted_proxies]
    return " ".join(f"{option} {value}" for option, value in named)


def _foreign_origin() -> WireError:
    return WireError(403, "requests from other web sites are not answered", code="origin_not_allowed")


async def needs_key(gateway: Gateway) -> bool:
    """Whether callers have to show a key.

    A public server's always: revoking the last key closes it, it does not open it.
    """
    if gateway.api_keys or is_public(gateway.settings):
        return True
    return gateway.store is not None and await gateway.store.accounts.has_keys()


async def match_key(gateway: Gateway, key: str) -> Caller | None:
    """The caller a key belongs to: one of the settings, or one of the store. Nothing is nobody's key."""
    if not key.strip():
        return None
    given = _digest(key)
    # Every key is compared, in constant time each, so that time tells nothing about which one came close.
    matches = [hmac.compare_digest(_digest(known), given) for known in gateway.api_keys]
    if any(matches):
        return _configured(gateway, matches.index(True))
    if gateway.store is None:
        return None
    entry = await gateway.store.accounts.find(key)
    return None if entry is None else await _stored(gateway.store, entry)


def _configured(gateway: Gateway, index: int) -> Caller:
    """The caller of a key in the settings.

    The first one is the operator's own and opens what was written while there was no key; each further one
    opens what is its own.
    """
    digest = _digest(gateway.api_keys[index]).hex()
    if gateway.store is not None:  # what is written down does not help to guess a weak key
        digest = gateway.store.accounts.mark_of(gateway.api_keys[index])
    owner = LOCAL_OWNER if index == 0 else f"key:{digest[:12]}"
    return Caller(owner=owner, role="admin", account=f"settings:{digest}")


async def _stored(store: Store, entry: KeyEntry) -> Caller:
    with contextlib.suppress(StoreError):  # a full disk must not lock everybody out
        await store.accounts.note_use(entry)
    return Caller(owner=entry.owner, role=entry.role, name=entry.name, account=entry.id)


async def identify(request: Request) -> Caller | None:
    """Who asks; None when a key is needed and none was given.

    Raises:
        WireError: 401 for a wrong key, 403 for a session used from elsewhere.
    """
    gateway = get_gateway(request)
    if not await needs_key(gateway):
        return Caller(owner=LOCAL_OWNER, role="admin")
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme:
        caller = await match_key(gateway, given.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise unknown_key("the key in the Authorization header is not one of this server's")
        return caller
    token = request.cookies.get(SESSION_COOKIE)
    caller = await _by_session(gateway, token) if token else None
    # Browsers name the origin of every request that changes something; one that does not is no page of ours.
    if caller is not None and request.method not in _SAFE_METHODS and not _is_own_page(request.headers):
        raise _foreign_origin()
    return caller


def _is_own_page(headers: Headers) -> bool:
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


async def _by_session(gateway: Gateway, token: str) -> Caller | None:
    if gateway.store is None:
        return None
    account = await gateway.store.accounts.session_account(token)
    return None if account is None else await _by_account(gateway, account)


async def _by_account(gateway: Gateway, account: str) -> Caller | None:
    """The caller of a key that was shown earlier; None where it has been revoked since."""
    for index in range(len(gateway.api_keys)):
        caller = _configured(gateway, index)
        if caller.account == account:
            return caller
    if gateway.store is None:
        return None
    entry = await gateway.store.accounts.entry(account)
    return None if entry is None else await _stored(gateway.store, entry)


async def identify_socket(socket: WebSocket, gateway: Gateway) -> tuple[Caller, SessionBody | None]:
    """Who opens a call, and what it begins with where their key says so.

    The key, or a client secret, comes in the Authorization header or as a sub-protocol; or a signed-in page
    calls, whose browser names its origin.

    Raises:
        WireError: 401 without a key where one is needed, or with a wrong one.
    """
    scheme, _, key = socket.headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else ""
    for protocol in socket.scope["subprotocols"]:
        if protocol.startswith(_KEY_PROTOCOL):
            key = protocol.removeprefix(_KEY_PROTOCOL)
    if (found := gateway.secrets.find(key)) is not None and await _still_may(gateway, found[0]):
        return found
    if not await needs_key(gateway):
        return Caller(owner=LOCAL_OWNER, role="admin"), None
    if key or scheme:
        caller = await match_key(gateway, key)
        if caller is None:
            raise unknown_key("the key is not one of this server's")
        return caller, None
    token = socket.cookies.get(SESSION_COOKIE)
    caller = await _by_session(gateway, token) if token and _is_own_page(socket.headers) else None
    if caller is None:
        raise unknown_key("this server needs a key: send the header 'Authorization: Bearer <key>'")
    return caller, None


async def _still_may(gateway: Gateway, caller: Caller) -> bool:
    """Whether who made a client secret could make one now: it dies with their key."""
    if caller.account is None:  # made while there was no key at all
        return not await needs_key(gateway)
    return await _by_account(gateway, caller.account) is not None


def unknown_key(message: str) -> WireError:
    """The 401 of a missing or wrong key."""
    return WireError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


async def authenticate(request: Request) -> Caller:
    """Who asks; found out once for each request, before its body is read.

    Raises:
        WireError: 401 without a key where one is needed, else as `identify`.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        caller = await identify(request)
        if caller is None:
            raise unknown_key("this server needs a key: send the header 'Authorization: Bearer <key>'")
        request.state.caller = caller
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]
"""Who asks; 401 without a key where one is needed."""


async def _owner(caller: CallerDep) -> str:
    return caller.owner


Owner = Annotated[str, Depends(_owner)]
"""The caller's name for what is theirs: `local` without keys, else of the key."""


async def _admin(caller: CallerDep) -> Caller:
    if caller.role != "admin":
        raise WireError(403, "this needs the key of an admin", code="admin_only")
    return caller


Admin = Annotated[Caller, Depends(_admin)]
"""Who asks; 403 unless they are an admin."""

GatewayDep = Annotated[Gateway, Depends(get_gateway)]


def _hold(request: Request) -> Callable[[int], None]:
    hold: Callable[[int], None] = request.state.hold
    return hold


Hold = Annotated[Callable[[int], None], Depends(_hold)]
"""Counts bytes that a request reads from the store among the bodies; a 503 where there is no room."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _store(gateway: GatewayDep) -> Store:
    if gateway.store is None:
        raise WireError(
            503,
            "this server keeps nothing: it was started without a store; 'localgpt serve' opens one",
            kind="server_error",
            code="no_store",
        )
    return gateway.store


StoreDep = Annotated["Store", Depends(_store)]
"""The open store; 503 where there is none."""
