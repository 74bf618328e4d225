"""Every failure on the wire: one table from exception to status, one error body.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from localgpt.errors import (
    AudioFormatError,
    BackendError,
    BusyModelError,
    CancelledRequestError,
    CapacityError,
    CheckpointError,
    ConfigError,
    DeadlineError,
    DiskFullError,
    FilteredError,
    GatedModelError,
    HubError,
    ImageFormatError,
    InputError,
    LocalGPTError,
    OfflineError,
    PromptTooLongError,
    RateLimitError,
    StoreError,
    UnknownModelError,
    UnsafeCheckpointError,
    WrongHashError,
)
from localgpt.server.schemas.common import ErrorBody, ErrorDetail

__all__ = [
    "ERROR_REPLIES",
    "EVENT_CONTENT",
    "STREAM_REPLIES",
    "WireError",
    "describe_error",
    "describe_invalid",
    "install_error_handlers",
    "internal_error",
    "param_path",
]

logger = logging.getLogger(__name__)


class WireError(Exception):
    """A failure that belongs to the HTTP face alone (no such model, wrong key, body too large)."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(message=message, type=kind, param=param, code=code)
        self.headers = dict(headers or {})


class _Row(NamedTuple):
    status: int
    kind: str
    code: str | None


# The first row whose class fits decides; children stand before parents.
_TABLE: tuple[tuple[type[LocalGPTError], _Row], ...] = (
    (PromptTooLongError, _Row(400, "invalid_request_error", "context_length_exceeded")),
    (ImageFormatError, _Row(400, "invalid_request_error", "invalid_image")),
    (AudioFormatError, _Row(400, "invalid_request_error", "invalid_audio")),
    (FilteredError, _Row(400, "invalid_request_error", "content_policy_violation")),
    (InputError, _Row(400, "invalid_request_error", None)),
    (GatedModelError, _Row(403, "invalid_request_error", "model_gated")),
    (UnknownModelError, _Row(404, "invalid_request_error", "model_unknown")),
    (OfflineError, _Row(403, "invalid_request_error", "offline")),
    (ConfigError, _Row(400, "invalid_request_error", None)),
    (RateLimitError, _Row(429, "requests", "rate_limit_exceeded")),
    (DiskFullError, _Row(507, "server_error", "disk_full")),
    (BusyModelError, _Row(409, "invalid_request_error", "model_busy")),
    (CapacityError, _Row(503, "server_error", "overloaded")),
    (DeadlineError, _Row(503, "server_error", "deadline_exceeded")),
    (CancelledRequestError, _Row(503, "server_error", "cancelled")),
    (WrongHashError, _Row(502, "server_error", "wrong_hash")),
    (HubError, _Row(502, "server_error", "hub_unavailable")),
    (UnsafeCheckpointError, _Row(503, "server_error", "model_unsafe")),
    (CheckpointError, _Row(503, "server_error", "model_unavailable")),
    (BackendError, _Row(503, "server_error", "backend_unavailable")),
    (StoreError, _Row(503, "server_error", "store_unavailable")),
    (LocalGPTError, _Row(500, "server_error", None)),
)
_RETRY_AFTER_S = 2.0  # where the error cannot tell
_STATUS_TEXT = {
    404: "no such route: {method} {path}; the routes are listed in /openapi.json",
    405: "{method} is not allowed on {path}",
}

# One reply brings the body's model into the schema, the others refer to it: a route then starts faster.
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
ERROR_REPLIES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, **({"model": ErrorBody} if status == 400 else {"content": _ERROR_CONTENT})}
    for status, text in (
        (400, "A field is missing, unknown, out of range or not supported; `param` names it."),
        (401, "The key is missing or wrong."),
        (403, "The Host or Origin header is not one of this server's."),
        (404, "No such model."),
        (408, "The body did not arrive in time."),
        (413, "The body is too large."),
        (415, "The body is compressed; send it plain."),
        (429, "The key's own limit is used up; `Retry-After` says when to come back."),
        (431, "The headers are too large or too many."),
        (503, "No room at the moment, not finished in time, stopping, or the model could not be loaded."),
    )
}
"""What every route documents beside its own answer."""

EVENT_CONTENT: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    }
}
"""A stream of server-sent events; the schema is that of one event."""

STREAM_REPLIES: dict[int | str, dict[str, Any]] = {
    **ERROR_REPLIES,
    200: {
        "description": "The whole answer, or with `stream: true` its pieces as server-sent events.",
        "content": EVENT_CONTENT,
    },
}
"""`ERROR_REPLIES` of a route that streams when it is asked to."""


def describe_error(error: LocalGPTError | WireError) -> tuple[int, ErrorBody, dict[str, str]]:
    """Status, body and extra headers of an exception."""
    if isinstance(error, WireError):
        return error.status, ErrorBody(error=error.detail), error.headers
    row = next(row for kind, row in _TABLE if isinstance(error, kind))
    detail = ErrorDetail(
        message=str(error), type=row.kind, param=getattr(error, "param", None), code=row.code
    )
    headers = {}
    if row.status in (429, 503):
        retry_after_s = getattr(error, "retry_after_s", None) or _RETRY_AFTER_S
        headers["retry-after"] = str(math.ceil(retry_after_s))
    return row.status, ErrorBody(error=detail), headers


def param_path(location: Sequence[str | int]) -> str | None:
    """The path of a field as its caller wrote it.

    `("body", "messages", 0, "tag:user", "content", "tag:string") -> "messages[0].content"`
    """
    path = ""
    for step in location[location[:1] in (("body",), ("query",), ("path",)) :]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]" and not step.startswith("tag:"):
            path += f".{step}" if path else step
    return path or None


def internal_error() -> JSONResponse:
    """What the caller sees of a bug: that there is one."""
    return _reply(
        500, _body("an internal error; the server's log has the details", None, None, "server_error")
    )


def _reply(status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


def _invalid(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _reply(400, _body("the body is not valid JSON", None, "invalid_json"))
    message, param = describe_invalid(first)
    if param is None:
        message = "expected a JSON object with content type application/json"
    return _reply(400, _body(message, param, None))


def describe_invalid(error: Mapping[str, Any], place: str = "") -> tuple[str, str | None]:
    """What is wrong with a field, and its path; the value is never repeated: it may be a whole picture.

    Args:
        error: one of pydantic's.
        place: the path of what was read, if it is a part.
    """
    path = param_path(tuple(error["loc"]))
    param = ".".join(filter(None, (place, path))).replace(".[", "[") or None
    if error["type"] == "extra_forbidden":
        return f"{param} is not a parameter of this route", param
    if error["type"] == "missing":
        return f"{param} is missing", param
    return (f"{param}: {error['msg']}" if param else str(error["msg"])), param


def _body(
    message: str, param: str | None, code: str | None, kind: str = "invalid_request_error"
) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of `app` the one body."""

    async def on_known(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, LocalGPTError | WireError)
        return _reply(*describe_error(error))

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _invalid(error)

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, LocalGPTError | WireError):
            return await on_known(request, error.__cause__)
        text = _STATUS_TEXT.get(error.status_code)  # of the two alone: a detail may hold braces of a caller
        message = text.format(method=request.method, path=request.url.path) if text else str(error.detail)
        headers = dict(error.headers or {})
        if "Allow" in headers:
            headers["Allow"] = ", ".join(_allowed_methods(app, request))
        return _reply(error.status_code, _body(message, None, None), headers)

    app.add_exception_handler(LocalGPTError, on_known)
    app.add_exception_handler(WireError, on_known)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    _correct_schema(app)


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """All methods of a path; the framework lists those of the first route with that path."""
    scope = {"type": "http", "path": request.scope["path"], "root_path": request.scope.get("root_path", "")}
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def _correct_schema(app: FastAPI) -> None:
    """Take out of the schema what the framework adds for bodies that do not fit: here they are a 400."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        schema = build()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
