"""Around every request: id, security headers, log line and count without content, limits, origin check.

Plain ASGI, so that a stream is never buffered and a disconnect reaches the route.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from localgpt.errors import LocalGPTError
from localgpt.server.bodies import BodyReader, BodyRoom, too_large
from localgpt.server.errors import WireError, describe_error, internal_error
from localgpt.server.metrics import Metrics
from localgpt.server.origins import check_origin
from localgpt.units import GIB, KIB, MIB

__all__ = ["CONTENT_SECURITY_POLICY", "Envelope"]

logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
_SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
}
_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET_PATHS = ("/health", "/ready")  # asked every few seconds by whoever watches the server
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32 * 1024
_SMALL_BODY_BYTES = 256 * KIB  # of names, keys and choices on the page's own routes
_SIGN_IN_PATH = "/api/session"  # its body is the key
_LARGE_ENDS = ("/messages", "/attachments")  # of those of them that take texts and pictures
_UPLOAD_PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")  # bodies of which little is in memory
_MAX_BODIES = 4  # of the largest size that are held at once
_MAX_DRAIN_BYTES = 4 * MIB  # read of a body that nobody needs, so that its sender sees the answer
_GONE = 499  # in log and metrics: the client left before the status was sent
_POLICY_VIOLATION = 1008  # close code of a WebSocket


class Envelope:
    """The outermost application.

    Args:
        app: answers what is let through.
        bound_host: see `check_origin`.
        allowed_hosts: see `check_origin`.
        authenticate: called before a body is read, except that of a sign-in; None lets everybody in.
        max_body_bytes: of one request; all together may be four times as large.
        max_upload_bytes: of one recording, which goes to the disk.
        read_timeout_s: see `BodyReader`.
        metrics: where requests are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bound_host: str,
        allowed_hosts: tuple[str, ...] = (),
        authenticate: Callable[[Request], Awaitable[object]] | None = None,
        max_body_bytes: int = 64 * MIB,
        max_upload_bytes: int = 2 * GIB,
        read_timeout_s: float = 10.0,
        metrics: Metrics | None = None,
    ) -> None:
        self.app = app
        self.bound_host = bound_host
        self.allowed_hosts = allowed_hosts
        self.authenticate = authenticate
        self.max_body_bytes = max_body_bytes
        self.max_upload_bytes = max_upload_bytes
        self.room = BodyRoom(_MAX_BODIES * max_body_bytes)
        self.read_timeout_s = read_timeout_s
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "websocket":
            await self._open_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given_id = headers.get("x-request-id", "")
        request_id = given_id if _OWN_ID.fullmatch(given_id) else f"req_{uuid.uuid4().hex}"
        started, status = time.perf_counter(), 0
        reader = self._reader(scope, receive, headers)
        ending = ExitStack()  # what goes when the request is over, however it ends
        scope.setdefault("state", {}).update(hold=reader.hold, ending=ending)

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    out.setdefault(name, value)
                if not (reader.is_whole or await _is_drained(reader, headers)):
                    out["connection"] = "close"
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._answer(scope, reader, send_enveloped, headers)
            except Exception:
                logger.exception("a bug while answering %s %s", scope["method"], _shown(scope["path"]))
                if status == 0:  # else the answer is under way, and breaking it off says it all
                    await internal_error()(scope, receive, send_enveloped)
            finally:
                ending.close()
                reader.close()
                self._note(scope, status or _GONE, time.perf_counter() - started)

    async def _answer(self, scope: Scope, reader: BodyReader, send: Send, headers: Headers) -> None:
        try:
            self._check(scope, headers)
            await self._authenticate(scope, headers)
        except (WireError, LocalGPTError) as error:
            status, body, extra = describe_error(error)
            await JSONResponse(body.model_dump(), status_code=status, headers=extra)(scope, reader, send)
            return
        await self.app(scope, reader, send)

    async def _authenticate(self, scope: Scope, headers: Headers) -> None:
        is_read = _has_body(headers) and scope["method"] not in ("GET", "HEAD")
        if self.authenticate is not None and is_read and scope["path"] != _SIGN_IN_PATH:
            await self.authenticate(Request(scope))

    def _reader(self, scope: Scope, receive: Receive, headers: Headers) -> BodyReader:
        kind = headers.get("content-type", "")  # without one, the framework reads no JSON either
        return BodyReader(
            receive,
            max_bytes=self._max_bytes(scope["path"]),
            read_timeout_s=self.read_timeout_s,
            is_json="json" in kind.lower(),
            room=self.room,
            is_kept=scope["path"] not in _UPLOAD_PATHS,
        )

    def _max_bytes(self, path: str) -> int:
        if path in _UPLOAD_PATHS:
            return self.max_upload_bytes
        is_small = path.startswith("/api/") and not path.endswith(_LARGE_ENDS)
        return min(_SMALL_BODY_BYTES, self.max_body_bytes) if is_small else self.max_body_bytes

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Everything that can be said before the body is read.

        Raises:
            WireError: 403, 413, 415 or 431.
        """
        close = {"connection": "close"}
        num_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        if len(scope["headers"]) > _MAX_HEADERS or num_bytes > _MAX_HEADER_BYTES:
            limits = f"at most {_MAX_HEADERS} headers of {_MAX_HEADER_BYTES} bytes together are read"
            raise WireError(431, f"too many or too large headers; {limits}", headers=close)
        check_origin(
            headers, path=scope["path"], bound_host=self.bound_host, allowed_hosts=self.allowed_hosts
        )
        length = headers.get("content-length", "0")
        max_bytes = self._max_bytes(scope["path"])
        if not length.isdecimal() or int(length) > max_bytes:
            raise WireError(413, too_large(max_bytes), headers=close)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise WireError(415, "compressed bodies are not read; send the body plain", headers=close)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            check_origin(
                Headers(scope=scope),
                path=scope["path"],
                bound_host=self.bound_host,
                allowed_hosts=self.allowed_hosts,
            )
        except WireError as error:
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": str(error)})
            return
        await self.app(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """One log line and one count; neither holds the query string or anything of the body."""
        method = scope["method"]
        if self.metrics is not None:
            self.metrics.answered(method, _route(scope), status, seconds)
        level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
        path, elapsed_ms = _shown(scope["path"]), round(1000 * seconds)
        logger.log(
            level,
            "%s %s %d %d ms",
            method,
            path,
            status,
            elapsed_ms,
            extra={"method": method, "path": path, "status": status, "elapsed_ms": elapsed_ms},
        )


async def _is_drained(reader: BodyReader, headers: Headers) -> bool:
    """Whether nothing of an unread body is left, so that the connection can go on."""
    if not _has_body(headers):
        return True
    # Whoever waits for word before it sends the body must not be asked for it now.
    return "expect" not in headers and await reader.drain(_MAX_DRAIN_BYTES)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _route(scope: Scope) -> str:
    """The route as written in the code; what fits none, or is refused before the routes, is `other`."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        return template
    return "/assets" if scope.get("root_path", "").endswith("/assets") else "other"


def _shown(path: str) -> str:
    """A path for the log: no line ends, no escapes of a terminal, not endless."""
    return quote(path, safe="/-._~!$&'()*+,;=:@")[:200]
