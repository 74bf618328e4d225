"""The outgoing half of a call: one answer at a time, begun ahead where it can be, and interrupted at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from localgpt.errors import LocalGPTError
from localgpt.server.admission import Admission
from localgpt.server.errors import WireError
from localgpt.server.realtime.answer import Answer, Voice
from localgpt.server.realtime.items import Conversation, new_id
from localgpt.server.realtime.outbox import Outbox
from localgpt.server.realtime.response import CancelReason, Response
from localgpt.server.realtime.session import AnswerOptions
from localgpt.server.realtime.trace import Trace
from localgpt.server.schemas.realtime import SessionBody
from localgpt.tasks import ChatRequest, SpeakRequest

__all__ = ["Answering", "Speaker"]


class Speaker(Protocol):
    """What a call lends to this part of it."""

    id: str
    owner: str
    model: str
    service: Admission
    session: SessionBody
    outbox: Outbox
    conversation: Conversation

    def later(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have something done in the call's own loop."""

    async def speaker(self) -> str:
        """The model that speaks.

        Raises:
            WireError: there is none.
        """

    async def on_answered(self, trace: Trace) -> None:
        """An answer is over."""


class Answering:
    """Answers of one call.

    Args:
        call: see `Speaker`.
    """

    def __init__(self, call: Speaker) -> None:
        self._call = call
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None
        self._ahead: Answer | None = None  # of the answer that is under way
        self._has_spoken = False

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way."""
        return self._response is not None and not self._response.is_over

    @property
    def has_spoken(self) -> bool:
        """Whether any sound was sent."""
        latest = self._response
        self._has_spoken |= latest is not None and latest.trace.first_sound is not None
        return self._has_spoken

    async def options(self, given: AnswerOptions | None = None) -> tuple[AnswerOptions, Voice | None]:
        """How to answer, and who speaks.

        Raises:
            InputError, WireError: a tool cannot be used, or nobody here speaks.
        """
        options = given or AnswerOptions.of(self._call.session)
        if not options.is_spoken:
            return options, None
        call = self._call
        request = SpeakRequest(
            id=new_id("speech"),
            owner=call.owner,
            model=await call.speaker(),
            text="-",  # replaced by each clause
            voice=options.voice,
            speed=options.speed,
            sample_rate=options.wire.sample_rate,
            format="pcm",
        )
        return options, Voice(request=request, wire=options.wire)

    def make(
        self, options: AnswerOptions, voice: Voice | None, trace: Trace, said: str | None = None
    ) -> Answer:
        """Begin an answer to the conversation, and to what is said now."""
        call = self._call
        chat = ChatRequest(
            id=new_id("voice"),
            owner=call.owner,
            model=call.model,
            messages=call.conversation.messages(options.instructions, said),
            options=options.sampling(),
            tools=options.tools,
            tool_choice=options.tool_choice,
            parallel_tool_calls=options.is_parallel,
            leave_out_turns=options.leaves_out_turns,
        )
        return Answer(call.service, chat, voice, trace)

    def begin(
        self,
        options: AnswerOptions,
        voice: Voice | None,
        trace: Trace,
        *,
        answer: Answer | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Answer, from what was begun ahead where there is such.

        Args:
            options: see `options`.
            voice: likewise.
            trace: of the turn.
            answer: begun ahead.
            ready: what to wait for before the conversation is read.
        """
        assert not self.is_busy
        call = self._call
        trace.mark("committed")
        self._has_spoken = self.has_spoken
        response = Response(outbox=call.outbox, conversation=call.conversation, options=options, trace=trace)
        self._response, self._ahead = response, answer
        response.begin()

        async def run() -> None:
            made = answer
            try:
                if made is None:
                    if ready is not None:
                        await ready()
                    self._require_words()
                    made = self.make(options, voice, trace)
                await response.write(made)
            except (LocalGPTError, WireError) as error:
                response.fail(error)
            finally:
                if made is not None:
                    await made.aclose()

        task = self._task = asyncio.ensure_future(run())

        async def done() -> None:
            if task.cancelled():
                return
            task.result()  # a bug ends the call
            await call.on_answered(trace)

        task.add_done_callback(lambda _: call.later(done))

    async def cancel(self, reason: CancelReason, response_id: str | None = None) -> bool:
        """Interrupt the answer that is under way; whether there was one."""
        response = self._response
        if response is None or response.is_over or response_id not in (None, response.id):
            return False
        self._has_spoken = self.has_spoken
        await self.close()
        response.cancel(reason)
        return True

    async def close(self) -> None:
        """Cancel what is under way, without a word."""
        task, ahead = self._task, self._ahead
        self._task, self._response, self._ahead = None, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if ahead is not None:  # also where the task had not begun to read it
            await ahead.aclose()

    def _require_words(self) -> None:
        if all(message.role == "system" for message in self._call.conversation.messages(None)):
            raise WireError(
                400,
                "there is nothing to answer: the conversation has no words of the user yet; create an item "
                "or say something first",
                code="conversation_empty",
            )
