"""`TaskService`: the one door between the faces (server, CLI, Python) and the models.

Three implementations share it: `local` (this process), `worker` (a sandboxed child) and `cluster` (Ray
Serve). Tasks and faces do not know which one they talk to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from localgpt.tasks.media import PaintPreview, Progress, SpeakChunk
from localgpt.tasks.memory import MemoryStatus
from localgpt.tasks.options import TokenLogprob
from localgpt.tasks.requests import ChatResult, Request, Result

__all__ = [
    "Channel",
    "Event",
    "Finished",
    "ModelStatus",
    "Notice",
    "Status",
    "TaskService",
    "TextDelta",
    "ToolCallDelta",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """The next piece of the answer; pieces concatenate to the result's text, and so do their logprobs."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """The next piece of a tool call; `id` and `name` come with its first piece, `arguments` concatenate."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the caller should know: a downgrade, turns left out of the context."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a stream, with the whole result."""

    result: Result

    @property
    def answer(self) -> ChatResult:
        """The result of chat, complete, describe or ask, whose streams end with no other."""
        assert isinstance(self.result, ChatResult)
        return self.result


Event = TextDelta | ToolCallDelta | Notice | Progress | PaintPreview | SpeakChunk | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model the service can run. `created` is seconds since the epoch."""

    id: str
    tasks: tuple[str, ...]
    num_params: int
    weight_bytes: int
    context_len: int
    num_image_tokens: int  # that each picture takes of the context at the least; 0 where it sees none
    created: int
    licence: str
    upstream: str | None = None  # the server that runs it; None: this service does
    leaves_machine: bool = False  # what is asked of it may go to another machine
    names: tuple[str, ...] = ()  # others that it answers to
    is_loaded: bool = True  # False: the first request for it waits until it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What runs where, and whether it is ready."""

    ready: bool
    device: str
    dtype: str
    models: tuple[ModelStatus, ...]
    resident_bytes: int  # memory of this process's models
    num_running: int
    num_waiting: int
    max_batch_size: int
    notices: tuple[str, ...] = ()  # what was downgraded at start, for example an absent device
    memory: MemoryStatus | None = None  # None until the models are loaded
    model_process_bytes: int | None = None  # resident memory of the models' own process, if they have one


class Channel(Protocol):
    """A two-way conversation with a task (voice)."""

    async def send(self, data: bytes) -> None:
        """Hand over the next input bytes."""

    def events(self) -> AsyncIterator[Event]:
        """Events as they happen."""

    async def close(self) -> None:
        """End the conversation and free what it holds."""


class TaskService(Protocol):
    """Run tasks. Cancelling the awaiting coroutine (or closing the iterator) cancels the work."""

    async def run(self, request: Request) -> Result:
        """Run one request to its end.

        Raises:
            LocalGPTError: see `localgpt.errors`.
        """

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request and yield its events; the last one is `Finished`."""

    async def open(self, request: Request) -> Channel:
        """Open a channel for a task that listens while it answers."""

    async def status(self) -> Status:
        """Models, memory, readiness."""

    async def close(self) -> None:
        """Stop accepting work, cancel what runs, free everything."""
