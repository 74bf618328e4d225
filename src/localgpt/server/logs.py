"""What goes to standard error: lines of text or of JSON, each with the id of its request.

The code logs through `logging` and says structured things with `extra`; structlog renders both forms. Nothing
logs what is asked or answered, a key, or a query string; `log_prompts` adds the first two on purpose.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import structlog
from structlog.typing import Processor

from localgpt.settings import Settings
from localgpt.tasks import (
    AskRequest,
    AudioPart,
    Channel,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    DetectRequest,
    EmbedRequest,
    Event,
    Finished,
    ImagePart,
    ListenRequest,
    PaintRequest,
    Request,
    Result,
    SpeakRequest,
    Status,
    TaskService,
    TextPart,
)

__all__ = ["PromptLog", "log_to_stderr"]

logger = logging.getLogger(__name__)


def log_to_stderr(settings: Settings) -> None:
    """Send the process's log to standard error, in the form and from the level the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,  # the id of the request
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # uvicorn's own steps are of interest to those who debug it; what is asked of the database holds content.
    uvicorn_level = logging.NOTSET if settings.log_level == "debug" else logging.WARNING
    logging.getLogger("uvicorn").setLevel(uvicorn_level)
    for name in ("sqlalchemy", "aiosqlite", "asyncpg"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(settings: Settings) -> list[Processor]:
    # A traceback as plain text: the rich form holds the values of variables, and with them what was asked.
    last = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if settings.log_format == "json" else _as_line
    )
    return [structlog.processors.format_exc_info, last]


def _as_line(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """`TIME LEVEL LOGGER MESSAGE [REQUEST]`; the message says in words what `extra` says in fields."""
    where = f"{event['timestamp']} {event['level'].upper()} {event['logger']}"
    request = f" {event['request_id']}" if "request_id" in event else ""
    trace = f"\n{event['exception']}" if "exception" in event else ""
    prompt = "".join(f"\n  {name}: {event[name]!r}" for name in ("asked", "answered") if name in event)
    return f"{where} {event['event']}{request}{prompt}{trace}"


class PromptLog:
    """A `TaskService` that writes down what is asked and answered; used where `log_prompts` is on.

    Args:
        service: does the work.
    """

    def __init__(self, service: TaskService) -> None:
        self._service = service

    async def run(self, request: Request) -> Result:
        """Run one request."""
        _note_asked(request)
        result = await self._service.run(request)
        if isinstance(result, ChatResult):
            _note_answered(request, result)
        return result

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Stream one request."""
        _note_asked(request)
        async with aclosing(cast("AsyncGenerator[Event]", self._service.stream(request))) as events:
            async for event in events:
                if isinstance(event, Finished) and isinstance(event.result, ChatResult):
                    _note_answered(request, event.result)
                yield event

    async def open(self, request: Request) -> Channel:
        """Open a channel."""
        return await self._service.open(request)

    async def status(self) -> Status:
        """The service's status."""
        return await self._service.status()

    async def close(self) -> None:
        """Close the service."""
        await self._service.close()


def _note_asked(request: Request) -> None:
    logger.info("%s asks", request.id, extra={"task_id": request.id, "asked": _texts_of(request)})


def _note_answered(request: Request, result: ChatResult) -> None:
    logger.info("%s is answered", request.id, extra={"task_id": request.id, "answered": result.text})


def _texts_of(request: Request) -> list[str]:
    """Everything a request says in words; pictures and recordings are named by their size."""
    parts: list[TextPart | ImagePart | AudioPart]
    match request:
        case ChatRequest():
            parts = [part for message in request.messages for part in message.content]
        case CompleteRequest():
            parts = [TextPart(text=request.prompt)]
        case DescribeRequest():
            parts = [request.image]
        case AskRequest():
            parts = [request.image, TextPart(text=request.question)]
        case EmbedRequest():
            parts = list(request.inputs)
        case PaintRequest():
            texts = [TextPart(text=text) for text in (request.prompt, request.negative_prompt) if text]
            parts = [*texts, *filter(None, (request.image, request.mask))]
        case ListenRequest():
            parts = [request.audio, *([TextPart(text=request.prompt)] if request.prompt else [])]
        case SpeakRequest():
            parts = [TextPart(text=request.text)]
        case DetectRequest():
            parts = [request.image, *(TextPart(text=label) for label in request.labels or ())]
    return [part.text if isinstance(part, TextPart) else _size_of(part) for part in parts]


def _size_of(part: ImagePart | AudioPart) -> str:
    if isinstance(part, AudioPart) and part.path is not None:
        return "<a recording in a file>"
    return f"<{len(part.data)} bytes of a {'picture' if isinstance(part, ImagePart) else 'recording'}>"
