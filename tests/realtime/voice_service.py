"""A task service that hears what the test wrote down, answers as `FakeService`, and speaks in beeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from localgpt.errors import LocalGPTError
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatRequest,
    Event,
    Finished,
    ListenRequest,
    ListenResult,
    ModelStatus,
    Request,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
    Status,
)
from tests.api.fake_service import FakeService

SPOKEN_MS = 300  # of every piece


def a_model(id: str, *tasks: str, created: int = 1) -> ModelStatus:
    return ModelStatus(
        id=id,
        tasks=tasks,
        num_params=1,
        weight_bytes=1,
        context_len=1,
        num_image_tokens=0,
        created=created,
        licence="MIT",
    )


@dataclass
class VoiceService(FakeService):
    """`heard` are the transcripts, one after the other, from the first again after the last."""

    heard: tuple[str, ...] = ("What time is it?",)
    listened: list[ListenRequest] = field(default_factory=list)
    spoke: list[SpeakRequest] = field(default_factory=list)
    hearing_gate: asyncio.Event | None = None  # holds every recognition back
    speaking_gate: asyncio.Event | None = None  # holds every piece of speech back
    listen_error: LocalGPTError | None = None
    speak_error: LocalGPTError | None = None
    listens: bool = True
    speaks: bool = True
    num_hearing_cancelled: int = 0

    @property
    def chats(self) -> list[ChatRequest]:
        return [request for request in self.requests if isinstance(request, ChatRequest)]

    async def _hear(self, request: ListenRequest) -> ListenResult:
        text = self.heard[len(self.listened) % len(self.heard)]
        self.listened.append(request)
        try:
            if self.hearing_gate is not None:
                await self.hearing_gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.num_hearing_cancelled += 1
            raise
        if self.listen_error is not None:
            raise self.listen_error
        return ListenResult(text=text, language="en", duration_s=1.0, segments=(), model=request.model)

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, ListenRequest):
            yield Finished(result=await self._hear(request))
            return
        if not isinstance(request, SpeakRequest):
            async for event in super().stream(request):
                yield event
            return
        self.spoke.append(request)
        if self.speaking_gate is not None:
            await self.speaking_gate.wait()
        if self.speak_error is not None:
            raise self.speak_error
        assert request.sample_rate is not None and request.format == "pcm"
        data = b"\x10\x20" * (request.sample_rate * SPOKEN_MS // 1000)
        yield SpeakChunk(data=data, text=request.text, start_s=0.0, duration_s=SPOKEN_MS / 1000)
        yield Finished(
            result=SpeakResult(
                data=data,
                format="pcm",
                media_type="audio/pcm",
                sample_rate=request.sample_rate,
                duration_s=SPOKEN_MS / 1000,
                seed=0,
                model=request.model,
            )
        )

    async def status(self) -> Status:
        status = await super().status()
        models = [model for model in status.models if model.id == EMBEDDED_MODEL_ID]
        if self.listens:
            models += [a_model("open/old-ears", "listen"), a_model("open/ears", "listen", created=2)]
        if self.speaks:
            models.append(a_model("open/mouth", "speak"))
        return replace(status, models=tuple(models))
