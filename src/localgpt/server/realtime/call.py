"""One call: a WebSocket on which client and server speak, from the first event to the last.

Everything that changes a call is done by one loop, one step after the other: what the client sends, turns
that have been written down, answers that are over. Work of models runs beside it and is cancelled by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from localgpt.errors import CancelledRequestError, CapacityError, InputError, LocalGPTError
from localgpt.server.access import Caller
from localgpt.server.errors import WireError, describe_error
from localgpt.server.gateway import Gateway
from localgpt.server.hearing import hear
from localgpt.server.models import resolve_model
from localgpt.server.realtime.answering import Answering
from localgpt.server.realtime.items import Conversation, new_id, read_item
from localgpt.server.realtime.listening import Listening, Turn
from localgpt.server.realtime.members import find_listener, find_speaker
from localgpt.server.realtime.outbox import Outbox
from localgpt.server.realtime.session import AnswerOptions, detection_of, merged, read_as, session_wire
from localgpt.server.realtime.trace import Trace
from localgpt.server.schemas import realtime as events
from localgpt.server.schemas.realtime import SessionBody
from localgpt.server.translate import checked_text
from localgpt.tasks import EMBEDDED_MODEL_ID, AudioPart, ListenRequest, ListenResult

__all__ = ["Call"]

logger = logging.getLogger(__name__)

_MAX_CALL_S: Final = 3600
_LAST_WORDS_S: Final = 1.0
GOING_AWAY, POLICY, NORMAL = 1001, 1008, 1000  # close codes
Step = Callable[[], Awaitable[None]]


class _Ended(Exception):  # noqa: N818  # no failure: it ends the loop
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Call:
    """One call.

    Args:
        gateway: runs the tasks.
        caller: whose call it is.
        session: what it begins with.
        send: writes a text to the client.
        receive: the client's next text; None when it is gone.
    """

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        session: SessionBody,
        *,
        send: Callable[[str], Awaitable[None]],
        receive: Callable[[], Awaitable[str | None]],
    ) -> None:
        self.id = new_id("sess")
        self.owner = caller.owner
        self.gateway, self.service = gateway, gateway.service
        self.session = session
        self.model = ""  # set with the first session
        self.conversation = Conversation()
        self.outbox = Outbox(send)
        self._receive = receive
        self._expires_at = int(time.time()) + _MAX_CALL_S
        self._steps: asyncio.Queue[Step] = asyncio.Queue()
        self._listening = Listening(self)
        self._answering = Answering(self)
        self._is_unanswered = False  # something was said that no answer has been begun to
        self._is_deaf: bool | None = None  # nobody here listens; None while that is not known

    # ---- the loop ----

    async def run(self) -> tuple[int, str]:
        """Talk until one side ends it.

        Returns:
            The WebSocket's close code and the reason.
        """
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(_MAX_CALL_S, self.later, partial(self._expire, _MAX_CALL_S, "lasted"))
        tasks = [
            asyncio.ensure_future(work) for work in (self.outbox.write(), self._read(), self._watch_stop())
        ]
        try:
            return await self._loop(tasks[0])
        finally:
            expiry.cancel()
            for task in tasks[1:]:
                task.cancel()
            await self._listening.close()
            await self._answering.close()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            await self._say_last_words(tasks[0])

    async def _loop(self, writing: asyncio.Task[None]) -> tuple[int, str]:
        writing.add_done_callback(lambda _: self.later(partial(self._unwritable, writing)))
        try:
            await self._set_model(self.session.model)
            self.outbox.put("session.created", session=self._wire())
            while True:
                step = await self._steps.get()
                await step()
        except _Ended as end:
            return end.code, end.reason
        except WireError as error:  # of the first session
            self._tell(error, None)
            return POLICY, str(error)[:100]
        except CapacityError as error:  # the outbox is full
            return POLICY, str(error)

    async def _read(self) -> None:
        """Read one message at a time, so that a client who sends more than can be done is held up."""
        idle_s = self.gateway.settings.call_idle_s
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    text = await self._receive()
            except TimeoutError:
                self.later(partial(self._expire, idle_s, "brought nothing"))
                return
            if text is None:
                self.later(self._gone)
                return
            done = asyncio.Event()
            self.later(partial(self._take, text, done))
            await done.wait()

    async def _watch_stop(self) -> None:
        await self.gateway.stopping.wait()
        self.later(self._stop)

    async def _say_last_words(self, writing: asyncio.Task[None]) -> None:
        flushing = asyncio.ensure_future(self.outbox.flush())
        await asyncio.wait({writing, flushing}, timeout=_LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)
        for task in (writing, flushing):
            task.cancel()
        await asyncio.gather(writing, flushing, return_exceptions=True)

    def later(self, step: Step) -> None:
        """Have something done in the call's own loop."""
        self._steps.put_nowait(step)

    async def _gone(self) -> None:
        raise _Ended(NORMAL, "")

    async def _unwritable(self, writing: asyncio.Task[None]) -> None:
        with contextlib.suppress(OSError):  # the client is gone
            writing.result()
        raise _Ended(NORMAL, "")

    async def _stop(self) -> None:
        self._tell(CancelledRequestError("the server is stopping"), None)
        raise _Ended(GOING_AWAY, "the server is stopping")

    async def _expire(self, seconds: float, what: str) -> None:
        message = f"the call {what} for {seconds:.0f} s, which is the limit; open another one"
        self._tell(WireError(400, message, code="session_expired"), None)
        raise _Ended(NORMAL, message)

    async def _take(self, text: str, done: asyncio.Event) -> None:
        """Do what one message asks; what is wrong with it is told, and the call goes on."""
        event_id = None
        try:
            value = _parse(text)
            given = value.get("event_id")
            event_id = given if isinstance(given, str) and len(given) <= 512 else None
            event = read_as(events.ClientEvent, value)
            await self._HANDLERS[type(event)](self, event)
        except (LocalGPTError, WireError) as error:
            self._tell(error, event_id)
        finally:
            done.set()

    def _tell(self, error: LocalGPTError | WireError, event_id: str | None) -> None:
        detail = describe_error(error)[1].error
        self.outbox.put("error", error={**detail.model_dump(), "event_id": event_id})

    # ---- what the parts ask for ----

    async def hear(self, wav: bytes) -> ListenResult:
        """Write sound down.

        Raises:
            LocalGPTError, WireError: it failed.
        """
        transcription = self.session.audio.input.transcription
        request = ListenRequest(
            id=new_id("heard"),
            owner=self.owner,
            model=await find_listener(self.gateway, self.session),
            audio=AudioPart(data=wav, media_type="audio/wav"),
            language=transcription.language if transcription else None,
            prompt=transcription.prompt if transcription else None,
            timestamps="none",
        )
        return await hear(self.gateway, request)

    async def speaker(self) -> str:
        """The model that speaks."""
        return await find_speaker(self.gateway, self.session)

    async def on_speech(self) -> None:
        """The user begins to speak: who answers falls silent, if the session says so."""
        detection = detection_of(self.session)
        if detection is not None and detection.interrupt_response:
            await self._answering.cancel("turn_detected")

    async def on_guess(self, turn: Turn) -> None:
        """A turn that may be over has been written down: begin its answer ahead."""
        if not self._answers_by_itself(turn) or self._answering.is_busy:
            return
        try:
            options, voice = await self._answering.options()
        except (LocalGPTError, WireError):
            return  # told when the turn is over
        turn.answer_state = (self.conversation.version, self.session)
        turn.answer = self._answering.make(options, voice, turn.trace, turn.said)

    async def on_turn(self, turn: Turn) -> None:
        """A turn is over and written down, or could not be."""
        if turn.error is not None:
            self._tell(turn.error, None)
        self._is_unanswered |= bool(turn.said) and self._answers_by_itself(turn)
        await self._answer_turn(turn)

    async def on_answered(self, trace: Trace) -> None:
        """An answer is over: what was said meanwhile is answered next."""
        trace.log(self.id)
        self.gateway.metrics.voice_turn(trace.since_commit_ms().get("first_sound"))
        await self._answer_turn(None)

    async def _answer_turn(self, turn: Turn | None) -> None:
        answer = None if turn is None else turn.answer
        trace = Trace() if turn is None else turn.trace
        if not self._is_unanswered or self._answering.is_busy or self._listening.is_speaking:
            if answer is not None:
                await answer.aclose()
            return
        self._is_unanswered = False
        try:
            options, voice = await self._answering.options()
        except (LocalGPTError, WireError) as error:
            if answer is not None:
                await answer.aclose()
            self._tell(error, None)
            return
        self._answering.begin(options, voice, trace, answer=answer)

    def _answers_by_itself(self, turn: Turn) -> bool:
        detection = detection_of(self.session)
        may = detection is not None and detection.create_response
        return turn.is_found and may and self.session.type == "realtime"

    # ---- what the client asks for ----

    async def _update(self, event: events.SessionUpdate) -> None:
        session = merged(self.session, event.session)
        if self._answering.has_spoken and session.audio.output.voice != self.session.audio.output.voice:
            raise WireError(
                400,
                "the voice cannot be changed after the first sound; open another call",
                param="session.audio.output.voice",
                code="cannot_update_voice",
            )
        AnswerOptions.of(session)  # its tools can be used
        if "model" in event.session and session.model != self.session.model:
            await self._set_model(session.model)
        old, self.session = self.session, session
        self._is_deaf = None
        if session.audio.input != old.audio.input:
            await self._listening.reconfigure()
        self.outbox.put("session.updated", session=self._wire())
        await self._answer_turn(None)  # a turn that was under way may have been dropped

    async def _set_model(self, name: str | None) -> None:
        model = await resolve_model(self.gateway, name or EMBEDDED_MODEL_ID)
        if self._answering.has_spoken and model.id != self.model:
            raise WireError(
                400, f"{self.model} has answered already; open another call for {name}", param="session.model"
            )
        self.model = model.id

    async def _append(self, event: events.SoundAppend) -> None:
        if self._is_deaf is None:
            self._is_deaf = True  # told once, by the error that this may be
            await find_listener(self.gateway, self.session)
            self._is_deaf = False
        if not self._is_deaf:
            await self._listening.append(event.audio)

    async def _commit(self, event: events.SoundCommit) -> None:
        await self._listening.commit()

    async def _clear(self, event: events.SoundClear) -> None:
        await self._listening.clear()
        self.outbox.put("input_audio_buffer.cleared")
        await self._answer_turn(None)  # what was said before had waited for the end of what is dropped

    async def _create_item(self, event: events.ItemCreate) -> None:
        item = read_item(event.item, self._listening.wire)
        if item.kind == "message":
            item.parts()
        sounds = [part.sound for part in item.content]  # what is too much to keep is heard all the same
        for gone in self.conversation.add(item, after=event.previous_item_id):
            self.outbox.put("conversation.item.deleted", item_id=gone)
        place = {"previous_item_id": self.conversation.before(item), "item": item.wire()}
        self.outbox.put("conversation.item.added", **place)
        self.outbox.put("conversation.item.done", **place)
        self._listening.hear_item(item, sounds)

    async def _retrieve_item(self, event: events.ItemRetrieve) -> None:
        item = self.conversation.find(event.item_id)
        self.outbox.put("conversation.item.retrieved", item=item.wire(with_sound=True))

    async def _truncate_item(self, event: events.ItemTruncate) -> None:
        item = self.conversation.find(event.item_id)
        part = item.content[event.content_index] if event.content_index < len(item.content) else None
        if part is None or part.kind != "output_audio" or item.status == "in_progress":
            raise InputError(
                "only the sound of an answer that is over can be truncated; cancel the response first",
                param="item_id",
            )
        part.truncate(event.audio_end_ms)
        self.conversation.version += 1
        self.outbox.put(
            "conversation.item.truncated",
            item_id=item.id,
            content_index=event.content_index,
            audio_end_ms=event.audio_end_ms,
        )

    async def _delete_item(self, event: events.ItemDelete) -> None:
        self.conversation.delete(event.item_id)
        self.outbox.put("conversation.item.deleted", item_id=event.item_id)

    async def _create_response(self, event: events.ResponseCreate) -> None:
        if self.session.type != "realtime":
            raise InputError("this session writes down what is said and answers nothing", param="type")
        if self._answering.is_busy:
            raise WireError(
                400,
                "an answer is under way; wait for response.done, or cancel it",
                code="conversation_already_has_active_response",
            )
        for name, text in (event.response.metadata or {}).items():
            checked_text(name + text, "response.metadata")
        options, voice = await self._answering.options(AnswerOptions.of(self.session, event.response))
        trace = self._listening.latest_trace or Trace()
        self._is_unanswered = False
        self._answering.begin(options, voice, trace, ready=self._listening.settled)

    async def _cancel_response(self, event: events.ResponseCancel) -> None:
        if not await self._answering.cancel("client_cancelled", event.response_id):
            raise WireError(
                400, "no such answer is under way", param="response_id", code="response_cancel_not_active"
            )
        await self._answer_turn(None)

    _HANDLERS: Final[dict[type, Callable[..., Awaitable[None]]]] = {
        events.SessionUpdate: _update,
        events.SoundAppend: _append,
        events.SoundCommit: _commit,
        events.SoundClear: _clear,
        events.ItemCreate: _create_item,
        events.ItemRetrieve: _retrieve_item,
        events.ItemTruncate: _truncate_item,
        events.ItemDelete: _delete_item,
        events.ResponseCreate: _create_response,
        events.ResponseCancel: _cancel_response,
    }

    def _wire(self) -> dict[str, Any]:
        return session_wire(self.session, session_id=self.id, model=self.model, expires_at=self._expires_at)


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError(400, "the event is not valid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise WireError(400, "the event is not a JSON object; expected one with a type")
    return value
