"""Chats that paint: what a model wants painted is painted by whatever painter there is, within the answer.

The events of the answer come first, then the painter's, and the last one tells both. A picture that cannot be
painted does not lose the words that were answered: the answer says why, in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Final, cast

from localgpt.errors import CancelledRequestError, InputError, LocalGPTError
from localgpt.runtime.conversation import language_of, text_of
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    Language,
    ModelStatus,
    Notice,
    PaintRequest,
    PaintResult,
    TaskService,
    TextDelta,
    Usage,
)

__all__ = ["PaintedAnswers", "painter_among"]

_FAILED: Final[dict[Language, str]] = {
    "en": "The picture could not be painted: {reason}",
    "zh": "这张图片没能画出来：{reason}",
}
_NO_PAINTER: Final[dict[Language, str]] = {
    "en": "I cannot paint a picture here: no painter is installed. `localgpt models` lists some.",
    "zh": "我在这里不能画画：没有安装绘画模型。`localgpt models` 会列出可用的模型。",
}


def painter_among(models: Iterable[ModelStatus]) -> str | None:
    """The model that paints where none was named: the embedded one, else the newest; None where none can."""
    able = [model for model in models if "paint" in model.tasks and model.upstream is None]
    for model in able:
        if model.id == EMBEDDED_MODEL_ID or EMBEDDED_MODEL_ID in model.names:
            return model.id
    return max(able, key=lambda model: model.created).id if able else None


class PaintedAnswers:
    """Answers chats, pictures and all.

    Args:
        models: what there is.
        paint: runs a request to paint.
    """

    def __init__(
        self,
        models: Callable[[], Awaitable[Iterable[ModelStatus]]],
        paint: Callable[[PaintRequest], AsyncIterator[Event]],
    ) -> None:
        self._models, self._paint = models, paint

    async def answer(self, service: TaskService, request: ChatRequest) -> AsyncGenerator[Event]:
        """The events of an answer by a service, and of the pictures in it.

        Raises:
            LocalGPTError: the answer failed, or somebody cancelled it, or a picture is wanted of no words.
        """
        assert request.painting is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        painter = request.painting.model or painter_among(await self._models())
        if request.painting.is_wanted:
            result = _wanted(request, painter)
            if result.text:
                yield TextDelta(text=result.text)
        else:
            asked = request if painter is not None else replace(request, painting=None)
            async with aclosing(cast("AsyncGenerator[Event]", service.stream(asked))) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        result = event.answer
                    else:
                        yield event
        if painter is None or result.paints is None:
            yield Finished(result=result)
            return
        spent_s = clock() - began
        left_s = None if request.deadline_s is None else max(0.001, request.deadline_s - spent_s)
        async with aclosing(self._painted(request, result, painter, left_s)) as events:
            async for event in events:
                yield event

    async def _painted(
        self, request: ChatRequest, result: ChatResult, painter: str, deadline_s: float | None
    ) -> AsyncGenerator[Event]:
        assert request.painting is not None and result.paints is not None
        wish = request.painting
        try:
            task = PaintRequest(
                id=f"{request.id}-picture",
                owner=request.owner,
                model=painter,
                deadline_s=deadline_s,
                prompt=result.paints,
                width=wish.width,
                height=wish.height,
                effort=wish.effort,
                format=wish.format,
                format_quality=wish.format_quality,
                seed=wish.seed,
                num_previews=wish.num_previews,
                wants_heat_maps=wish.wants_heat_maps,
            )
            async with aclosing(cast("AsyncGenerator[Event]", self._paint(task))) as events:
                async for event in events:
                    if not isinstance(event, Finished):
                        yield event
                        continue
                    assert isinstance(event.result, PaintResult)
                    notices = (*result.notices, *event.result.notices)
                    images, model = event.result.images, event.result.model
                    yield Finished(result=replace(result, images=images, painter=model, notices=notices))
        except CancelledRequestError:
            raise
        except LocalGPTError as error:
            told = _FAILED[_language_of(request)].format(reason=error)
            words = f"\n\n{told}" if result.text else told
            notice = f"The picture could not be painted: {error}"
            yield Notice(text=notice)
            yield TextDelta(text=words)
            yield Finished(
                result=replace(result, text=result.text + words, notices=(*result.notices, notice))
            )


def _wanted(request: ChatRequest, painter: str | None) -> ChatResult:
    """The answer where a picture is wanted in any case: no words, if somebody can paint it."""
    said = [text_of(message) for message in request.messages if message.role == "user"]
    wish = said[-1].strip() if said else ""
    if not wish:
        raise InputError(
            "a picture is wanted, and the last message of the user has no words; say what to paint",
            param="messages",
        )
    text = "" if painter is not None else _NO_PAINTER[_language_of(request)]
    return ChatResult(
        text=text,
        finish_reason="stop",
        usage=Usage(prompt_tokens=0, completion_tokens=0),
        model=request.model,
        paints=wish,
    )


def _language_of(request: ChatRequest) -> Language:
    said = [text_of(message) for message in request.messages if message.role == "user"]
    return language_of(said[-1] if said else "")
