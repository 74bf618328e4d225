"""Embedding: what is refused is refused before any work, and long work ends when its caller gives up."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from localgpt.errors import InputError
from localgpt.runtime.local import LocalService
from localgpt.tasks import EmbedRequest, EmbedResult, TextPart
from tests import tiny


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    local = LocalService(tiny.make_family(), max_batch_size=2)
    yield local
    await local.close()


def embed(*texts: str, dimensions: int | None = None) -> EmbedRequest:
    return EmbedRequest(id="1", inputs=tuple(TextPart(text=text) for text in texts), dimensions=dimensions)


async def test_another_size_is_refused_before_anything_is_read(
    local: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = tiny.make_tokenizer().encode
    monkeypatch.setattr(tiny.make_tokenizer(), "encode", lambda text: (read.append(text), real(text))[1])
    with pytest.raises(InputError, match="have 16 and cannot be shortened") as caught:
        await local.run(embed("a dog", dimensions=8))
    assert caught.value.param == "dimensions"
    assert read == []
    result = await local.run(embed("a dog", dimensions=tiny.ENCODER.embed_dim))
    assert isinstance(result, EmbedResult)
    assert read == ["a dog"]
