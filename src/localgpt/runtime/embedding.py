"""Texts and pictures to vectors of the joint space, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from localgpt.engine.async_engine import within
from localgpt.errors import InputError
from localgpt.tasks import EmbedRequest, ImagePart, TextPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from localgpt.engine.async_engine import AsyncEngine
    from localgpt.runtime.holdings import Holdings
    from localgpt.runtime.pictures import PictureReader
    from localgpt.runtime.texts import TextEmbedder

__all__ = ["Embedder"]


class Embedder:
    """Embeds the parts of a request.

    Args:
        texts: for texts.
        reader: for pictures.
        engine: whose thread the encoder runs in.
        holdings: where a picture's memory is reserved.
        read_pixels: decodes a picture; its last argument names the field that errors are about.
    """

    def __init__(
        self,
        texts: TextEmbedder,
        reader: PictureReader,
        engine: AsyncEngine,
        holdings: Holdings,
        read_pixels: Callable[[PictureReader, ImagePart, str], Awaitable[NDArray[np.float32]]],
    ) -> None:
        self._texts, self._reader, self._engine, self._holdings = texts, reader, engine, holdings
        self._read_pixels = read_pixels

    async def embed(
        self, request: EmbedRequest, *, deadline: float | None
    ) -> tuple[tuple[tuple[float, ...], ...], int]:
        """A unit vector for each part, and how many tokens were read.

        Raises:
            InputError: there is nothing to embed, or vectors of another length are wanted.
            LocalGPTError: a part cannot be read, or the deadline passed.
        """
        if not request.inputs:
            raise InputError("got nothing to embed, expected at least one text or picture", param="input")
        if request.dimensions not in (None, self._reader.embed_dim):
            raise InputError(
                f"dimensions is {request.dimensions}; this model's vectors have {self._reader.embed_dim} and "
                "cannot be shortened",
                param="dimensions",
            )
        vectors, num_tokens = [], 0
        is_one = len(request.inputs) == 1
        for number, part in enumerate(request.inputs):
            param = "input" if is_one else f"input[{number}]"
            vector, num = await within(deadline, self._embed_part(part, param))
            vectors.append(tuple(vector))
            num_tokens += num
        return tuple(vectors), num_tokens

    async def _embed_part(self, part: TextPart | ImagePart, param: str) -> tuple[list[float], int]:
        """One unit vector and how many tokens were read for it."""
        if isinstance(part, TextPart):
            return await self._texts.embed(part.text, param)
        reader = self._reader
        pixels = await self._read_pixels(reader, part, param)
        async with self._holdings.picture(reader):
            return await self._engine.call(partial(reader.embed_image, pixels)), reader.grid_len
