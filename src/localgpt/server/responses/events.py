"""A response as server-sent events, in the order and with the names of the responses wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from localgpt.errors import CapacityError, InputError, LocalGPTError
from localgpt.server.answers import logprob_replies
from localgpt.server.errors import WireError, describe_error
from localgpt.server.pictures import base64_text
from localgpt.server.responses.draft import Draft, mark_end
from localgpt.server.responses.items import output_id
from localgpt.server.schemas.response_replies import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputPicture,
    OutputText,
    ResponseFailure,
    ResponseReply,
)
from localgpt.server.work import StreamWire
from localgpt.tasks import (
    STAGES,
    ChatResult,
    Event,
    PaintPreview,
    Progress,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)

__all__ = ["ResponseEvents", "ResponseWire"]


class ResponseWire(StreamWire):
    """Numbers and names events; there is no mark at the end, since the last event says that it is."""

    last = ""

    def __init__(self) -> None:
        self._num_events = 0

    def make(self, kind: str, **fields: Any) -> str:
        """One event as it goes over the wire."""
        body = {"type": kind, "sequence_number": self._num_events, **fields}
        self._num_events += 1
        return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False, default=_plain)}\n\n"

    def event(self, body: str) -> str:
        """Events are made whole by `make`, which knows their names."""
        return body

    def failure(self, error: LocalGPTError | WireError) -> str:
        """The server's own end of a stream; a model that fails ends it with `response.failed`."""
        detail = describe_error(error)[1].error
        return self.make("error", code=detail.code, message=detail.message, param=detail.param)


class ResponseEvents:
    """Turns the task's events into the wire's, item by item, and keeps the items.

    Args:
        draft: the response that is under way.
        wire: numbers the events.
    """

    def __init__(self, draft: Draft, wire: ResponseWire) -> None:
        self.items: list[OutputItem] = []
        self._draft = draft
        self._wire = wire
        self._is_open = False
        self._call_index: int | None = None  # of the open item, where it is a call

    def begin(self) -> Iterator[str]:
        """The first two events."""
        for kind in ("response.created", "response.in_progress"):
            yield self._wire.make(kind, response=self._draft.begun())

    def take(self, event: Event) -> Iterator[str]:
        """More of the answer, whatever it is made of."""
        match event:
            case TextDelta():
                yield from self.text(event)
            case ToolCallDelta():
                yield from self.call(event)
            case PaintPreview() | Progress():
                yield from self.paint(event)
            case _:
                raise AssertionError(f"an answer has no {type(event).__name__}")

    def text(self, delta: TextDelta) -> Iterator[str]:
        """More of what is said."""
        if not self._is_open or not isinstance(self.items[-1], OutputMessage):
            yield from self._close()
            yield from self._open_message()
        part = self._part()
        logprobs = logprob_replies(delta.logprobs)
        part.text += delta.text
        part.logprobs.extend(logprobs)
        yield self._make("response.output_text.delta", content_index=0, delta=delta.text, logprobs=logprobs)

    def call(self, delta: ToolCallDelta) -> Iterator[str]:
        """More of a function that is asked for."""
        if not self._is_open or self._call_index != delta.index:
            yield from self._close()
            self._call_index = delta.index
            call = ToolCall(id=delta.id or "", name=delta.name or "", arguments="")
            yield self._open(self._draft.call(len(self.items), call, "in_progress"))
        if delta.arguments:
            item = self.items[-1]
            assert isinstance(item, OutputCall)
            item.arguments += delta.arguments
            yield self._make("response.function_call_arguments.delta", delta=delta.arguments)

    def paint(self, event: PaintPreview | Progress) -> Iterator[str]:
        """More of a picture."""
        yield from self._open_picture()
        if isinstance(event, PaintPreview):
            yield self._make(
                "response.image_generation_call.partial_image",
                partial_image_b64=base64_text(event.data),
                partial_image_index=STAGES.index(event.stage),
                size=f"{event.width}x{event.height}",
                output_format=event.media_type.removeprefix("image/"),
                background="opaque",
            )

    def end(self, result: ChatResult) -> Iterator[str]:
        """Close what is open; an answer without a word or a picture is an empty message."""
        for picture in self._draft.pictures(result, len(self.items)):
            yield from self._open_picture()
            picture.id = self.items[-1].id
            self.items[-1] = picture
        if not self.items:
            yield from self._open_message()
        if self._is_open:
            mark_end(self.items, result)
        yield from self._close()

    def ended(self, response: ResponseReply) -> str:
        """The last event, which tells the whole response."""
        return self._wire.make(f"response.{response.status}", response=response)

    def failed(self, error: LocalGPTError) -> ResponseReply:
        """The response of a model that failed under way; what it wrote so far stays."""
        if self._is_open:
            last = self.items[-1]
            last.status = "failed" if isinstance(last, OutputPicture) else "incomplete"
        return self._draft.failed(_failure(error), self.items)

    def _open_message(self) -> Iterator[str]:
        message = self._draft.message(len(self.items), "", [], "in_progress")
        part, message.content = message.content[0], []
        yield self._open(message)
        message.content = [part]
        yield self._make("response.content_part.added", content_index=0, part=part)

    def _open_picture(self) -> Iterator[str]:
        if self._is_open and isinstance(self.items[-1], OutputPicture):
            return
        yield from self._close()
        index = len(self.items)
        yield self._open(OutputPicture(id=output_id("ig", self._draft.id, index), status="in_progress"))
        yield self._make("response.image_generation_call.in_progress")
        yield self._make("response.image_generation_call.generating")

    def _open(self, item: OutputItem) -> str:
        self.items.append(item)
        self._is_open = True
        index = len(self.items) - 1
        return self._wire.make("response.output_item.added", output_index=index, item=item)

    def _close(self) -> Iterator[str]:
        if not self._is_open:
            return
        item = self.items[-1]
        if isinstance(item, OutputPicture):
            if item.result is None:
                item.status = "failed"
            else:
                yield self._make("response.image_generation_call.completed")
            yield self._wire.make("response.output_item.done", output_index=len(self.items) - 1, item=item)
            self._is_open = False
            return
        if item.status == "in_progress":
            item.status = "completed"
        if isinstance(item, OutputCall):
            yield self._make(
                "response.function_call_arguments.done", name=item.name, arguments=item.arguments
            )
        else:
            part = self._part()
            yield self._make(
                "response.output_text.done", content_index=0, text=part.text, logprobs=part.logprobs
            )
            yield self._make("response.content_part.done", content_index=0, part=part)
        yield self._wire.make("response.output_item.done", output_index=len(self.items) - 1, item=item)
        self._is_open, self._call_index = False, None

    def _make(self, kind: str, **fields: Any) -> str:
        return self._wire.make(kind, item_id=self.items[-1].id, output_index=len(self.items) - 1, **fields)

    def _part(self) -> OutputText:
        item = self.items[-1]
        assert isinstance(item, OutputMessage)
        return item.content[0]


def _failure(error: LocalGPTError) -> ResponseFailure:
    """A failure in the few words that the response object has for it."""
    if isinstance(error, InputError):
        return ResponseFailure(code="invalid_prompt", message=str(error))
    return ResponseFailure(
        code="rate_limit_exceeded" if isinstance(error, CapacityError) else "server_error", message=str(error)
    )


def _plain(value: Any) -> Any:
    assert isinstance(value, BaseModel)
    return value.model_dump()
