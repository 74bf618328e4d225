"""A task service without models: it says what the test wrote down, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from localgpt.errors import LocalGPTError
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    Channel,
    ChatRequest,
    ChatResult,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    FinishReason,
    ImagePart,
    ModelStatus,
    Notice,
    Request,
    Result,
    Status,
    TextDelta,
    TextPart,
    Usage,
)

USAGE = Usage(prompt_tokens=7, completion_tokens=3)


@dataclass
class FakeService:
    """Implements `TaskService`.

    `gate`, where given, holds the answer back after the first delta until it is set. `cancelled` counts
    answers that were closed before their end.
    """

    deltas: Sequence[str] = ("Hello", ", ", "world.")
    notices: Sequence[str] = ()
    late_notices: Sequence[str] = ()  # known only at the end
    finish_reason: FinishReason = "stop"
    error: LocalGPTError | None = None  # raised at once
    late_error: LocalGPTError | None = None  # raised after the first delta
    gate: asyncio.Event | None = None
    delta_pause_s: float = 0.0
    ready: bool = True
    requests: list[Request] = field(default_factory=list)
    num_cancelled: int = 0
    is_closed: bool = False

    @property
    def chat(self) -> ChatRequest:
        """The last chat request."""
        request = self.requests[-1]
        assert isinstance(request, ChatRequest)
        return request

    @property
    def embed(self) -> EmbedRequest:
        """The last embed request."""
        request = self.requests[-1]
        assert isinstance(request, EmbedRequest)
        return request

    async def run(self, request: Request) -> Result:
        if isinstance(request, EmbedRequest):
            self.requests.append(request)
            if self.error is not None:
                raise self.error
            vectors = tuple(_vector(one) for one in request.inputs)
            return EmbedResult(
                embeddings=vectors, usage=Usage(prompt_tokens=5, completion_tokens=0), model="m"
            )
        async for event in self.stream(request):
            if isinstance(event, Finished):
                return event.result
        raise AssertionError("no end")

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        is_done = False
        try:
            if self.error is not None:
                raise self.error
            for text in self.notices:
                yield Notice(text=text)
            for index, text in enumerate(self.deltas):
                yield TextDelta(text=text)
                if index == 0 and self.late_error is not None:
                    raise self.late_error
                if index == 0 and self.gate is not None:
                    await self.gate.wait()
                await asyncio.sleep(self.delta_pause_s)
            result = ChatResult(
                text="".join(self.deltas),
                finish_reason=self.finish_reason,
                usage=USAGE,
                model=EMBEDDED_MODEL_ID,
                notices=(*self.notices, *self.late_notices),
            )
            is_done = True
            yield Finished(result=result)
        except LocalGPTError:
            is_done = True
            raise
        finally:
            self.num_cancelled += not is_done

    async def open(self, request: Request) -> Channel:
        raise NotImplementedError

    async def status(self) -> Status:
        model = ModelStatus(
            id=EMBEDDED_MODEL_ID,
            tasks=("chat", "describe", "ask", "embed"),
            num_params=142_000_000,
            weight_bytes=149_000_000,
            context_len=2560,
            created=1_760_000_000,
            licence="CC BY-NC-SA 4.0",
        )
        return Status(
            ready=self.ready,
            device="cpu",
            dtype="int8",
            models=(model,),
            resident_bytes=420_000_000,
            num_running=0,
            num_waiting=0,
            max_batch_size=4,
        )

    async def close(self) -> None:
        self.is_closed = True


def _vector(one: TextPart | ImagePart) -> tuple[float, ...]:
    return (0.6, 0.8, 0.0) if isinstance(one, TextPart) else (0.0, 0.6, 0.8)
