"""What the plain routes below `/v1/realtime` answer."""

from __future__ import annotations

from typing import Any

from localgpt.server.schemas.common import Reply

__all__ = ["SecretReply"]


class SecretReply(Reply):
    """A key that opens calls, and with what they begin."""

    value: str
    expires_at: int  # seconds since the epoch
    session: dict[str, Any]
