"""`POST /v1/chat/completions`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from localgpt.errors import BackendError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.errors import ERROR_REPLIES
from localgpt.server.models import check_model
from localgpt.server.schemas.chat import (
    ChatBody,
    ChatChoice,
    ChatChunk,
    ChatReply,
    ChunkChoice,
    ChunkDelta,
    ReplyMessage,
)
from localgpt.server.schemas.common import Extension
from localgpt.server.schemas.neutral import refuse_unsupported
from localgpt.server.translate import messages_of, options_of, usage_reply, wire_notices
from localgpt.server.work import EventStream, run_for_client
from localgpt.tasks import ChatRequest, ChatResult, Event, FinishReason, Notice, TextDelta

__all__ = ["router"]

router = APIRouter(tags=["chat"])
NOTICES_HEADER = "x-localgpt-notices"


@router.post("/v1/chat/completions", response_model=ChatReply, responses=ERROR_REPLIES)
async def create_chat_completion(
    body: ChatBody, request: Request, gateway: GatewayDep, owner: Owner
) -> Response:
    """Answer a conversation, whole or as server-sent events (`stream: true`)."""
    refuse_unsupported(body)
    await check_model(gateway, body.model)
    task = ChatRequest(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        owner=owner,
        model=body.model,
        messages=messages_of(body),
        options=options_of(body),
    )
    answer = _Answer(id=task.id, model=body.model, created=int(time.time()))
    notices = wire_notices(body)
    if not body.stream:
        result = cast("ChatResult", await run_for_client(request, gateway, gateway.service.run(task)))
        notices.extend(result.notices)
        reply = answer.whole(result, notices)
        return JSONResponse(reply.model_dump(), headers=_notice_header(notices))
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    bodies = _stream(gateway.service.stream(task), answer, notices, with_usage)
    return EventStream(bodies, gateway, headers=lambda: _notice_header(notices))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What all chunks of one answer share."""

    id: str
    model: str
    created: int

    def whole(self, result: ChatResult, notices: list[str]) -> ChatReply:
        return ChatReply(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[
                ChatChoice(
                    message=ReplyMessage(content=result.text), finish_reason=_finish(result.finish_reason)
                )
            ],
            usage=usage_reply(result.usage),
            localgpt=Extension(notices=notices),
        )

    def chunk(
        self, delta: ChunkDelta, *, finish: FinishReason | None = None, notices: list[str] | None = None
    ) -> str:
        chunk = ChatChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[ChunkChoice(delta=delta, finish_reason=None if finish is None else _finish(finish))],
            localgpt=Extension(notices=notices) if notices else None,
        )
        return _chunk_json(chunk)

    def usage(self, result: ChatResult) -> str:
        chunk = ChatChunk(
            id=self.id, created=self.created, model=self.model, choices=[], usage=usage_reply(result.usage)
        )
        return _chunk_json(chunk)


async def _first_piece(events: AsyncIterator[Event], notices: list[str]) -> Event:
    """The first event that is not a notice; notices before it are put into `notices`."""
    async for event in events:
        if not isinstance(event, Notice):
            return event
        notices.append(event.text)
    raise BackendError("the model's stream ended without an answer; try again")


async def _stream(
    events: AsyncIterator[Event], answer: _Answer, notices: list[str], with_usage: bool
) -> AsyncIterator[str]:
    """The chunks of an answer; closing this closes `events`, which cancels the work."""
    async with aclosing(cast("AsyncGenerator[Event]", events)):
        # Nothing is yielded before the first piece: what fails at the door is a status, not an event.
        event: Event | None = await _first_piece(events, notices)
        yield answer.chunk(ChunkDelta(role="assistant", content=""), notices=notices)
        told = set(notices)
        while event is not None:
            if isinstance(event, TextDelta):
                yield answer.chunk(ChunkDelta(content=event.text))
            elif isinstance(event, Notice):
                told.add(event.text)
                yield answer.chunk(ChunkDelta(), notices=[event.text])
            else:
                untold = [text for text in event.result.notices if text not in told]
                yield answer.chunk(ChunkDelta(), finish=event.result.finish_reason, notices=untold)
                if with_usage:
                    yield answer.usage(event.result)
            event = await anext(events, None)


def _finish(reason: FinishReason) -> Literal["stop", "length"]:
    return "length" if reason == "length" else "stop"


def _chunk_json(chunk: ChatChunk) -> str:
    """The chunk's JSON without the fields that add nothing; `finish_reason` stays, null or not."""
    data: dict[str, Any] = chunk.model_dump()
    for optional in ("usage", "localgpt"):
        if data[optional] is None:
            del data[optional]
    for choice in data["choices"]:
        choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
    return json.dumps(data, ensure_ascii=False)


def _notice_header(notices: list[str]) -> dict[str, str]:
    return {NOTICES_HEADER: json.dumps(notices)} if notices else {}
