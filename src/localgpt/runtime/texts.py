"""Texts to embed: read in pieces, between which other work of the models has its turn."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import torch

from localgpt.errors import InputError, PromptTooLongError

if TYPE_CHECKING:
    from localgpt.engine.async_engine import AsyncEngine
    from localgpt.media.text.tokenizer import Tokenizer
    from localgpt.runtime.holdings import Holdings
    from localgpt.runtime.pictures import PictureReader

__all__ = ["TextEmbedder"]

_MAX_TOKENS: Final = 32_768  # of one text
_MAX_CHARS: Final = 8 * _MAX_TOKENS  # more are refused without being tokenised


class TextEmbedder:
    """Turns texts into vectors with the encoder's text tower.

    Args:
        reader: has the tower.
        tokenizer: of the family.
        engine: whose thread the tower runs in.
        holdings: where its memory is reserved.
    """

    def __init__(
        self, reader: PictureReader, tokenizer: Tokenizer, engine: AsyncEngine, holdings: Holdings
    ) -> None:
        self._reader, self._tokenizer = reader, tokenizer
        self._engine, self._holdings = engine, holdings

    async def embed(self, text: str, param: str) -> tuple[list[float], int]:
        """The unit vector of a text, and its tokens.

        Raises:
            InputError: it is blank.
            PromptTooLongError: it would keep the tower for long.
        """
        if not text.strip():
            raise InputError("got an empty text to embed, expected some words", param=param)
        _check_length(len(text), _MAX_CHARS, "characters", param)
        token_ids = await asyncio.to_thread(self._tokenizer.encode, text)
        _check_length(len(token_ids), _MAX_TOKENS, "tokens", param)
        reader = self._reader
        total = torch.zeros(reader.embed_dim, dtype=torch.float32)
        async with self._holdings.text(min(len(token_ids), reader.chunk_tokens)):
            for chunk in reader.text_chunks(token_ids):  # a caller who gives up stops before the next one
                total += await self._engine.call(partial(reader.read_chunk, chunk))
        return torch.nn.functional.normalize(total, dim=0).tolist(), len(token_ids)


def _check_length(length: int, limit: int, unit: str, param: str) -> None:
    if length > limit:
        raise PromptTooLongError(
            f"got a text of {length:,} {unit} to embed, expected at most {limit:,}; embed its parts",
            param=param,
        )
