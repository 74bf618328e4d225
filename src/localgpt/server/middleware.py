"""Around every request: id, security headers, log line without content, body limit, origin check.

Plain ASGI, so that a stream is never buffered and a disconnect reaches the route.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localgpt.server.access import check_origin
from localgpt.server.errors import WireError, describe_error, internal_error
from localgpt.units import MIB

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


class Envelope:
    """The outermost application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        bound_host: str,
        allowed_hosts: tuple[str, ...] = (),
        max_body_bytes: int = 64 * MIB,
    ) -> None:
        self.app = app
        self.bound_host = bound_host
        self.allowed_hosts = allowed_hosts
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given_id = headers.get("x-request-id", "")
        request_id = given_id if _OWN_ID.fullmatch(given_id) else f"req_{uuid.uuid4().hex}"
        started, status = time.perf_counter(), 0

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, send_enveloped, headers)
        except Exception:
            logger.exception("a bug while answering %s %s %s", scope["method"], scope["path"], request_id)
            if status == 0:  # else the answer is under way, and breaking it off says it all
                await internal_error()(scope, receive, send_enveloped)
        finally:
            elapsed_ms = 1000 * (time.perf_counter() - started)
            logger.info("%s %s %d %.0f ms %s", scope["method"], scope["path"], status, elapsed_ms, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        try:
            check_origin(
                headers, path=scope["path"], bound_host=self.bound_host, allowed_hosts=self.allowed_hosts
            )
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > self.max_body_bytes:
                raise self._too_large()
        except WireError as error:
            status, body, extra = describe_error(error)
            await JSONResponse(body.model_dump(), status_code=status, headers=extra)(scope, receive, send)
            return
        await self.app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.max_body_bytes:
                # The one class that FastAPI lets through while it reads a body.
                raise HTTPException(413, str(self._too_large()))
            return message

        return limited

    def _too_large(self) -> WireError:
        return WireError(413, f"the body is too large; at most {self.max_body_bytes} bytes are read")
