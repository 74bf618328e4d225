"""What the page's routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from localgpt.server.errors import ERROR_REPLIES, WireError
from localgpt.server.schemas.api import ID_PATTERN
from localgpt.server.schemas.common import ErrorBody

__all__ = ["API_REPLIES", "PathId", "Replies", "conversation_missing", "missing"]

PathId = Annotated[str, Path(pattern=ID_PATTERN)]
"""An id in a path; one that cannot be an id is a 400."""

Replies = dict[int | str, dict[str, Any]]
API_REPLIES: Replies = {
    **ERROR_REPLIES,
    403: {"model": ErrorBody, "description": "The Host or Origin is foreign, or an admin's key is needed."},
    404: {"model": ErrorBody, "description": "There is no such thing, or it is another owner's."},
    503: {"model": ErrorBody, "description": "There is no store, or it cannot be used at the moment."},
}


def missing(what: str, param: str) -> WireError:
    """The 404 of something that is not there, or not the caller's."""
    return WireError(404, f"there is no such {what}", param=param, code="not_found")


def conversation_missing() -> WireError:
    """The 404 of a conversation."""
    return missing("conversation", "conversation_id")
