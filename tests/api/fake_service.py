"""A task service without models: it says what the test wrote down, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from localgpt.errors import InputError, LocalGPTError
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    AskRequest,
    Channel,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    FinishReason,
    ImagePart,
    MemoryStatus,
    ModelStatus,
    Notice,
    Request,
    Result,
    Status,
    TextDelta,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.api.fake_memory import a_memory

USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)
EMBED_DIM = 3

Script = Sequence[str | TextDelta | ToolCallDelta]
RequestT = TypeVar("RequestT", bound=Request)


def call_deltas(name: str, *pieces: str, index: int = 0, id: str = "call_1") -> list[ToolCallDelta]:
    """A tool call whose arguments come in the given pieces."""
    first = ToolCallDelta(index=index, id=id, name=name)
    return [first, *(ToolCallDelta(index=index, arguments=piece) for piece in pieces)]


def likely(text: str, logprob: float, **alternatives: float) -> TextDelta:
    """A piece of one token, and what else might have stood there."""
    top = tuple(TokenLogprob(data=other.encode(), logprob=value) for other, value in alternatives.items())
    return TextDelta(text=text, logprobs=(TokenLogprob(data=text.encode(), logprob=logprob, top=top),))


@dataclass
class FakeService:
    """Implements `TaskService`.

    `deltas` are the pieces of every answer: text, text with log probabilities (`likely`), or tool calls
    (`call_deltas`, together with `finish_reason = "tool_calls"`). `answers`, where given, are those of the
    first, second ... request instead, from the first again after the last. `gate`, where given, holds the
    answer back after the first delta until it is set. `num_cancelled` counts answers that were closed before
    their end.
    """

    deltas: Script = ("Hello", ", ", "world.")
    answers: Sequence[Script] = ()
    notices: Sequence[str] = ()
    late_notices: Sequence[str] = ()  # known only at the end
    finish_reason: FinishReason = "stop"
    error: LocalGPTError | None = None  # raised at once
    late_error: LocalGPTError | None = None  # raised after the first delta
    gate: asyncio.Event | None = None
    delta_pause_s: float = 0.0
    ready: bool = True
    memory: MemoryStatus = field(default_factory=a_memory)  # once it is ready
    more_models: tuple[ModelStatus, ...] = ()  # besides the embedded family
    requests: list[Request] = field(default_factory=list)
    num_cancelled: int = 0
    is_closed: bool = False

    @property
    def chat(self) -> ChatRequest:
        """The last request, which was one to chat."""
        return self._last(ChatRequest)

    @property
    def complete(self) -> CompleteRequest:
        """The last request, which was one to complete a text."""
        return self._last(CompleteRequest)

    @property
    def describe(self) -> DescribeRequest:
        """The last request, which was one to describe a picture."""
        return self._last(DescribeRequest)

    @property
    def ask(self) -> AskRequest:
        """The last request, which was a question about a picture."""
        return self._last(AskRequest)

    @property
    def embed(self) -> EmbedRequest:
        """The last request, which was one to embed."""
        return self._last(EmbedRequest)

    def _last(self, kind: type[RequestT]) -> RequestT:
        request = self.requests[-1]
        assert isinstance(request, kind)
        return request

    async def run(self, request: Request) -> Result:
        if isinstance(request, EmbedRequest):
            self.requests.append(request)
            if self.error is not None:
                raise self.error
            if request.dimensions not in (None, EMBED_DIM):
                raise InputError(f"dimensions is {request.dimensions}, not {EMBED_DIM}", param="dimensions")
            vectors = tuple(_vector(one) for one in request.inputs)
            return EmbedResult(
                embeddings=vectors, usage=Usage(prompt_tokens=5, completion_tokens=0), model="m"
            )
        async for event in self.stream(request):
            if isinstance(event, Finished):
                return event.result
        raise AssertionError("no end")

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        script = self.answers[len(self.requests) % len(self.answers)] if self.answers else self.deltas
        self.requests.append(request)
        is_done = False
        try:
            if self.error is not None:
                raise self.error
            for text in self.notices:
                yield Notice(text=text)
            deltas = [TextDelta(text=piece) if isinstance(piece, str) else piece for piece in script]
            for index, delta in enumerate(deltas):
                yield delta
                if index == 0 and self.late_error is not None:
                    raise self.late_error
                if index == 0 and self.gate is not None:
                    await self.gate.wait()
                await asyncio.sleep(self.delta_pause_s)
            result = self._result(deltas)
            is_done = True
            yield Finished(result=result)
        except LocalGPTError:
            is_done = True
            raise
        finally:
            self.num_cancelled += not is_done

    def _result(self, deltas: Sequence[TextDelta | ToolCallDelta]) -> ChatResult:
        texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
        calls: list[ToolCall] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                continue
            if delta.id is not None and delta.name is not None:
                calls.append(ToolCall(id=delta.id, name=delta.name, arguments=""))
            call = calls[delta.index]
            calls[delta.index] = replace(call, arguments=call.arguments + delta.arguments)
        return ChatResult(
            text="".join(delta.text for delta in texts),
            finish_reason=self.finish_reason,
            usage=USAGE,
            model=EMBEDDED_MODEL_ID,
            notices=(*self.notices, *self.late_notices),
            tool_calls=tuple(calls),
            logprobs=tuple(token for delta in texts for token in delta.logprobs),
        )

    async def open(self, request: Request) -> Channel:
        raise NotImplementedError

    async def status(self) -> Status:
        model = ModelStatus(
            id=EMBEDDED_MODEL_ID,
            tasks=("chat", "describe", "ask", "embed"),
            num_params=142_000_000,
            weight_bytes=149_000_000,
            context_len=2560,
            num_image_tokens=196,
            created=1_760_000_000,
            licence="CC BY-NC-SA 4.0",
        )
        return Status(
            ready=self.ready,
            device="cpu",
            dtype="int8",
            models=(model, *self.more_models),
            resident_bytes=420_000_000,
            num_running=0,
            num_waiting=0,
            max_batch_size=4,
            memory=self.memory if self.ready else None,
        )

    async def close(self) -> None:
        self.is_closed = True


def _vector(one: TextPart | ImagePart) -> tuple[float, ...]:
    return (0.6, 0.8, 0.0) if isinstance(one, TextPart) else (0.0, 0.6, 0.8)
