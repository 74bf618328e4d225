"""A task service without models that also paints: plain colours, by the seed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from PIL import Image

from localgpt.errors import LocalGPTError
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    STAGES,
    ChatRequest,
    Event,
    Finished,
    HeatMap,
    ModelStatus,
    Notice,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintResult,
    PaintStage,
    Progress,
    Request,
    Result,
    Status,
)
from tests.api.fake_service import FakeService

__all__ = ["PULLED_PAINTER", "FakePainter", "plain_picture"]

OWN_SIDE = 96
PULLED_PAINTER = ModelStatus(
    id="maker/painter",
    tasks=("paint",),
    num_params=1,
    weight_bytes=1,
    context_len=77,
    num_image_tokens=0,
    created=1_770_000_000,
    licence="MIT",
)


def plain_picture(shade: int, size: tuple[int, int], kind: str = "png") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 40, 90)).save(sink, kind.upper())
    return sink.getvalue()


@dataclass
class FakePainter(FakeService):
    """As `FakeService`; paints, and answers chats that may paint with a picture of `paints`.

    `paint_error` is what painting fails with; `paint_gate`, where given, holds it back after the first stage
    until it is set. Without `has_painter` the embedded family has none.
    """

    paints: str | None = None
    paint_error: LocalGPTError | None = None
    paint_gate: asyncio.Event | None = None
    has_painter: bool = True
    paint_notices: tuple[str, ...] = ()

    @property
    def paint(self) -> PaintRequest:
        """The last request, which was one to paint."""
        return self._last(PaintRequest)

    async def run(self, request: Request) -> Result:
        if not isinstance(request, PaintRequest):
            return await super().run(request)
        async for event in self.stream(request):
            if isinstance(event, Finished):
                return event.result
        raise AssertionError("no end")

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, PaintRequest):
            self.requests.append(request)
            async for event in self._painted(request):
                yield event
            return
        async for event in super().stream(request):
            wish = request.painting if isinstance(request, ChatRequest) else None
            if not (isinstance(event, Finished) and wish is not None and self.paints is not None):
                yield event
                continue
            task = PaintRequest(
                id="p",
                prompt=self.paints,
                width=wish.width,
                height=wish.height,
                effort=wish.effort,
                format=wish.format,
                format_quality=wish.format_quality,
                seed=wish.seed,
                num_previews=wish.num_previews,
                wants_heat_maps=wish.wants_heat_maps,
            )
            async for painted in self._painted(task):
                if isinstance(painted, Finished):
                    assert isinstance(painted.result, PaintResult)
                    answer = replace(
                        event.answer,
                        paints=self.paints,
                        images=painted.result.images,
                        painter=wish.model or EMBEDDED_MODEL_ID,
                    )
                    yield Finished(result=answer)
                else:
                    yield painted

    async def _painted(self, request: PaintRequest) -> AsyncIterator[Event]:
        is_done = False
        try:
            if self.paint_error is not None:
                raise self.paint_error
            size = (request.width or OWN_SIDE, request.height or OWN_SIDE)
            seed = 7 if request.seed is None else request.seed
            media_type = f"image/{request.format}"
            for text in self.paint_notices:
                yield Notice(text=text)
            for number, stage in enumerate(STAGES[: request.num_previews], 1):
                yield Progress(done=float(number), total=4.0, unit="steps")
                for index in range(request.num_images):
                    yield PaintPreview(
                        stage=stage,
                        index=index,
                        data=plain_picture(number, size, request.format),
                        width=size[0],
                        height=size[1],
                        num_steps=number,
                        media_type=media_type,
                    )
                if number == 1 and self.paint_gate is not None:
                    await self.paint_gate.wait()
            maps = (HeatMap(word="cat", data=plain_picture(9, (8, 8)), width=8, height=8),)
            images = tuple(
                PaintedImage(
                    data=plain_picture(seed + index, size, request.format),
                    width=size[0],
                    height=size[1],
                    seed=seed + index,
                    stages=tuple(
                        PaintStage(name=stage, num_steps=number, width=size[0], height=size[1])
                        for number, stage in enumerate(STAGES[: request.num_previews], 1)
                    ),
                    media_type=media_type,
                    heat_maps=maps if request.wants_heat_maps else (),
                )
                for index in range(request.num_images)
            )
            result = PaintResult(
                images=images,
                seconds=1.5,
                model=request.model,
                num_steps=request.steps_of(20),
                guidance_scale=5.0 if request.guidance_scale is None else request.guidance_scale,
                notices=self.paint_notices,
            )
            is_done = True
            yield Finished(result=result)
        except LocalGPTError:
            is_done = True
            raise
        finally:
            self.num_cancelled += not is_done

    async def status(self) -> Status:
        status = await super().status()
        if not self.has_painter:
            return status
        base, *others = status.models
        return replace(status, models=(replace(base, tasks=(*base.tasks, "paint")), *others))
