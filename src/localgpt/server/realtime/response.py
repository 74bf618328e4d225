"""One response on the wire: its events in the order of the GA wire, and its items in the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from localgpt.errors import LocalGPTError
from localgpt.server.errors import WireError, describe_error
from localgpt.server.realtime.answer import Answer, Sound
from localgpt.server.realtime.items import Content, Conversation, ConversationItem, Span, new_id
from localgpt.server.realtime.outbox import Outbox
from localgpt.server.realtime.session import AnswerOptions
from localgpt.server.realtime.sound import encode_sound
from localgpt.server.realtime.trace import Trace
from localgpt.tasks import ChatResult, Finished, Notice, TextDelta, ToolCallDelta

__all__ = ["CancelReason", "Response"]

_PIECE_MS: Final = 200  # of sound in one event, so that what is interrupted ends soon
CancelReason = Literal["turn_detected", "client_cancelled"]


@dataclass(slots=True, kw_only=True)
class Response:
    """A response from its first event to its last.

    Args:
        outbox: where events go.
        conversation: gains what is said.
        options: how the answer was asked for.
        trace: when what happened.
    """

    outbox: Outbox
    conversation: Conversation
    options: AnswerOptions
    trace: Trace
    id: str = field(default_factory=lambda: new_id("resp"))
    is_over: bool = False
    _status: str = "in_progress"
    _details: dict[str, Any] | None = None
    _usage: dict[str, Any] | None = None
    _notices: list[str] = field(default_factory=list)
    _items: list[ConversationItem] = field(default_factory=list)
    _open: ConversationItem | None = None
    _open_call: int = -1  # which call of the model the open item is

    def begin(self) -> None:
        """Tell that there is a response."""
        self.outbox.put("response.created", response=self._wire())

    async def write(self, answer: Answer) -> None:
        """Send an answer as it comes, up to its end.

        Raises:
            LocalGPTError: it failed; `fail` tells so.
        """
        async for piece in answer.pieces():
            match piece:
                case TextDelta():
                    self._say(piece.text)
                case Sound():
                    await self._sound(piece)
                case ToolCallDelta():
                    self._call(piece)
                case Notice():
                    self._note(piece.text)
                case Finished():
                    assert isinstance(piece.result, ChatResult)
                    self._finish(piece.result)

    def cancel(self, reason: CancelReason) -> None:
        """End it early: what waits to be heard is dropped."""
        self.outbox.drop_sound(self.id)
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, error: LocalGPTError | WireError) -> None:
        """End it with what went wrong."""
        detail = describe_error(error)[1].error
        shown = {"type": detail.type, "code": detail.code, "message": detail.message}
        self._end("failed", {"type": "failed", "error": shown})

    def _finish(self, result: ChatResult) -> None:
        for text in result.notices:
            self._note(text)
        usage = result.usage
        self._usage = {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "input_token_details": {
                "text_tokens": usage.prompt_tokens,
                "audio_tokens": 0,
                "cached_tokens": usage.cached_tokens,
            },
            "output_token_details": {"text_tokens": usage.completion_tokens, "audio_tokens": 0},
        }
        if result.finish_reason == "length":
            self._end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
        else:
            self._end("completed", None)

    def _end(self, status: str, details: dict[str, Any] | None) -> None:
        if self.is_over:
            return
        self._close("completed" if status == "completed" else "incomplete")
        self.is_over = True
        self._status, self._details = status, details
        self.outbox.put("response.done", response=self._wire())

    # ---- words and sound ----

    def _say(self, text: str) -> None:
        item = self._message()
        part = item.content[0]
        part.text = (part.text or "") + text
        self.conversation.version += 1
        self.outbox.put("response.output_text.delta", **self._where(item, part=True), delta=text)

    async def _sound(self, sound: Sound) -> None:
        item = self._message()
        part, wire = item.content[0], self.options.wire
        if sound.text:
            begin_ms = part.num_sound / wire.bytes_per_ms
            part.text = (part.text or "") + sound.text
            part.spans.append(Span(sound.text, begin_ms, begin_ms))
            self.conversation.version += 1
            where = self._where(item, part=True)
            self.outbox.put("response.output_audio_transcript.delta", **where, delta=sound.text)
        step = wire.bytes_per_ms * _PIECE_MS
        for begin in range(0, len(sound.data), step):
            data = sound.data[begin : begin + step]
            where = self._where(item, part=True)
            where.pop("response_id")
            await self.outbox.put_sound(
                "response.output_audio.delta", self.id, **where, delta=encode_sound(data)
            )
            self.trace.mark("first_sound")
            part.keep_sound(data)
            if not sound.is_pause:
                last = part.spans[-1]
                part.spans[-1] = Span(last.text, last.start_ms, part.num_sound / wire.bytes_per_ms)

    def _message(self) -> ConversationItem:
        if self._open is not None and self._open.kind == "message":
            return self._open
        self._close("completed")
        kind: Literal["output_audio", "output_text"] = (
            "output_audio" if self.options.is_spoken else "output_text"
        )
        item = ConversationItem(id=new_id("item"), role="assistant", status="in_progress")
        self._add(item)
        item.content.append(Content(kind=kind, text=""))
        self.outbox.put("response.content_part.added", **self._where(item, part=True), part=self._part(item))
        return item

    def _part(self, item: ConversationItem) -> dict[str, Any]:
        text = item.content[0].text
        return (
            {"type": "audio", "transcript": text}
            if self.options.is_spoken
            else {"type": "text", "text": text}
        )

    # ---- calls ----

    def _call(self, delta: ToolCallDelta) -> None:
        if delta.id is not None:
            self._close("completed")
            self._open_call = delta.index
            self._add(
                ConversationItem(
                    id=new_id("item"),
                    kind="function_call",
                    status="in_progress",
                    call_id=delta.id,
                    name=delta.name or "",
                )
            )
        item = self._open
        assert item is not None and delta.index == self._open_call
        if delta.arguments:
            item.arguments += delta.arguments
            self.outbox.put(
                "response.function_call_arguments.delta",
                **self._where(item),
                call_id=item.call_id,
                delta=delta.arguments,
            )

    # ---- items ----

    def _add(self, item: ConversationItem) -> None:
        self._items.append(item)
        self._open = item
        for gone in self.conversation.add(item):
            self.outbox.put("conversation.item.deleted", item_id=gone)
        place = {"response_id": self.id, "output_index": len(self._items) - 1}
        self.outbox.put("response.output_item.added", **place, item=item.wire())
        self.outbox.put(
            "conversation.item.added", previous_item_id=self.conversation.before(item), item=item.wire()
        )

    def _close(self, status: str) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        item.status = status
        where = self._where(item)
        if item.kind == "function_call":
            self.outbox.put(
                "response.function_call_arguments.done",
                **where,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
        else:
            self._close_part(item)
        shown = item.wire()
        if any(other is item for other in self.conversation):  # it may have been deleted meanwhile
            self.outbox.put(
                "conversation.item.done", previous_item_id=self.conversation.before(item), item=shown
            )
        self.outbox.put(
            "response.output_item.done",
            response_id=self.id,
            output_index=where["output_index"],
            item=shown,
        )

    def _close_part(self, item: ConversationItem) -> None:
        where = self._where(item, part=True)
        text = item.content[0].text
        if self.options.is_spoken:
            self.outbox.put("response.output_audio.done", **where)
            self.outbox.put("response.output_audio_transcript.done", **where, transcript=text)
        else:
            self.outbox.put("response.output_text.done", **where, text=text)
        self.outbox.put("response.content_part.done", **where, part=self._part(item))

    def _where(self, item: ConversationItem, *, part: bool = False) -> dict[str, Any]:
        place: dict[str, Any] = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": next(n for n, other in enumerate(self._items) if other is item),
        }
        return place | {"content_index": 0} if part else place

    def _note(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)

    def _wire(self) -> Mapping[str, Any]:
        options, wire = self.options, self.options.wire
        sound = (
            {"type": wire.name, "rate": wire.sample_rate} if wire.name == "audio/pcm" else {"type": wire.name}
        )
        return {
            "id": self.id,
            "object": "realtime.response",
            "conversation_id": self.conversation.id,
            "status": self._status,
            "status_details": self._details,
            "output": [item.wire() for item in self._items],
            "output_modalities": ["audio" if options.is_spoken else "text"],
            "audio": {"output": {"format": sound, "voice": options.voice_name}},
            "max_output_tokens": options.max_tokens or "inf",
            "metadata": options.metadata,
            "usage": self._usage,
            "localgpt": {"notices": list(self._notices), "turn_ms": self.trace.since_commit_ms()},
        }
