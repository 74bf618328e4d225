"""The models of one command: loaded once, asked one request after the other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from localgpt.cli.console import note, progress
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.upstreams import upstream_service
from localgpt.errors import AudioFormatError, ImageFormatError
from localgpt.tasks import (
    ChatResult,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    ImagePart,
    Notice,
    Request,
    Result,
    TaskService,
    TextDelta,
    TextPart,
    split_upstream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from localgpt.settings import Settings

__all__ = ["Session", "new_id"]


class Session:
    """Loads on entering, frees on leaving; notices of the models go to standard error.

    Ctrl-C while an answer is made cancels it and raises KeyboardInterrupt.

    Args:
        settings: model, device and precision.
    """

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._interrupts = graceful_interrupts()
        self._service: TaskService
        self._upstream_model = settings.model if settings.model and split_upstream(settings.model) else None
        if self._upstream_model is not None:
            self._service = asked = upstream_service(settings)
            if warning := asked.warning_about(self._upstream_model):
                note(warning)
            if settings.use_cache:
                note("use_cache has no effect on another server's answers; leave it out")
            return
        from localgpt.runtime.loading import load_service, plan_load
        from localgpt.settings import ANSWERS_FOLDER, data_folder
        from localgpt.worker.building import load_options

        folder = data_folder(settings, create=True) / ANSWERS_FOLDER if settings.use_cache else None
        options = replace(load_options(settings, answers_folder=folder), max_batch_size=1)
        with progress("Loading the models"):
            plan = plan_load(options)
            for notice in plan.notices:
                note(notice)
            self._service = service = load_service(plan)
            for notice in service.notices[len(plan.notices) :]:
                note(notice)

    def answer(
        self, request: Request, *, on_text: Callable[[str], None] | None = None, source: str | None = None
    ) -> ChatResult:
        """Run one request that has a text for an answer.

        Args:
            request: chat, describe or ask.
            on_text: called with each piece of the answer as it comes.
            source: name of the picture's file, put in front of errors about it.

        Raises:
            LocalGPTError: the request was refused or failed.
        """

        def on_event(event: Event) -> None:
            if isinstance(event, TextDelta) and on_text is not None:
                on_text(event.text)

        work = self._drive(request, on_event, shows_text=on_text is not None)
        return cast("ChatResult", self._run(work, source))

    def embed(self, part: TextPart | ImagePart, *, source: str | None = None) -> tuple[float, ...]:
        """Vector of a text or a picture; `source` as for `answer`.

        Raises:
            LocalGPTError: the request was refused or failed.
        """
        request = self._named(EmbedRequest(id=new_id(), inputs=(part,)))
        return cast("EmbedResult", self._run(self._service.run(request), source)).embeddings[0]

    def run(
        self, request: Request, *, on_event: Callable[[Event], None] | None = None, source: str | None = None
    ) -> Any:
        """Run one request to paint, listen, speak or detect, and give its result.

        Args:
            request: what is asked for.
            on_event: called with each event as it happens, but for notices.
            source: name of a file, put in front of errors about it.

        Raises:
            LocalGPTError: the request was refused or failed.
        """
        return self._run(self._drive(request, on_event or _ignore), source)

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._service.close())
            self._runner.close()
        finally:
            self._interrupts.__exit__(None, None, None)

    async def _drive(
        self, request: Request, on_event: Callable[[Event], None], *, shows_text: bool = False
    ) -> Result:
        stream = cast("AsyncGenerator[Event]", self._service.stream(self._named(request)))
        is_mid_line = False
        async with aclosing(stream) as events:
            async for event in events:
                match event:
                    case Notice():
                        note(event.text, below=is_mid_line)
                    case Finished():
                        return event.result
                    case _:
                        on_event(event)
                if isinstance(event, TextDelta):
                    is_mid_line = shows_text and not event.text.endswith("\n")
        raise AssertionError("work ended without its last event")

    def _named(self, request: Request) -> Request:
        """The request under the name of the upstream's model, where one was asked for."""
        return request if self._upstream_model is None else replace(request, model=self._upstream_model)

    def _run(self, work: Coroutine[Any, Any, Any], source: str | None = None) -> Any:
        try:
            return self._runner.run(work)
        except (ImageFormatError, AudioFormatError) as error:
            if source is None:
                raise
            raise type(error)(f"{source}: {error}", param=error.param) from None


def new_id() -> str:
    """A request's id."""
    return uuid.uuid4().hex


def _ignore(_: object) -> None:
    """Take a piece of text, or an event, and do nothing."""
