"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from localgpt.errors import InputError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.answers import ChatWriter, notices_header, stream_chat
from localgpt.server.conversation import conversation_notices, messages_of
from localgpt.server.errors import STREAM_REPLIES
from localgpt.server.events import check_places, run_tasks
from localgpt.server.functions import ToolUse, answer_format_of, tool_use_of
from localgpt.server.heard import has_recordings, hear_turns
from localgpt.server.models import AnsweringModel, resolve_model
from localgpt.server.schemas.chat import ChatBody, ChatReply
from localgpt.server.schemas.neutral import refuse_unsupported
from localgpt.server.translate import checked_text, choices_of, options_of
from localgpt.server.work import run_for_client
from localgpt.tasks import ChatRequest, ChatResult, Painting, SamplingOptions

__all__ = ["router"]

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=ChatReply, responses=STREAM_REPLIES)
async def create_chat_completion(
    body: ChatBody, request: Request, gateway: GatewayDep, owner: Owner
) -> Response:
    """Answer a conversation, whole or as server-sent events (`stream: true`)."""
    refuse_unsupported(body)
    model = await resolve_model(gateway, body.model)
    heard: list[str] = []
    if has_recordings(body.messages):
        heard = await run_for_client(request, gateway, hear_turns(gateway, owner, model.id, body.messages))
    tool_use = tool_use_of(body)
    tasks = _tasks(body, model, owner, tool_use)
    check_places(gateway, tasks, param="n")
    writer = _writer(body, model, tasks[0].id, tool_use)
    writer.notices.extend(heard)
    if body.stream:
        return stream_chat(gateway, tasks, writer)
    with writer.naming():
        results = await run_for_client(request, gateway, run_tasks(gateway, tasks))
    reply = writer.whole([cast("ChatResult", result) for result in results])
    return JSONResponse(_reply_json(reply), headers=notices_header(reply.localgpt.notices))


def _tasks(body: ChatBody, model: AnsweringModel, owner: str, tool_use: ToolUse) -> list[ChatRequest]:
    task = ChatRequest(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        owner=owner,
        model=model.id,
        messages=messages_of(body.messages),
        options=_options(body),
        tools=tool_use.tools,
        tool_choice=tool_use.choice,
        parallel_tool_calls=tool_use.parallel,
        answer_format=answer_format_of(body),
        painting=Painting(num_previews=2) if "image" in (body.modalities or ()) else None,
    )
    return choices_of(task, body.n or 1)


def _writer(body: ChatBody, model: AnsweringModel, task_id: str, tool_use: ToolUse) -> ChatWriter:
    for name, value in (body.metadata or {}).items():
        checked_text(name + value, "metadata")
    return ChatWriter(
        id=task_id,
        model=model.id,
        created=int(time.time()),
        fingerprint=model.fingerprint,
        service_tier=body.service_tier,
        metadata=body.metadata,
        notices=conversation_notices(body.messages),
        is_legacy=tool_use.is_legacy,
        with_logprobs=bool(body.logprobs),
        with_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
    )


def _options(body: ChatBody) -> SamplingOptions:
    max_tokens = _one_of(body, "max_tokens", "max_completion_tokens", "max_output_tokens")
    penalty = _one_of(body, "repetition_penalty", "repeat_penalty")
    if body.top_logprobs is not None and not body.logprobs:
        raise InputError("top_logprobs needs logprobs: true", param="top_logprobs")
    top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    options = options_of(body, max_tokens=max_tokens, top_logprobs=top_logprobs)
    return replace(options, repetition_penalty=penalty)


def _one_of(body: ChatBody, *names: str) -> Any:
    """The value of a parameter that has several names."""
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    if len(set(given.values())) > 1:
        raise InputError(f"{' and '.join(given)} differ; send one of them", param=list(given)[-1])
    return next(iter(given.values()), None)


def _reply_json(reply: ChatReply) -> dict[str, Any]:
    """The reply without the fields that are there only when asked for."""
    data = reply.model_dump()
    for optional in ("service_tier", "metadata"):
        if data[optional] is None:
            del data[optional]
    for choice in data["choices"]:
        for optional in ("images", "tool_calls", "function_call"):
            if choice["message"][optional] is None:
                del choice["message"][optional]
    return data
