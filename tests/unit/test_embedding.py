"""Embedding: what is refused is refused before any work, and long work ends when its caller gives up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import torch

from localgpt.errors import DeadlineError, InputError, PromptTooLongError
from localgpt.runtime.local import LocalService
from localgpt.runtime.pictures import PictureReader
from localgpt.tasks import EmbedRequest, EmbedResult, TextPart
from tests import tiny

LONG = "a dog runs on the green grass, two red apples, 12 + 34 = 46 " * 40


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    local = LocalService(tiny.make_family(), max_batch_size=2)
    yield local
    await local.close()


def embed(*texts: str, dimensions: int | None = None, deadline_s: float | None = None) -> EmbedRequest:
    inputs = tuple(TextPart(text=text) for text in texts)
    return EmbedRequest(id="1", inputs=inputs, dimensions=dimensions, deadline_s=deadline_s)


class Chunks:
    """Watches what the encoder reads: `on_read` is called in the engine's thread before each chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.on_read: Callable[[], object] = lambda: None
        read = PictureReader.read_chunk

        def watched(reader: PictureReader, pieces: list[list[int]]) -> torch.Tensor:
            self.sizes.append(len(pieces))
            self.on_read()
            return read(reader, pieces)

        monkeypatch.setattr(PictureReader, "read_chunk", watched)


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> Chunks:
    return Chunks(monkeypatch)


async def test_another_size_is_refused_before_anything_is_read(
    local: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    encode = tiny.make_tokenizer().encode

    def watched(text: str) -> list[int]:
        read.append(text)
        return encode(text)

    monkeypatch.setattr(tiny.make_tokenizer(), "encode", watched)
    with pytest.raises(InputError, match="have 16 and cannot be shortened") as caught:
        await local.run(embed("a dog", dimensions=8))
    assert caught.value.param == "dimensions"
    assert read == []
    result = await local.run(embed("a dog", dimensions=tiny.ENCODER.embed_dim))
    assert isinstance(result, EmbedResult)
    assert read == ["a dog"]


async def test_a_long_text_is_read_in_chunks_to_the_same_vector(local: LocalService, chunks: Chunks) -> None:
    token_ids = tiny.make_tokenizer().encode(LONG)
    window = tiny.ENCODER.text_context_len
    assert len(token_ids) > 40 * window
    result = await local.run(embed(LONG))
    assert isinstance(result, EmbedResult)
    assert max(chunks.sizes) == 16
    assert sum(chunks.sizes) == -(-len(token_ids) // window)

    encoder = tiny.make_encoder()
    total = torch.zeros(tiny.ENCODER.embed_dim)
    for at in range(0, len(token_ids), window):  # the plain way: each window by itself
        piece = torch.tensor([token_ids[at : at + window]])
        lengths = torch.tensor([piece.shape[1]])
        with torch.inference_mode():
            total += encoder.encode_text(piece, lengths)[0] * lengths
    expected = torch.nn.functional.normalize(total, dim=0)
    assert torch.allclose(torch.tensor(result.embeddings[0]), expected, atol=1e-5)
    assert result.usage.prompt_tokens == len(token_ids)


@pytest.mark.parametrize("texts", [(LONG,), ("a dog",) * 20], ids=["one long text", "many texts"])
async def test_a_caller_who_gives_up_stops_the_work(
    local: LocalService, chunks: Chunks, texts: tuple[str, ...]
) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(local.run(embed(*texts)))
    cancelled = threading.Event()

    def cancel() -> None:
        task.cancel()
        cancelled.set()

    def on_read() -> None:
        loop.call_soon_threadsafe(cancel)
        cancelled.wait()

    chunks.on_read = on_read
    with pytest.raises(asyncio.CancelledError):
        await task
    await local.run(embed("the engine has gone on"))
    assert len(chunks.sizes) == 2


async def test_a_deadline_ends_a_long_text(local: LocalService, chunks: Chunks) -> None:
    passed = threading.Event()
    chunks.on_read = passed.wait
    with pytest.raises(DeadlineError):
        await local.run(embed(LONG, deadline_s=0.01))
    passed.set()
    await local.run(embed("the engine has gone on"))
    assert len(chunks.sizes) <= 2


async def test_other_work_comes_between_the_chunks(local: LocalService, chunks: Chunks) -> None:
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[asyncio.Task[object]] = loop.create_future()

    def on_read() -> None:
        if len(chunks.sizes) == 1:
            started = asyncio.run_coroutine_threadsafe(begin(), loop)
            started.result()

    async def begin() -> None:
        begun.set_result(asyncio.create_task(local.run(embed("short"))))
        while local._engine._commands.empty():
            await asyncio.sleep(0)

    chunks.on_read = on_read
    await local.run(embed(LONG))
    assert begun.result().done()
    assert chunks.sizes[:3] == [16, 1, 16]


@pytest.mark.parametrize(
    ("text", "limit", "message"),
    [
        ("a" * 262_145, None, "262,145 characters to embed, expected at most 262,144; embed its parts"),
        ("one two three", 4, "tokens to embed, expected at most 4; embed its parts"),
    ],
)
async def test_a_text_that_is_too_long_is_refused(
    local: LocalService,
    chunks: Chunks,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    limit: int | None,
    message: str,
) -> None:
    if limit is not None:
        monkeypatch.setattr("localgpt.runtime.texts._MAX_TOKENS", limit)
    for texts, param in (((text,), "input"), (("dog", text), "input[1]")):
        with pytest.raises(PromptTooLongError, match=message) as caught:
            await local.run(embed(*texts))
        assert caught.value.param == param
    assert chunks.sizes == [1]  # of "dog"
