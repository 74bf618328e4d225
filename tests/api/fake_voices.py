"""A task service without models that also hears and speaks: what it says is written down by the test."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from localgpt.errors import LocalGPTError
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    Event,
    Finished,
    ListenRequest,
    ListenResult,
    Notice,
    Progress,
    Request,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
    SpeechSegment,
    SpokenWord,
    Status,
    TextDelta,
)
from tests.api.fake_service import FakeService

__all__ = ["FakeVoices"]

RATE = 24_000


@dataclass
class FakeVoices(FakeService):
    """As `FakeService`; hears `heard` in every recording, and speaks a square wave for each clause.

    `voice_error` is what listening and speaking fail with; `voice_gate`, where given, holds them back after
    their first piece until it is set.
    """

    heard: tuple[str, ...] = ("What is", " the capital", " of France?")
    language: str | None = "en"
    voice_error: LocalGPTError | None = None
    voice_gate: asyncio.Event | None = None
    voice_tasks: tuple[str, ...] = ("listen", "speak")

    @property
    def listen(self) -> ListenRequest:
        """The last request, which was one to listen."""
        return self._last(ListenRequest)

    @property
    def speak(self) -> SpeakRequest:
        """The last request, which was one to speak."""
        return self._last(SpeakRequest)

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        if not isinstance(request, ListenRequest | SpeakRequest):
            async for event in super().stream(request):
                yield event
            return
        self.requests.append(request)
        is_done = False
        try:
            if self.voice_error is not None:
                raise self.voice_error
            events = self._hear(request) if isinstance(request, ListenRequest) else self._say(request)
            for number, event in enumerate(events):
                yield event
                if number == 0 and self.voice_gate is not None:
                    await self.voice_gate.wait()
                await asyncio.sleep(0)
            is_done = True
        except LocalGPTError:
            is_done = True
            raise
        finally:
            self.num_cancelled += not is_done

    def _hear(self, request: ListenRequest) -> list[Event]:
        texts = [TextDelta(text=text) for text in self.heard]
        segments = tuple(
            SpeechSegment(
                start_s=float(number),
                end_s=number + 0.9,
                text=text.strip(),
                avg_logprob=-0.25,
                no_speech_prob=0.01,
                token_ids=(7, 8),
            )
            for number, text in enumerate(self.heard)
        )
        result = ListenResult(
            text="".join(self.heard),
            language=self.language,
            duration_s=2.5,
            segments=segments if request.timestamps != "none" else (),
            model=EMBEDDED_MODEL_ID,
            words=(SpokenWord(start_s=0.0, end_s=0.4, text="What", probability=0.9),)
            if request.timestamps == "word"
            else (),
            notices=tuple(self.notices),
        )
        notices = [Notice(text=text) for text in self.notices]
        return [*notices, *texts, Progress(done=2.5, total=2.5, unit="seconds"), Finished(result=result)]

    def _say(self, request: SpeakRequest) -> list[Event]:
        """A tenth of a second for each clause, as samples without a head whatever the format."""
        clauses = [text for text in request.text.replace("?", ".").split(".") if text.strip()]
        data = struct.pack("<h", 8000) * (RATE // 20) + struct.pack("<h", -8000) * (RATE // 20)
        chunks = [
            SpeakChunk(data=data, text=text, start_s=0.1 * number, duration_s=0.1)
            for number, text in enumerate(clauses)
        ]
        result = SpeakResult(
            data=b"",
            format=request.format,
            media_type="audio/pcm",
            sample_rate=RATE,
            duration_s=0.1 * len(chunks),
            seed=0,
            model=EMBEDDED_MODEL_ID,
        )
        return [*(Notice(text=text) for text in self.notices), *chunks, Finished(result=result)]

    async def status(self) -> Status:
        status = await super().status()
        first, *others = status.models
        first = replace(first, tasks=(*first.tasks, *self.voice_tasks))
        return replace(status, models=(first, *others))
