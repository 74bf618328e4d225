"""Who may ask: API keys, and the Host and Origin checks that keep other web sites out.

Covered: DNS rebinding (a foreign name that resolves to 127.0.0.1 fails the Host check), cross-site requests
from a page in the same browser (Origin and Sec-Fetch-Site), key guessing by timing.
Not covered: other programs of the same user on this machine, who may use a loopback server that has no key.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from localgpt.errors import ConfigError
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway, get_gateway
from localgpt.settings import Settings

__all__ = ["Owner", "check_origin", "is_loopback", "require_key"]

LOCAL_OWNER = "local"
_FOREIGN_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site that another origin sends


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address: localhost, 127.0.0.0/8, ::1."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def require_key(settings: Settings) -> None:
    """Refuse to listen where others can ask without a key.

    Raises:
        ConfigError: the address is public and there is no key.
    """
    if not settings.api_keys and not is_loopback(settings.host):
        raise ConfigError(
            f"{settings.host} can be reached from other machines; set an API key, or listen on 127.0.0.1"
        )


def check_origin(headers: Headers, *, path: str, bound_host: str, allowed_hosts: Sequence[str] = ()) -> None:
    """Refuse requests that another web site makes through the user's browser.

    Args:
        headers: the request's headers.
        path: the request's path; pages may be opened from a link elsewhere, the API may not be called.
        bound_host: the address the server listens on. On loopback, only loopback names are answered; a public
            server needs a key, which a rebound name does not have, so any name is answered there.
        allowed_hosts: further names, without port.

    Raises:
        WireError: 403; the Host or the Origin is foreign.
    """
    host = headers.get("host", "")
    name = _hostname(host)
    if is_loopback(bound_host) and not (is_loopback(name) or name in allowed_hosts):
        raise WireError(
            403,
            f"this server answers to localhost and 127.0.0.1, not to {name!r}",
            code="host_not_allowed",
        )
    origin = headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2] != host
    if origin is None and path.startswith("/v1/"):
        foreign = headers.get("sec-fetch-site") in _FOREIGN_SITES
    if foreign:
        raise WireError(403, "requests from other web sites are not answered", code="origin_not_allowed")


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _authenticate(request: Request) -> str:
    gateway = get_gateway(request)
    keys = gateway.api_keys
    if not keys:
        return LOCAL_OWNER
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given_digest = _digest(given.strip()) if scheme.lower() == "bearer" else b""
    # Every key is compared, in constant time each, so that time tells nothing about which one came close.
    matches = [hmac.compare_digest(_digest(key), given_digest) for key in keys]
    if not any(matches):
        raise WireError(
            401,
            "this server needs a key: send the header 'Authorization: Bearer <key>'"
            if not given
            else "the key in the Authorization header is not one of this server's",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
    return "key:" + given_digest.hex()[:12]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


Owner = Annotated[str, Depends(_authenticate)]
"""The caller's name for accounting: `local` without keys, else a digest of the key."""

GatewayDep = Annotated[Gateway, Depends(get_gateway)]
