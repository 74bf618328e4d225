"""Requests for an upstream, and the service that forwards them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.service import UpstreamService
from localgpt.tasks import ChatRequest, ChatResult, Event, Finished, Message, Request, SamplingOptions
from tests.upstream.wire_server import WireServer

MODEL = "upstream:box/llama3.2:3b"
KEY = "sk-hidden-key"


def service_of(server: WireServer, **given: Any) -> UpstreamService:
    """The service of one upstream called box."""
    upstream = Upstream(**{"name": "box", "base_url": server.url, "kind": "localgpt"} | given)
    return UpstreamService([upstream], first_wait_s=60.0)


def chat(
    *messages: Message, text: str = "hi", options: SamplingOptions | None = None, **given: Any
) -> ChatRequest:
    turns = messages or (Message.of("user", text),)
    return ChatRequest(
        **{"id": "r", "model": MODEL, "messages": turns, "options": options or SamplingOptions()} | given
    )


async def answer(service: UpstreamService, request: Request) -> ChatResult:
    result = await service.run(request)
    assert isinstance(result, ChatResult)
    return result


async def events_of(service: UpstreamService, request: Request) -> tuple[list[Event], ChatResult]:
    """All events but the last, and the result that the last one holds."""
    async with aclosing(cast("AsyncGenerator[Event]", service.stream(request))) as stream:
        events = [event async for event in stream]
    last = events.pop()
    assert isinstance(last, Finished)
    return events, last.answer
