"""Host, Origin and Sec-Fetch-Site: what keeps other web sites out of a server on the user's own machine.

Covered: DNS rebinding (a foreign name that resolves to 127.0.0.1 is not one this server answers to), and
requests that a page elsewhere makes through the user's browser: forms, images, scripts, fetch, WebSockets.
Programs on the desktop that are built around a browser's window (Tauri, as Jan is) name an origin that no web
site can have; they are let in as other programs are.
No CORS header is ever sent, so no other site reads an answer. `X-Forwarded-*` is not looked at here.
Not covered: programs that are no browser; they can write any header, and keys are for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers

from localgpt.server.access import is_loopback
from localgpt.server.errors import WireError

__all__ = ["check_origin"]

_FOREIGN_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site that another origin sends
_DESKTOP_ORIGINS = ("tauri://localhost", "http://tauri.localhost", "https://tauri.localhost")
_PAGE_PATHS = ("/", "/favicon.svg")
_PAGE_ASSETS = "/assets/"


def check_origin(headers: Headers, *, path: str, bound_host: str, allowed_hosts: Sequence[str] = ()) -> None:
    """Refuse requests that another web site makes through the user's browser.

    Args:
        headers: the request's headers.
        path: the request's path; the page may be opened from a link elsewhere, nothing else may be asked for.
        bound_host: the address the server listens on. On loopback, only loopback names are answered; a public
            server needs a key, which a rebound name does not have, so any name is answered there.
        allowed_hosts: further names, without port.

    Raises:
        WireError: 403; the Host or the Origin is foreign.
    """
    host = headers.get("host", "").lower()
    name = _hostname(host)
    is_known = is_loopback(name) or name in [allowed.lower() for allowed in allowed_hosts]
    if is_loopback(bound_host) and not is_known:
        raise WireError(
            403,
            f"this server answers to localhost and 127.0.0.1, not to {name!r}; "
            "--allowed-host lets it answer to a further name",
            code="host_not_allowed",
        )
    if _is_foreign(headers, host, path):
        raise WireError(403, "requests from other web sites are not answered", code="origin_not_allowed")


def _is_foreign(headers: Headers, host: str, path: str) -> bool:
    origins = headers.getlist("origin")
    if origins:
        # "null" is the origin of sandboxed frames and local files: nobody in particular, so nobody of ours.
        return any(
            not host or (origin not in _DESKTOP_ORIGINS and origin.lower().partition("://")[2] != host)
            for origin in origins
        )
    is_page = path in _PAGE_PATHS or path.startswith(_PAGE_ASSETS)
    return not is_page and headers.get("sec-fetch-site") in _FOREIGN_SITES


def _hostname(host: str) -> str:
    """The name without its port: `[::1]:8000` is `[::1]`."""
    if host.startswith("["):
        name, bracket, port = host.partition("]")
        return name + bracket if not port or port.startswith(":") else host
    return host.partition(":")[0]
