"""A prompt whose beginning is known gives the same answers and numbers, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from localgpt.engine.engine import Engine
from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.runner import ModelRunner, piece_tokens
from localgpt.engine.sequence import GenerationRequest, Sequence
from localgpt.errors import ConfigError
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import IMAGE_END_ID, IMAGE_ID
from localgpt.nn.linear import quantize_
from localgpt.tasks.options import SamplingOptions
from tests import tiny
from tests.native_decoders import native_decoder

CONFIG = replace(tiny.DECODER, context_len=512)
KINDS = ("float", "plain", "fbgemm", "native")
NUM_IMAGE_TOKENS = 20
PER_POSITION = 2 * CONFIG.n_layer * CONFIG.n_embd * 4  # bytes


@pytest.fixture(scope="module", params=KINDS)
def decoder(request: pytest.FixtureRequest) -> Any:
    if request.param == "fbgemm" and "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no fbgemm")
    made = tiny.make_decoder(seed=4, config=CONFIG)
    if request.param == "native":
        return native_decoder(made)
    if request.param != "float":
        quantize_(made, kernel=request.param)
    return made


def ids(seed: int, length: int) -> list[int]:
    return torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def picture(seed: int) -> torch.Tensor:
    return torch.randn(NUM_IMAGE_TOKENS, CONFIG.n_embd, generator=torch.Generator().manual_seed(seed))


def ask(*parts: list[int] | torch.Tensor, owner: str = "a", max_tokens: int = 3) -> GenerationRequest:
    """A request whose prompt is made of texts and pictures."""
    token_ids: list[int] = []
    for part in parts:
        is_text = isinstance(part, list)
        token_ids += part if is_text else [*[IMAGE_ID] * NUM_IMAGE_TOKENS, IMAGE_END_ID]
    pictures = [part for part in parts if isinstance(part, torch.Tensor)]
    return GenerationRequest(
        token_ids=token_ids,
        options=SamplingOptions(temperature=0.0, top_logprobs=2),
        max_tokens=max_tokens,
        owner=owner,
        image_tokens=torch.cat(pictures) if pictures else None,
    )


def make_engine(decoder: Any, prefixes: PrefixCache | None, num_slots: int = 3) -> Engine:
    runner = ModelRunner(
        decoder,
        num_slots=num_slots,
        prefill_tokens=piece_tokens(decoder, keeps_prompts=True),
        prefixes=prefixes,
    )
    return Engine(runner, lambda: StreamDecoder(tiny.make_tokenizer()))


def answers(engine: Engine, *requests: GenerationRequest) -> list[tuple[object, ...]]:
    """Tokens and numbers of each answer; all run beside each other."""
    sequences = [engine.submit(request) for request in requests]
    said: dict[Sequence, list[object]] = {sequence: [] for sequence in sequences}
    while engine.has_work:
        for output in engine.step():
            assert output.error is None
            said[output.sequence].append((output.token_id, output.likelihood))
    answered = [tuple(said[sequence]) for sequence in sequences]
    if len(requests) > 1 and not engine.runner.decoder.has_exact_rows:
        return [answer[:1] for answer in answered]  # later ones depend on who else ran, as ever
    return answered


def one_by_one(decoder: Any, *requests: GenerationRequest) -> list[tuple[object, ...]]:
    """The answers without anything kept, each alone."""
    return [answers(make_engine(decoder, None), request)[0] for request in requests]


def reused(engine: Engine, request: GenerationRequest) -> int:
    sequence = engine.submit(request)
    while engine.has_work:
        engine.step()
    return sequence.num_reused


def test_known_beginnings_change_nothing(decoder: Any) -> None:
    system, photo = ids(1, 100), picture(7)
    requests = [
        ask(system, ids(2, 200)),
        ask(system, ids(3, 90)),
        ask(system, photo, ids(4, 150)),
        ask(system, photo, ids(4, 150), ids(5, 77)),
        ask(system, ids(2, 200), ids(6, 3)),
    ]
    engine = make_engine(decoder, PrefixCache(10**8))
    expected = one_by_one(decoder, *requests)
    assert [answers(engine, request)[0] for request in requests] == expected
    for answer, alone in zip(answers(engine, *requests), expected, strict=True):
        assert answer == alone[: len(answer)] and answer
    for request in requests:
        assert reused(engine, request) == len(request.token_ids)
    assert reused(engine, ask(system, photo, ids(4, 150), ids(8, 9))) == 256


@pytest.mark.parametrize("num_slots", [1, 3])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_order_of_prompts_evictions_and_cancels(
    decoder: Any, num_slots: int, data: st.DataObject
) -> None:
    parts = [ids(1, 64), ids(2, 70), ids(3, 130), picture(1), picture(2), ids(4, 5)]
    prompts = st.lists(st.sampled_from(range(len(parts))), min_size=1, max_size=4)
    requests = [
        ask(*[parts[number] for number in numbers], owner=owner)
        for numbers, owner in data.draw(
            st.lists(st.tuples(prompts, st.sampled_from("ab")), min_size=2, max_size=5)
        )
    ]
    blocks = data.draw(st.integers(0, 9))
    prefixes = PrefixCache(blocks * BLOCK_LEN * PER_POSITION)
    engine = make_engine(decoder, prefixes, num_slots)
    for request in requests:
        if data.draw(st.booleans()):  # given up after some steps
            sequence = engine.submit(request)
            for _ in range(data.draw(st.integers(0, 5))):
                engine.step()
            engine.cancel(sequence)
        assert answers(engine, request) == one_by_one(decoder, request)
        held = prefixes.num_blocks * BLOCK_LEN * PER_POSITION
        assert held <= prefixes.nbytes <= blocks * BLOCK_LEN * PER_POSITION
    for answer, alone in zip(answers(engine, *requests), one_by_one(decoder, *requests), strict=True):
        assert answer == alone[: len(answer)] and answer


@pytest.mark.parametrize("cuts", [(64, 128, 192, 256, 320, 384, 448), (128, 384), (448,), (192, 448)])
def test_where_pieces_end_changes_no_bit(cuts: tuple[int, ...]) -> None:
    """With heads as wide as the served decoder's; narrower ones come out alike also without runs."""
    decoder = tiny.make_decoder(config=replace(CONFIG, n_embd=256))
    quantize_(decoder)
    cache = decoder.new_cache(2)
    embeddings = decoder.embed(torch.tensor(ids(1, 500)))
    numbers = []
    with torch.inference_mode():
        for slot, ends in enumerate(((256, 500), (*cuts, 500))):
            for start, end in pairwise((0, *ends)):
                logits = decoder.prefill(embeddings[start:end], None, cache, slot=slot, start=start)
            numbers.append((logits, cache.k[:, slot, :, :500], cache.v[:, slot, :, :500]))
    assert all(torch.equal(one, other) for one, other in zip(*numbers, strict=True))


def test_pieces_that_would_change_numbers_are_refused() -> None:
    decoder = tiny.make_decoder(config=CONFIG)
    with pytest.raises(ConfigError, match=r"prefill_tokens is 256, expected 64,"):
        ModelRunner(decoder, num_slots=1, prefixes=PrefixCache(1))
    quantize_(decoder, kernel="plain")
    with pytest.raises(ConfigError, match=r"prefill_tokens is 100, expected 64 or a multiple"):
        ModelRunner(decoder, num_slots=1, prefill_tokens=100, prefixes=PrefixCache(1))


def test_int8_rows_add_up_the_same_beside_any_others() -> None:
    """Also where sums are too large for float32 to hold exactly: 4,096 products of 127 * 127."""
    from localgpt.nn.linear import Int8Linear

    layer = Int8Linear(torch.full((5, 4096), 127, dtype=torch.int8), torch.ones(5), kernel="plain")
    rows = torch.randn(9, 4096, generator=torch.Generator().manual_seed(0)).abs() + 3
    together = layer(rows)
    assert torch.equal(together, torch.cat([layer(row[None]) for row in rows]))
    assert torch.equal(together[2:], layer(rows[2:]))
