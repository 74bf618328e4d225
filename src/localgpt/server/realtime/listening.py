"""What the user says: found in the sound that comes in, written down, and made items of the conversation.

At the first short silence a turn is taken for over, provisionally: it is written down and answered ahead. If
the user goes on, that is cancelled; if not, the answer is there when the silence has lasted long enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from localgpt.errors import InputError, LocalGPTError
from localgpt.server.errors import WireError, describe_error
from localgpt.server.realtime.activity import Activity
from localgpt.server.realtime.answer import Answer
from localgpt.server.realtime.endpoint import Endpointer, Signal, silence_needed_ms
from localgpt.server.realtime.items import Content, Conversation, ConversationItem, new_id
from localgpt.server.realtime.outbox import Outbox
from localgpt.server.realtime.session import detection_of
from localgpt.server.realtime.sound import MAX_TURN_MS, SoundBuffer, WireFormat, decode_sound, to_wav
from localgpt.server.realtime.trace import Trace
from localgpt.server.schemas.realtime import SemanticVad, SessionBody
from localgpt.tasks import ListenResult

__all__ = ["CallState", "Listening", "Turn"]

_LEAST_COMMIT_MS: Final = 100
_TAIL_MS: Final = 200  # of the silence behind a turn, kept with it
_SEMANTIC_THRESHOLD, _SEMANTIC_PADDING_MS = 0.5, 300
_FRAMES_AT_ONCE: Final = 250  # between which others have their turn in the event loop


class CallState(Protocol):
    """What a call lends to its parts."""

    session: SessionBody
    outbox: Outbox
    conversation: Conversation

    def later(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have something done in the call's own loop."""

    async def hear(self, wav: bytes) -> ListenResult:
        """Write sound down.

        Raises:
            LocalGPTError, WireError: it failed.
        """

    async def on_speech(self) -> None:
        """The user begins to speak."""

    async def on_guess(self, turn: Turn) -> None:
        """A turn that may be over has been written down."""

    async def on_turn(self, turn: Turn) -> None:
        """A turn is over and written down, or could not be."""


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """One turn of the user."""

    item_id: str
    start_ms: int
    is_found: bool  # by turn detection: an answer follows by itself, if the session says so
    trace: Trace = field(default_factory=Trace)
    until_ms: int | None = None  # the last speech of what is written down
    hearing: asyncio.Task[ListenResult] | None = None
    said: str | None = None
    error: LocalGPTError | WireError | None = None
    answer: Answer | None = None  # begun ahead
    answer_state: object = None  # what it was made from
    item: ConversationItem | None = None  # once it is over
    part: Content | None = None
    is_settled: asyncio.Event = field(default_factory=asyncio.Event)  # written down, or failed

    async def forget(self) -> None:
        """Cancel what was begun ahead."""
        hearing, self.hearing = self.hearing, None
        answer, self.answer = self.answer, None
        self.said, self.error, self.until_ms, self.answer_state = None, None, None, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        if answer is not None:
            await answer.aclose()


class Listening:
    """The incoming half of a call.

    Args:
        call: see `CallState`.
    """

    def __init__(self, call: CallState) -> None:
        self._call = call
        self._turn: Turn | None = None  # that lasts
        self._open: list[Turn] = []  # over, and not written down yet
        self._buffer = SoundBuffer(WireFormat.of(call.session.audio.input.format))
        self._activity = Activity(self.wire.sample_rate)
        self._endpointer: Endpointer | None = None
        self._configure()

    @property
    def wire(self) -> WireFormat:
        """The format of what comes in."""
        return self._buffer.wire

    @property
    def is_speaking(self) -> bool:
        """Whether the user is in the middle of a turn."""
        return self._turn is not None

    async def reconfigure(self) -> None:
        """Go by the changed session: a turn that has begun is begun anew."""
        await self._drop_turn()
        wire = WireFormat.of(self._call.session.audio.input.format)
        if wire != self.wire:
            self._buffer = SoundBuffer(wire, self._buffer.end_ms)
            self._activity = Activity(wire.sample_rate)
        self._configure()

    async def append(self, text: str) -> None:
        """Take sound in.

        Raises:
            InputError: it is no sound, or the turn is too long without a commit.
        """
        data = decode_sound(text, self.wire, "audio")
        if self._endpointer is None:
            held_ms = self._buffer.end_ms - self._buffer.start_ms + len(data) // self.wire.bytes_per_ms
            if held_ms > MAX_TURN_MS:
                raise InputError(
                    f"the buffer would hold {held_ms // 1000} s of sound, expected at most "
                    f"{MAX_TURN_MS // 1000} s; commit it or clear it first",
                    param="audio",
                )
            self._buffer.append(data)
            return
        step = _FRAMES_AT_ONCE * 20 * self.wire.bytes_per_ms
        for begin in range(0, len(data), step):
            await self._follow(data[begin : begin + step])
            await asyncio.sleep(0)

    async def commit(self) -> None:
        """The client says that the turn is over.

        Raises:
            WireError: there is hardly any sound.
        """
        start_ms = self._buffer.start_ms if self._turn is None else self._turn.start_ms
        length_ms = self._buffer.end_ms - start_ms
        if length_ms < _LEAST_COMMIT_MS:
            raise WireError(
                400,
                f"the buffer holds {length_ms} ms of sound, expected at least {_LEAST_COMMIT_MS} ms; append "
                "some first",
                code="input_audio_buffer_commit_empty",
            )
        turn = self._turn or Turn(item_id=new_id("item"), start_ms=start_ms, is_found=False)
        turn.is_found = False
        await turn.forget()
        turn.trace.mark("speech_ended")
        end_ms = self._buffer.end_ms
        self._configure()
        await self._commit(turn, last_speech_ms=end_ms, end_ms=end_ms)

    async def clear(self) -> None:
        """Forget what was not committed."""
        await self._drop_turn()
        self._buffer.clear()
        self._configure()

    def hear_item(self, item: ConversationItem, sounds: Sequence[bytes]) -> None:
        """Write down the sound of an item that the client made.

        Args:
            item: is in the conversation, which may have had no room for its sound.
            sounds: of each part, as they came.
        """
        for part, sound in zip(item.content, sounds, strict=True):
            if part.kind == "input_audio" and part.text is None and sound:
                turn = Turn(item_id=item.id, start_ms=0, is_found=False, item=item, part=part)
                turn.trace.mark("committed")
                self._open.append(turn)
                self._hear(turn, sound)

    async def settled(self) -> None:
        """Wait until all that was said is written down."""
        while self._open:
            await self._open[0].is_settled.wait()

    @property
    def latest_trace(self) -> Trace | None:
        """Of the turn that is being written down."""
        return self._open[-1].trace if self._open else None

    async def close(self) -> None:
        """Cancel everything."""
        await self._drop_turn()
        for turn in self._open:
            await turn.forget()

    # ---- turns found in the sound ----

    def _configure(self) -> None:
        detection = detection_of(self._call.session)
        self._turn = None
        if detection is None:
            self._endpointer = None
            return
        if isinstance(detection, SemanticVad):
            threshold, needed_ms = _SEMANTIC_THRESHOLD, silence_needed_ms(None, detection.eagerness)
        else:
            threshold, needed_ms = detection.threshold, detection.silence_duration_ms
        self._endpointer = Endpointer(
            threshold=threshold,
            needed_ms=needed_ms,
            start_ms=self._buffer.end_ms,
            longest_ms=MAX_TURN_MS,
        )

    @property
    def _padding_ms(self) -> int:
        detection = detection_of(self._call.session)
        if detection is None or isinstance(detection, SemanticVad):
            return _SEMANTIC_PADDING_MS
        return detection.prefix_padding_ms

    async def _follow(self, data: bytes) -> None:
        self._buffer.append(data)
        endpointer = self._endpointer
        assert endpointer is not None
        for probability in self._activity.feed(self.wire.samples(data)):
            for signal in endpointer.feed(probability):
                await self._on_signal(signal)
        if self._turn is None:
            self._buffer.forget_until(self._buffer.end_ms - self._padding_ms - _TAIL_MS)

    async def _on_signal(self, signal: Signal) -> None:
        if signal.kind == "started":
            start_ms = max(self._buffer.start_ms, signal.at_ms - self._padding_ms)
            self._turn = Turn(item_id=new_id("item"), start_ms=start_ms, is_found=True)
            if isinstance(detection := detection_of(self._call.session), SemanticVad):
                self._need(silence_needed_ms(None, detection.eagerness))
            self._call.outbox.put(
                "input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self._turn.item_id
            )
            await self._call.on_speech()
            return
        turn = self._turn
        assert turn is not None
        match signal.kind:
            case "paused":
                now = asyncio.get_running_loop().time()
                turn.trace.speech_ended = now - (self._buffer.end_ms - signal.at_ms) / 1000
                turn.until_ms = signal.at_ms
                self._hear(turn, self._buffer.cut(turn.start_ms, signal.at_ms + _TAIL_MS))
            case "resumed":
                await turn.forget()
                turn.trace = Trace()
            case "ended":
                self._call.outbox.put(
                    "input_audio_buffer.speech_stopped", audio_end_ms=signal.at_ms, item_id=turn.item_id
                )
                self._turn = None
                await self._commit(turn, last_speech_ms=signal.at_ms, end_ms=signal.at_ms + _TAIL_MS)

    def _need(self, silence_ms: int) -> None:
        if self._endpointer is not None:
            self._endpointer.needed_ms = silence_ms

    async def _commit(self, turn: Turn, *, last_speech_ms: int, end_ms: int) -> None:
        call = self._call
        self._open.append(turn)  # first, so that it is closed with the call whatever fails below
        turn.trace.mark("committed")
        sound = self._buffer.cut(turn.start_ms, end_ms)
        self._buffer.forget_until(end_ms)
        if turn.until_ms != last_speech_ms:
            await turn.forget()
        turn.part = Content(kind="input_audio")
        turn.part.keep_sound(sound)
        turn.item = ConversationItem(id=turn.item_id, content=[turn.part])
        call.outbox.put(
            "input_audio_buffer.committed", previous_item_id=call.conversation.last_id, item_id=turn.item_id
        )
        # What was begun ahead was made from the conversation as it is without this turn.
        is_same = turn.answer_state == (call.conversation.version, call.session)
        for gone in call.conversation.add(turn.item):
            call.outbox.put("conversation.item.deleted", item_id=gone)
        place = {"previous_item_id": call.conversation.before(turn.item), "item": turn.item.wire()}
        call.outbox.put("conversation.item.added", **place)
        call.outbox.put("conversation.item.done", **place)
        if turn.answer is not None and not is_same:
            await turn.answer.aclose()
            turn.answer = None
        if turn.hearing is None:
            self._hear(turn, sound)
        elif turn.said is not None or turn.error is not None:
            await self._settle(turn)

    async def _drop_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            await turn.forget()

    # ---- writing down ----

    def _hear(self, turn: Turn, sound: bytes) -> None:
        turn.trace.listening = asyncio.get_running_loop().time()
        hearing = asyncio.ensure_future(self._call.hear(to_wav(sound, self.wire)))
        turn.hearing = hearing

        async def done() -> None:
            if turn.hearing is hearing:  # else it was given up meanwhile
                await self._on_heard(turn, hearing)

        hearing.add_done_callback(lambda _: self._call.later(done))

    async def _on_heard(self, turn: Turn, hearing: asyncio.Task[ListenResult]) -> None:
        if hearing.cancelled():
            return
        error = hearing.exception()
        if error is None:
            turn.said = hearing.result().text.strip()
        elif isinstance(error, LocalGPTError | WireError):
            if turn.item is None:  # tried again once the turn is certainly over
                await turn.forget()
                return
            turn.error = error
        else:
            raise error
        turn.trace.mark("heard")
        if turn.item is not None:
            await self._settle(turn)
            return
        if turn.said:
            await self._call.on_guess(turn)
        detection = detection_of(self._call.session)
        if isinstance(detection, SemanticVad) and self._endpointer is not None:
            self._need(silence_needed_ms(turn.said, detection.eagerness))
            for signal in self._endpointer.settle():
                await self._on_signal(signal)

    async def _settle(self, turn: Turn) -> None:
        """A turn is over, and written down: tell it, and let it be answered."""
        call, part = self._call, cast("Content", turn.part)
        place = {"item_id": turn.item_id, "content_index": _index(turn)}
        name = "conversation.item.input_audio_transcription"
        wants = call.session.audio.input.transcription is not None
        if turn.error is not None:
            detail = describe_error(turn.error)[1].error
            part.text = ""
            call.outbox.put(f"{name}.failed", **place, error=detail.model_dump())
        else:
            part.text = turn.said or ""
            call.conversation.version += 1
            seconds = round(part.num_sound / self.wire.bytes_per_ms / 1000, 3)
            if wants:
                if part.text:
                    call.outbox.put(f"{name}.delta", **place, delta=part.text)
                usage = {"type": "duration", "seconds": seconds}
                call.outbox.put(f"{name}.completed", **place, transcript=part.text, usage=usage)
        self._open.remove(turn)
        turn.is_settled.set()
        await call.on_turn(turn)


def _index(turn: Turn) -> int:
    assert turn.item is not None
    return next(place for place, part in enumerate(turn.item.content) if part is turn.part)
