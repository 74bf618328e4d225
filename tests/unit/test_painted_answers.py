"""A chat that paints: which painter, what is told, and what happens where there is none or it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from localgpt.errors import CancelledRequestError, CapacityError, InputError, LocalGPTError
from localgpt.runtime.painted_answers import PaintedAnswers, painter_among
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    Message,
    ModelStatus,
    Notice,
    PaintedImage,
    Painting,
    PaintRequest,
    PaintResult,
    Progress,
    Request,
    TextDelta,
    Usage,
)

MODEL = ModelStatus(
    id="new/painter", tasks=("paint",), num_params=1, weight_bytes=1, context_len=77, num_image_tokens=0,
    created=9, licence="MIT",
)  # fmt: skip
OLDER = replace(MODEL, id="old/painter", created=5)
FAMILY = replace(MODEL, id=EMBEDDED_MODEL_ID, tasks=("chat",), created=1)
ANSWER = ChatResult(
    text="Of course.",
    finish_reason="stop",
    usage=Usage(prompt_tokens=3, completion_tokens=2),
    model=EMBEDDED_MODEL_ID,
    paints="a fox",
)


class Chat:
    """Answers `ANSWER`; remembers what it was asked."""

    def __init__(self, answer: ChatResult = ANSWER) -> None:
        self.answer, self.asked = answer, list[Request]()

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        self.asked.append(request)
        yield TextDelta(text=self.answer.text)
        yield Finished(result=self.answer)


class Easel:
    """Paints, or fails."""

    def __init__(self, error: LocalGPTError | None = None) -> None:
        self.error, self.asked = error, list[PaintRequest]()

    async def paint(self, request: PaintRequest) -> AsyncIterator[Event]:
        self.asked.append(request)
        yield Progress(done=1.0, total=1.0, unit="steps")
        if self.error is not None:
            raise self.error
        image = PaintedImage(data=b"png", width=8, height=8, seed=3, stages=())
        yield Finished(
            result=PaintResult(
                images=(image,),
                seconds=1.0,
                model=request.model,
                num_steps=1,
                guidance_scale=1.0,
                notices=("n",),
            )
        )


async def answered(
    chat: Chat, easel: Easel, models: tuple[ModelStatus, ...] = (FAMILY, OLDER, MODEL), **wish: Any
) -> list[Event]:
    async def found() -> tuple[ModelStatus, ...]:
        return models

    request = ChatRequest(
        id="1",
        owner="anna",
        deadline_s=50.0,
        messages=(Message.of("user", "画一只狐狸" if wish.pop("chinese", False) else "Draw a fox"),),
        painting=Painting(**wish),
    )
    service: Any = chat
    return [event async for event in PaintedAnswers(found, easel.paint).answer(service, request)]


def test_which_model_paints() -> None:
    assert painter_among([FAMILY, OLDER, MODEL]) == MODEL.id
    assert painter_among([replace(FAMILY, tasks=("chat", "paint")), MODEL]) == EMBEDDED_MODEL_ID
    assert painter_among([FAMILY, replace(MODEL, upstream="there")]) is None


async def test_words_come_first_and_the_picture_is_of_the_result() -> None:
    easel = Easel()
    text, progress, last = await answered(Chat(), easel, width=64, height=72, format="webp", seed=4)
    assert text == TextDelta(text="Of course.") and isinstance(progress, Progress)
    assert isinstance(last, Finished)
    assert (last.answer.images[0].seed, last.answer.painter, last.answer.notices) == (3, MODEL.id, ("n",))
    (asked,) = easel.asked
    assert (asked.prompt, asked.owner, asked.width, asked.format, asked.seed) == (
        "a fox",
        "anna",
        64,
        "webp",
        4,
    )
    assert asked.deadline_s is not None and 0 < asked.deadline_s <= 50


async def test_without_a_painter_the_model_is_told_so() -> None:
    chat, easel = Chat(replace(ANSWER, paints=None)), Easel()
    await answered(chat, easel, (FAMILY,))
    assert isinstance(chat.asked[0], ChatRequest) and chat.asked[0].painting is None and not easel.asked


@pytest.mark.parametrize(("chinese", "words"), [(False, "could not be painted"), (True, "没能画出来")])
async def test_a_painter_that_fails_is_told_in_words(chinese: bool, words: str) -> None:
    events = await answered(Chat(), Easel(InputError("too large", param="width")), chinese=chinese)
    *_, notice, text, last = events
    assert isinstance(notice, Notice) and isinstance(text, TextDelta) and isinstance(last, Finished)
    assert words in text.text and "too large" in text.text
    assert last.answer.text == "Of course." + text.text and last.answer.notices == (notice.text,)
    with pytest.raises(CancelledRequestError):
        await answered(Chat(), Easel(CancelledRequestError("gone")))


async def test_a_picture_that_is_demanded_asks_no_model() -> None:
    chat, easel = Chat(), Easel()
    *_, last = await answered(chat, easel, is_wanted=True)
    assert isinstance(last, Finished) and last.answer.images and not chat.asked
    assert easel.asked[0].prompt == "Draw a fox"
    events = await answered(chat, Easel(CapacityError("full")), (FAMILY,), is_wanted=True)
    assert isinstance(events[0], TextDelta) and "no painter is installed" in events[0].text


async def test_a_picture_of_no_words_is_refused() -> None:
    async def found() -> tuple[ModelStatus, ...]:
        return (MODEL,)

    request = ChatRequest(id="1", messages=(Message.of("user", "  "),), painting=Painting(is_wanted=True))
    service: Any = Chat()
    with pytest.raises(InputError, match="say what to paint"):
        await anext(PaintedAnswers(found, Easel().paint).answer(service, request))
