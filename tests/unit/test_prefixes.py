"""What is kept of prompts: whose it is, when it is kept, what is forgotten, and the ledger's say."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from localgpt.engine.async_engine import AsyncEngine
from localgpt.engine.engine import Engine
from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.runtime.local import LocalService
from localgpt.runtime.remembering import PROMPTS, CacheOptions
from localgpt.tasks import ChatRequest, ChatResult, ImagePart, Message, SamplingOptions, TextPart
from tests import tiny

CONFIG = replace(tiny.DECODER, context_len=640)
BLOCK_BYTES = BLOCK_LEN * 2 * CONFIG.n_layer * CONFIG.n_embd * 4
GREEDY = SamplingOptions(temperature=0.0, max_tokens=2)


def make_engine(prefixes: PrefixCache, *, num_slots: int = 2) -> Engine:
    decoder = tiny.make_decoder(config=CONFIG)
    runner = ModelRunner(decoder, num_slots=num_slots, prefill_tokens=BLOCK_LEN, prefixes=prefixes)
    return Engine(runner, lambda: StreamDecoder(tiny.make_tokenizer()))


def ask(
    length: int, *, first: int = 0, owner: str = "a", images: torch.Tensor | None = None
) -> GenerationRequest:
    token_ids = [first, *[number % 250 for number in range(length - 1)]]
    if images is not None:
        token_ids[5 : 5 + len(images)] = [IMAGE_ID] * len(images)
    return GenerationRequest(
        token_ids=token_ids, options=GREEDY, max_tokens=1, owner=owner, image_tokens=images
    )


def reused(engine: Engine, request: GenerationRequest) -> int:
    sequence = engine.submit(request)
    while engine.has_work:
        engine.step()
    engine.keep_prompts()
    return sequence.num_reused


def test_the_last_token_is_read_unless_its_logits_are_known() -> None:
    engine = make_engine(PrefixCache(10**8))
    lengths = (128, 128, 129, 63, 64, 65, 129, 63)
    assert [reused(engine, ask(length)) for length in lengths] == [0, 128, 128, 0, 0, 64, 129, 0]


def test_the_latest_ends_are_kept() -> None:
    prefixes = PrefixCache(10**8)
    engine = make_engine(prefixes)
    assert [reused(engine, ask(70, first=first)) for first in range(9)] == [0] * 9
    assert [reused(engine, ask(70, first=first)) for first in (8, 1, 0)] == [70, 70, 64]
    assert prefixes.num_blocks == 9
    per_position, logits = BLOCK_BYTES // BLOCK_LEN, CONFIG.vocab_size * 4
    assert prefixes.nbytes == 9 * BLOCK_BYTES + 8 * (6 * per_position + logits)
    prefixes.clear()
    assert prefixes.nbytes == 0 and reused(engine, ask(70, first=8)) == 0


def test_what_one_owner_asked_is_not_found_by_another() -> None:
    engine = make_engine(PrefixCache(10**8))
    assert [reused(engine, ask(200, owner=owner)) for owner in "abab"] == [0, 0, 200, 200]


def test_another_picture_under_the_same_tokens_is_not_found() -> None:
    one = torch.randn(10, CONFIG.n_embd, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[9, 3] += 1e-3
    engine = make_engine(PrefixCache(10**8))
    assert [reused(engine, ask(100, images=images)) for images in (one, other, one, None)] == [0, 0, 100, 0]


def test_the_first_token_is_out_before_a_prompt_is_kept() -> None:
    prefixes = PrefixCache(10**8)
    engine = make_engine(prefixes)
    engine.submit(ask(65))
    outputs = [output for _ in range(2) for output in engine.step()]
    assert [output.finish_reason for output in outputs] == ["length"] and prefixes.num_blocks == 0
    engine.keep_prompts()
    assert prefixes.num_blocks == 1
    other = [
        engine.submit(ask(129, first=first)) for first in (1, 2, 3)
    ]  # each in the slot of the one before
    while engine.has_work:
        engine.step()
    engine.keep_prompts()
    assert prefixes.num_blocks == 7 and [one.num_reused for one in other] == [0, 0, 0]
    assert [reused(engine, ask(129, first=first)) for first in (1, 2, 3)] == [129, 129, 129]


async def test_callers_get_the_first_token_before_a_prompt_is_kept() -> None:
    inner = make_engine(PrefixCache(10**8))
    has_token, keep = threading.Event(), inner.keep_prompts
    waited: list[bool] = []

    def keep_late() -> None:
        if inner._unkept:
            waited.append(has_token.wait(60))
        keep()

    inner.keep_prompts = keep_late  # type: ignore[method-assign]
    engine = AsyncEngine(inner)
    async for _ in engine.generate(ask(65)):
        has_token.set()
    engine.close()
    assert waited == [True]


def test_what_a_cancelled_answer_read_is_kept() -> None:
    prefixes = PrefixCache(10**8)
    engine = make_engine(prefixes)
    sequence = engine.submit(replace(ask(65), max_tokens=9))
    engine.step()
    engine.step()
    engine.cancel(sequence)
    assert prefixes.num_blocks == 1


def test_a_prompt_given_up_leaves_nothing() -> None:
    prefixes = PrefixCache(10**8)
    engine = make_engine(prefixes)
    sequence = engine.submit(ask(300))
    for _ in range(4):
        engine.step()
    assert sequence.num_cached == 256
    engine.cancel(sequence)
    assert prefixes.num_blocks == 0 and reused(engine, ask(300)) == 0
    assert prefixes.num_blocks == 4


def test_a_prompt_that_gave_no_numbers_leaves_nothing() -> None:
    prefixes = PrefixCache(10**8)
    engine = make_engine(prefixes)
    engine.runner.decoder.wte.weight.data[0] = float("nan")  # type: ignore[attr-defined]
    reused(engine, ask(100))
    assert prefixes.num_blocks == 0


def test_ends_are_forgotten_before_beginnings_and_the_oldest_first() -> None:
    prefixes = PrefixCache(4 * BLOCK_BYTES)
    engine = make_engine(prefixes)
    assert reused(engine, ask(193, first=1)) == 0
    assert reused(engine, ask(65, first=2)) == 0
    assert prefixes.nbytes == 4 * BLOCK_BYTES
    assert reused(engine, ask(65, first=3)) == 0  # takes the end of the first
    assert [reused(engine, ask(193, first=1)), reused(engine, ask(65, first=3))] == [128, 64]
    assert reused(engine, ask(65, first=2)) == 0  # its only block went when the end came back
    assert prefixes.num_blocks == 4


def test_a_prompt_larger_than_the_limit_keeps_its_beginning() -> None:
    prefixes = PrefixCache(2 * BLOCK_BYTES)
    engine = make_engine(prefixes)
    assert [reused(engine, ask(600)) for _ in range(2)] == [0, 128]


class Account:
    """Allows so much, and hears what is held."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.heard: list[int] = []

    def allowed_bytes(self, held_bytes: int) -> int:
        return self.allowed

    def settle(self, held_bytes: int, remake_s: float) -> None:
        assert remake_s >= 0
        self.heard.append(held_bytes)


def test_what_is_not_allowed_is_not_kept() -> None:
    account = Account(BLOCK_BYTES * 3 // 2)
    prefixes = PrefixCache(10**8, account=account)
    engine = make_engine(prefixes)
    reused(engine, ask(300))
    account.allowed = -5
    reused(engine, ask(300, first=1))
    assert account.heard == [BLOCK_BYTES, BLOCK_BYTES]


def service_of(options: CacheOptions) -> LocalService:
    family = tiny.make_family()
    family.decoder = tiny.make_decoder(config=CONFIG)
    return LocalService(family, cache=options)


def chat(*texts: str, owner: str = "local", image: bytes | None = None) -> ChatRequest:
    first = (ImagePart(data=image),) if image is not None else ()
    roles = ("user", "assistant")
    messages = tuple(
        Message(role=roles[number % 2], content=(*(() if number else first), TextPart(text=text)))  # type: ignore[arg-type]
        for number, text in enumerate(texts)
    )
    return ChatRequest(id="1", messages=messages, options=GREEDY, owner=owner)


async def cached(service: LocalService, request: ChatRequest) -> int:
    result = await service.run(request)
    assert isinstance(result, ChatResult)
    return result.usage.cached_tokens


async def test_the_next_turn_reads_what_is_new() -> None:
    service = service_of(CacheOptions())
    question, photo = "What is this? " * 16, tiny.make_photo()
    assert await cached(service, chat(question, image=photo)) == 0
    again = await cached(service, chat(question, "A dog.", "Why?", image=photo))
    assert again >= BLOCK_LEN and again % BLOCK_LEN == 0
    assert await cached(service, chat(question, image=tiny.make_photo((1, 2, 3)))) == 0
    assert await cached(service, chat(question, image=photo, owner="other")) == 0
    await service.close()


async def test_the_ledger_knows_and_drops_it() -> None:
    service = service_of(CacheOptions())
    await cached(service, chat("word " * 60))
    memory = (await service.status()).memory
    assert memory is not None
    (held,) = [resident for resident in memory.residents if resident.name == PROMPTS]
    assert (held.kind, held.pinned) == ("cache", False)
    assert held.nbytes > BLOCK_BYTES
    ledger = service._holdings.ledger
    ledger._holders[PROMPTS].drop("keys and values")  # type: ignore[union-attr]
    assert await cached(service, chat("word " * 60)) == 0
    await service.close()


@pytest.mark.parametrize("mib", [0, 1])
async def test_nothing_is_kept_where_nothing_may_be(mib: int) -> None:
    service = service_of(CacheOptions(prompt_mib=mib))
    assert [await cached(service, chat("word " * 60)) > 0 for _ in range(2)] == [False, bool(mib)]
    await service.run(chat("What is this?", image=tiny.make_photo()))
    assert service._pictures is not None and service._pictures.cache.num_pictures == mib
    await service.close()
