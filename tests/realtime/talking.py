"""A call without a socket: events go in and come out, one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai.types.realtime import realtime_server_event
from pydantic import TypeAdapter

from localgpt.server import create_app
from localgpt.server.access import Caller
from localgpt.server.gateway import Gateway
from localgpt.server.realtime.call import Call
from localgpt.server.realtime.session import first_session, merged
from localgpt.settings import Settings
from tests.api.fake_service import FakeService
from tests.realtime.speech import Samples, base64_of

PATIENCE_S = 60
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(realtime_server_event.RealtimeServerEvent)
TEXT = {"output_modalities": ["text"]}


class Talk:
    """One client of one call."""

    def __init__(self, service: FakeService, session: dict[str, Any] | None = None, **settings: Any) -> None:
        self.gateway: Gateway = create_app(Settings(**settings), service).state.gateway
        self.seen: list[dict[str, Any]] = []
        self.texts: list[str] = []  # as they were sent
        self.inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self.reads = asyncio.Event()  # cleared by a client that reads nothing
        self.reads.set()
        given = session or {}
        kind = given.get("type", "realtime")
        caller = Caller(owner="local", role="admin")
        first = merged(first_session(kind), given)
        self.call = Call(self.gateway, caller, first, send=self._send, receive=self.inbox.get)
        self.task = asyncio.ensure_future(self.call.run())

    async def _send(self, text: str) -> None:
        await self.reads.wait()
        self.texts.append(text)
        self._outbox.put_nowait(text)

    def send(self, kind: str, **fields: Any) -> None:
        self.inbox.put_nowait(json.dumps({"type": kind, **fields}))

    def speak(self, samples: Samples, *, piece_ms: int = 100, rate: int = 24_000) -> None:
        """Send sound in pieces, as a microphone gives it."""
        step = piece_ms * rate // 1000
        for begin in range(0, len(samples), step):
            self.send("input_audio_buffer.append", audio=base64_of(samples[begin : begin + step]))

    def type(self, text: str, **more: Any) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content, **more}
        self.send("conversation.item.create", item=item)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            event: dict[str, Any] = json.loads(await self._outbox.get())
        if event["type"] != "conversation.item.retrieved":  # the client's types say it twice
            SERVER_EVENT.validate_python(event)
        self.seen.append(event)
        return event

    async def until(self, kind: str) -> dict[str, Any]:
        """Read up to the next event of a kind; an error on the way fails the test."""
        while (event := await self.next())["type"] != kind:
            assert event["type"] != "error", event
        return event

    async def quiet(self) -> list[dict[str, Any]]:
        """Everything that has come once all that was sent is worked on, and nothing is under way."""
        self.send("conversation.item.retrieve", item_id="the-end")
        begin = len(self.seen)
        while (await self.next())["type"] != "error":
            pass
        return self.seen[begin:-1]

    def kinds(self, begin: int = 0) -> list[str]:
        """The kinds that were seen; runs of one kind count once."""
        kinds = [event["type"] for event in self.seen[begin:]]
        return [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.seen if event["type"] == kind]


@asynccontextmanager
async def talking(
    service: FakeService, session: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Talk]:
    """A call that lasts while the block runs, and leaves no task behind."""
    before = asyncio.all_tasks()
    talk = Talk(service, session, **settings)
    try:
        assert (await talk.next())["type"] == "session.created"
        yield talk
    finally:
        talk.reads.set()
        talk.inbox.put_nowait(None)
        async with asyncio.timeout(PATIENCE_S):
            await talk.task
    await asyncio.sleep(0)
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}
