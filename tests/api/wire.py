"""One ASGI connection, driven by hand: what a client sends and reads, message by message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import ASGIApp


class Wire:
    """A POST whose body is sent at once; its answer is read as it comes.

    Args:
        app: what is asked.
        body: sent as JSON.
        path: the route.
        headers: further ones.
        max_unread: messages that the client leaves unread before it holds up the server; 0 is no limit.
    """

    def __init__(
        self,
        app: ASGIApp,
        body: dict[str, Any],
        *,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        max_unread: int = 0,
    ) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(max_unread)
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        data = json.dumps(body).encode()
        self.inbox.put_nowait({"type": "http.request", "body": data, "more_body": False})
        given = {"host": "127.0.0.1:8000", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": "POST",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self.inbox.get, self.outbox.put))  # type: ignore[arg-type]

    async def next(self) -> bytes:
        """The next bytes of the answer."""
        message = await self.outbox.get()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        body: bytes = message.get("body", b"")
        return body

    async def until(self, text: bytes) -> None:
        """Read up to the message that holds `text`."""
        while text not in await self.next():
            pass

    def disconnect(self) -> None:
        """Go away."""
        self.inbox.put_nowait({"type": "http.disconnect"})
