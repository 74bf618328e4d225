"""The last touch of painted pictures, whoever paints them: filtered, in the wanted format, labelled.

Painters give PNG. Every picture on its way to a caller comes through here once, previews too, so that no
painter and no face can forget the filter or the label.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from localgpt import __version__
from localgpt.errors import ConfigError, FilteredError
from localgpt.media.image import decode_image, encode_picture
from localgpt.media.provenance.label import Labeller, load_key
from localgpt.runtime.picture_filter import PictureFilter, make_filter
from localgpt.tasks import Event, Finished, PaintPreview, PaintRequest, PaintResult, TaskService

__all__ = ["Finisher", "PictureOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """What an operator says of pictures; see `localgpt.settings.Settings`."""

    filter: str = "words"
    words_file: Path | None = None
    has_labels: bool = True
    producer: str = "LocalGPT"
    key_file: Path | None = None  # None: a key of this process alone


class Finisher:
    """Finishes pictures. The key is read, or made, with the first picture.

    Args:
        options: of the operator.

    Raises:
        ConfigError: the filter cannot be used.
    """

    def __init__(self, options: PictureOptions | None = None) -> None:
        self._options = options or PictureOptions()
        self._filter: PictureFilter = make_filter(self._options.filter, self._options.words_file)
        self._labeller: Labeller | None = None

    async def finished(self, service: TaskService, request: PaintRequest) -> AsyncGenerator[Event]:
        """Have a service paint, and yield its events with finished pictures.

        Raises:
            FilteredError: the prompt, or a picture, does not pass.
            LocalGPTError: painting failed.
        """
        await asyncio.to_thread(self._check_prompt, request.prompt)
        async with aclosing(cast("AsyncGenerator[Event]", service.stream(request))) as events:
            async for event in events:
                if isinstance(event, PaintPreview):
                    finish = partial(self._finish, event.data, request, request.model)
                    data = await asyncio.to_thread(finish)
                    yield replace(event, data=data, media_type=f"image/{request.format}")
                elif isinstance(event, Finished):
                    assert isinstance(event.result, PaintResult)
                    yield Finished(result=await asyncio.to_thread(self._finish_all, event.result, request))
                else:
                    yield event

    def _finish_all(self, result: PaintResult, request: PaintRequest) -> PaintResult:
        images = tuple(
            replace(
                image,
                data=self._finish(image.data, request, result.model),
                media_type=f"image/{request.format}",
            )
            for image in result.images
        )
        return replace(result, images=images)

    def _check_prompt(self, prompt: str) -> None:
        if (reason := self._filter.refuse_prompt(prompt)) is not None:
            raise FilteredError(f"the prompt does not pass this server's filter: {reason}", param="prompt")

    def _finish(self, png: bytes, request: PaintRequest, model: str) -> bytes:
        if (reason := self._filter.refuse_picture(png)) is not None:
            raise FilteredError(
                f"the painted picture does not pass this server's filter: {reason}", param="prompt"
            )
        data = png
        if request.format != "png":
            data = encode_picture(decode_image(png), request.format, request.format_quality)
        if not self._options.has_labels:
            return data
        return self._with_key().label(data, model=model)

    def _with_key(self) -> Labeller:
        if self._labeller is None:
            try:
                key = load_key(self._options.key_file)
            except ConfigError as error:
                raise ConfigError(f"{error}; or switch labels off (LOCALGPT_PICTURE_LABELS=false)") from None
            self._labeller = Labeller(
                key, generator=f"LocalGPT/{__version__}", producer=self._options.producer
            )
        return self._labeller
