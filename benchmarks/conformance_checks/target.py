"""What a check is, what it asks, and the record of every parameter that was sent."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import AsyncOpenAI

__all__ = ["CHECKS", "MODEL", "Check", "Target", "check", "expect", "picture_url", "refused"]

MODEL = "local/multimodal-base"


@dataclass(slots=True)
class Target:
    """A server under test: the official client in strict validation, a plain one, and what both have sent."""

    openai: AsyncOpenAI
    http: httpx2.AsyncClient
    key: str | None = None  # None where the server asks for no key
    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # path to parameters
    asked: set[tuple[str, str]] = field(default_factory=set)  # method and path of every request

    @classmethod
    def at(
        cls, url: str, *, key: str | None = None, transport: httpx2.AsyncBaseTransport | None = None
    ) -> Target:
        """A server at a URL, or behind a transport of this process."""
        sent: dict[str, set[str]] = defaultdict(set)
        asked: set[tuple[str, str]] = set()

        async def record(request: httpx2.Request) -> None:
            asked.add((request.method, request.url.path))
            if request.headers.get("content-type") == "application/json":
                with contextlib.suppress(ValueError):  # some checks send what is no JSON
                    sent[request.url.path].update(json.loads(request.content))

        def client() -> httpx2.AsyncClient:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return httpx2.AsyncClient(
                base_url=url,
                transport=transport,
                headers=headers,
                timeout=120,
                event_hooks={"request": [record]},
            )

        openai = AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key=key or "unused",
            max_retries=0,
            http_client=client(),
            _strict_response_validation=True,
        )
        return cls(openai=openai, http=client(), key=key, sent=sent, asked=asked)

    @property
    def lenient(self) -> AsyncOpenAI:
        """The official client without strict validation, for answers that its own types forbid.

        Those are vectors in base64, which it asks for by default, and the null `finish_reason` of a streamed
        text that goes on.
        """
        return self.openai.with_options(_extra_kwargs={"_strict_response_validation": False})

    async def close(self) -> None:
        """Close both clients."""
        await self.openai.close()
        await self.http.aclose()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold. `needs_sense` needs a model that knows something."""

    area: str
    name: str
    run: Callable[[Target], Awaitable[None]]
    needs_sense: bool = False


CHECKS: list[Check] = []
"""All checks, in the order of the modules that were imported."""

_Run = Callable[[Target], Awaitable[None]]


def check(area: str, name: str, *, needs_sense: bool = False) -> Callable[[_Run], _Run]:
    """Enter a function as a check."""

    def enter(run: _Run) -> _Run:
        CHECKS.append(Check(area, name, run, needs_sense))
        return run

    return enter


def expect(holds: object, what: str) -> None:
    """Fail a check with a reason, also where Python runs without assertions."""
    if not holds:
        raise AssertionError(what)


async def refused(
    target: Target, path: str, body: Mapping[str, Any], param: str | None, *, status: int = 400
) -> dict[str, Any]:
    """Send what must be refused, and look at the error's four keys.

    Returns:
        The error.
    """
    reply = await target.http.post(path, json=body)
    expect(
        reply.status_code == status,
        f"{param}: status {reply.status_code}, expected {status}: {reply.text[:200]}",
    )
    error: dict[str, Any] = reply.json()["error"]
    expect(set(error) == {"message", "type", "param", "code"}, f"the error has the keys {sorted(error)}")
    expect(error["param"] == param, f"the error names {error['param']!r}, expected {param!r}")
    expect(error["message"], "the error has no message")
    return error


def picture_url(colour: tuple[int, int, int] = (200, 30, 30), size: int = 64) -> str:
    """A data URL of a plain PNG."""
    row = b"\x00" + bytes(colour) * size
    data = io.BytesIO()
    data.write(b"\x89PNG\r\n\x1a\n")
    header = size.to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(row * size)), (b"IEND", b"")):
        data.write(len(content).to_bytes(4, "big") + kind + content)
        data.write(zlib.crc32(kind + content).to_bytes(4, "big"))
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
