"""From the events and results of chat tasks to the chat wire's chunks and replies.

Both `/v1/chat/completions` and the page's conversations answer through this, so that there is one way to
write an answer down.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from localgpt.errors import InputError
from localgpt.server.events import EventBodies, Events, Watcher, news_of
from localgpt.server.gateway import Gateway
from localgpt.server.painted import picture_parts, told_of
from localgpt.server.schemas.chat import (
    ChatChoice,
    ChatChunk,
    ChatReply,
    ChoiceLogprobs,
    ChunkChoice,
    ChunkDelta,
    ChunkExtension,
    FunctionCallChunk,
    FunctionCallReply,
    LikelyToken,
    ReplyMessage,
    TokenLogprobReply,
    ToolCallChunk,
    ToolCallReply,
    WireFinish,
)
from localgpt.server.schemas.common import Extension
from localgpt.server.translate import usage_reply
from localgpt.server.work import EventStream
from localgpt.tasks import (
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    FinishReason,
    Notice,
    PaintPreview,
    Progress,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

__all__ = ["NOTICES_HEADER", "ChatWriter", "logprob_replies", "notices_header", "stream_chat", "token_text"]

NOTICES_HEADER = "x-localgpt-notices"
_MAX_HEADER_BYTES = 2048  # and a line for what is left out
_LEGACY_NAMES = {"tools": "functions", "tool_choice": "function_call"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWriter:
    """What all parts of one answer share, and how they are written.

    `is_legacy` writes calls as `function_call`; `with_logprobs` writes log probabilities; `with_usage` ends a
    stream with the token counts. `notices` are known before the answer; a stream adds those that come before
    its first piece.
    """

    id: str
    model: str
    created: int  # seconds since the epoch
    fingerprint: str
    service_tier: str | None = None  # as asked for; the reply says the one there is
    metadata: dict[str, str] | None = None
    notices: list[str] = field(default_factory=list)
    is_legacy: bool = False
    with_logprobs: bool = False
    with_usage: bool = False

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Name the parameters of a task's errors as the caller spelled them."""
        try:
            yield
        except InputError as error:
            if self.is_legacy and error.param is not None:
                error.param = _LEGACY_NAMES.get(error.param, error.param)
            raise

    def whole(self, results: Sequence[ChatResult]) -> ChatReply:
        """The reply of one result for each choice."""
        told = [*self.notices, *(text for result in results for text in result.notices)]
        return ChatReply(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._choice(index, result) for index, result in enumerate(results)],
            usage=usage_reply([result.usage for result in results]),
            system_fingerprint=self.fingerprint,
            service_tier=None if self.service_tier is None else "default",
            metadata=self.metadata,
            localgpt=Extension(notices=list(dict.fromkeys(told))),
        )

    def _choice(self, index: int, result: ChatResult) -> ChatChoice:
        calls = [FunctionCallReply(name=call.name, arguments=call.arguments) for call in result.tool_calls]
        message = ReplyMessage(content=result.text if result.text or not calls else None)
        message.images = picture_parts(result)
        if calls and self.is_legacy:
            message.function_call = calls[0]
        elif calls:
            message.tool_calls = [
                ToolCallReply(id=call.id, function=function)
                for call, function in zip(result.tool_calls, calls, strict=True)
            ]
        return ChatChoice(
            index=index,
            message=message,
            finish_reason=self._finish(result.finish_reason),
            logprobs=_logprobs(result.logprobs) if self.with_logprobs else None,
        )

    async def chunks(self, events: Events, num_choices: int) -> AsyncGenerator[str]:
        """The chunks of a stream as JSON: roles first, then pieces as they come, then the token counts."""
        usages: dict[int, Usage] = {}
        has_begun = False
        with self.naming():
            async for index, event, untold in news_of(events, self.notices):
                if not has_begun:
                    has_begun = True
                    for choice in range(num_choices):
                        delta = ChunkDelta(role="assistant", content="")
                        yield self._chunk(choice, delta, notices=self.notices if choice == 0 else ())
                if isinstance(event, Finished):
                    usages[index] = event.answer.usage
                    if (images := picture_parts(event.answer)) is not None:
                        yield self._chunk(index, ChunkDelta(images=images))
                yield self._piece(index, event, untold)
        if self.with_usage:
            yield self._json([], usage=[usages[index] for index in sorted(usages)])

    def _piece(self, index: int, event: Event, notices: Sequence[str]) -> str:
        match event:
            case TextDelta():
                return self._chunk(index, ChunkDelta(content=event.text), logprobs=event.logprobs)
            case ToolCallDelta():
                return self._chunk(index, self._call_delta(event))
            case Notice():
                return self._chunk(index, ChunkDelta(), notices=notices)
            case PaintPreview() | Progress():
                choice = ChunkChoice(index=index, delta=ChunkDelta())
                return self._json([choice], extension=told_of(event))
            case Finished():
                return self._chunk(index, ChunkDelta(), finish=event.answer.finish_reason, notices=notices)
            case _:
                raise AssertionError(f"an answer in words has no {type(event).__name__}")

    def _call_delta(self, event: ToolCallDelta) -> ChunkDelta:
        function = FunctionCallChunk(name=event.name, arguments=event.arguments)
        if self.is_legacy:
            return ChunkDelta(function_call=function)
        call = ToolCallChunk(index=event.index, id=event.id, function=function)
        if event.id is not None:
            call.type = "function"
        return ChunkDelta(tool_calls=[call])

    def _chunk(
        self,
        index: int,
        delta: ChunkDelta,
        *,
        finish: FinishReason | None = None,
        logprobs: Sequence[TokenLogprob] = (),
        notices: Sequence[str] = (),
    ) -> str:
        choice = ChunkChoice(
            index=index,
            delta=delta,
            finish_reason=None if finish is None else self._finish(finish),
            logprobs=_logprobs(logprobs) if self.with_logprobs and logprobs else None,
        )
        return self._json([choice], notices=notices)

    def _json(
        self,
        choices: list[ChunkChoice],
        *,
        usage: Sequence[Usage] = (),
        notices: Sequence[str] = (),
        extension: ChunkExtension | None = None,
    ) -> str:
        """A chunk's JSON without the fields that add nothing; `finish_reason` stays, null or not."""
        if notices:
            extension = ChunkExtension(notices=list(notices))
        chunk = ChatChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.fingerprint,
            service_tier=None if self.service_tier is None else "default",
            usage=usage_reply(usage) if usage else None,
            localgpt=extension,
        )
        data: dict[str, Any] = chunk.model_dump()
        data["localgpt"] = _without_none(data["localgpt"])
        for optional in ("localgpt", "service_tier", *(() if self.with_usage else ("usage",))):
            if data[optional] is None:
                del data[optional]
        for choice in data["choices"]:
            choice["delta"] = _without_none(choice["delta"])
        return json.dumps(data, ensure_ascii=False)

    def _finish(self, reason: FinishReason) -> WireFinish:
        if reason == "tool_calls" and self.is_legacy:
            return "function_call"
        return "stop" if reason == "cancelled" else reason


def stream_chat(
    gateway: Gateway, tasks: Sequence[ChatRequest], writer: ChatWriter, *, watcher: Watcher | None = None
) -> EventStream:
    """The response that streams one choice for each task.

    Args:
        gateway: runs the tasks.
        tasks: at least one.
        writer: writes the chunks.
        watcher: sees every event and the end, whatever way it ends.
    """
    events = Events(gateway, tasks, watcher)
    bodies = EventBodies(writer.chunks(events, len(tasks)), events)
    return EventStream(bodies, gateway, headers=lambda: notices_header(writer.notices))


def notices_header(notices: Sequence[str]) -> dict[str, str]:
    """The header that tells notices to clients that do not read the body's extension.

    Proxies and clients bound headers, and so does this: what does not fit is told in the body alone.
    """
    if not notices:
        return {}
    told: list[str] = []
    num_bytes = 0
    for notice in notices:
        num_bytes += len(json.dumps(notice)) + len(", ")
        if num_bytes > _MAX_HEADER_BYTES:
            told.append(f"{len(notices) - len(told)} more notices are in the body, see localgpt.notices")
            break
        told.append(notice)
    return {NOTICES_HEADER: json.dumps(told)}


def token_text(data: bytes) -> str:
    r"""A token as text; bytes that are no whole character are written as `bytes:\xe4\xbd`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def logprob_replies(tokens: Sequence[TokenLogprob]) -> list[TokenLogprobReply]:
    """Log probabilities as every route writes them."""
    return [
        TokenLogprobReply(**_likely(token), top_logprobs=[LikelyToken(**_likely(top)) for top in token.top])
        for token in tokens
    ]


def _logprobs(tokens: Sequence[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(content=logprob_replies(tokens))


def _likely(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token_text(token.data), "bytes": list(token.data), "logprob": token.logprob}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
