"""Single tokens in fixed shapes against `CachedAttend`: ragged batches, slots used again, drafts, graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from localgpt.compute.graphs import Captured
from localgpt.engine import static_steps
from localgpt.engine.answers import AnswerStore
from localgpt.engine.engine import Engine
from localgpt.engine.prefixes import BLOCK_LEN, PrefixCache
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest, Output, Sequence
from localgpt.engine.static_steps import DRAFT_TOKENS, SlotWork, StaticSteps, static_logits
from localgpt.errors import ConfigError
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, IMAGE_ID, USER_ID
from localgpt.models.decoder import Decoder
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.launching import may_overlap, overlapping
from localgpt.nn.linear import quantize_
from localgpt.tasks.options import SamplingOptions
from tests import tiny

CONFIG = replace(tiny.DECODER, context_len=600)
GREEDY = SamplingOptions(temperature=0.0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device here")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return tiny.make_decoder(seed=4, config=CONFIG)


def new_cache(decoder: Decoder, num_slots: int, device: str = "cpu") -> KVCache:
    return decoder.new_cache(num_slots, num_spare=DRAFT_TOKENS, device=device)


def ids(seed: int, length: int) -> list[int]:
    return torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def ask(
    seed: int, length: int, *, max_tokens: int = 12, options: SamplingOptions = GREEDY
) -> GenerationRequest:
    token_ids = [BOS_ID, USER_ID, *ids(seed, length), END_ID, ASSISTANT_ID]
    banned = torch.zeros(CONFIG.vocab_size, dtype=torch.bool)
    banned[torch.tensor(ids(seed + 1, 200))] = True
    return GenerationRequest(token_ids=token_ids, options=options, max_tokens=max_tokens, banned=banned)


def run(engine: Engine, *requests: GenerationRequest) -> list[list[Output]]:
    sequences = [engine.submit(request) for request in requests]
    outputs: dict[Sequence, list[Output]] = {sequence: [] for sequence in sequences}
    while engine.has_work:
        for output in engine.step():
            assert output.error is None
            outputs.setdefault(output.sequence, []).append(output)
    return [outputs[sequence] for sequence in sequences]


def tokens(outputs: list[list[Output]]) -> list[list[int | None]]:
    return [[output.token_id for output in answer] for answer in outputs]


def told(outputs: list[Output]) -> list[tuple[object, ...]]:
    return [(output.token_id, output.text, output.likelihood, output.finish_reason) for output in outputs]


def make_engine(decoder: Decoder, *, is_static: bool, num_slots: int = 3, **options: object) -> Engine:
    answers = options.pop("answers", None)
    runner = ModelRunner(decoder, num_slots=num_slots, is_static=is_static, **options)  # type: ignore[arg-type]
    return Engine(runner, lambda: StreamDecoder(tiny.make_tokenizer()), answers=answers)  # type: ignore[arg-type]


# One step at a time


@torch.inference_mode()
def dynamic_logits(decoder: Decoder, cache: KVCache, work: SlotWork) -> Tensor:
    num = len(work.token_ids)
    positions = torch.arange(work.position, work.position + num)
    token_ids = torch.tensor(work.token_ids, device=decoder.device)
    return decoder.decode_step(token_ids, cache, torch.full((num,), work.slot), positions)


def check_steps(
    decoder: Decoder, steps: list[dict[int, int]], *, has_drafts: bool, tolerance: float = 1e-4
) -> int:
    """Steps of tokens by slot, 0 ends what a slot holds; returns the number of shapes."""
    device = str(decoder.device)
    static, plain = new_cache(decoder, 4, device), new_cache(decoder, 4, device)
    machine = StaticSteps(decoder, static, has_drafts=has_drafts)
    filled = [0] * 4
    for number, step in enumerate(steps):
        for slot in [slot for slot, num in step.items() if num == 0]:
            filled[slot] = 0
        works = [
            SlotWork(slot=slot, position=filled[slot], token_ids=ids(number * 4 + slot, num))
            for slot, num in step.items()
            if num and filled[slot] + num <= CONFIG.context_len
        ]
        if not works:
            continue
        for work, got in zip(works, machine.run(works, filled), strict=True):
            expected = dynamic_logits(decoder, plain, work)
            torch.testing.assert_close(got.logits, expected, rtol=tolerance, atol=tolerance)
            assert got.likeliest == got.logits.argmax(dim=-1).tolist() and all(got.is_sound)
            filled[work.slot] += len(work.token_ids)
    return machine.num_shapes


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.dictionaries(st.integers(0, 3), st.sampled_from([0, 1, 1, 1]), min_size=1), max_size=12)
)
def test_ragged_steps(decoder: Decoder, steps: list[dict[int, int]]) -> None:
    check_steps(decoder, steps, has_drafts=False)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(steps=st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 8), min_size=1), max_size=8))
def test_ragged_steps_with_drafts(decoder: Decoder, steps: list[dict[int, int]]) -> None:
    assert check_steps(decoder, steps, has_drafts=True) <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_the_context_grows_to_its_end(device: str) -> None:
    """Two slots over 256, 512 and all 600 positions; on a graphics card each shape is a graph."""
    made = tiny.make_decoder(seed=4, config=CONFIG).to(device)
    steps = [{0: 1}] * 3 + [{0: 1, 1: 1}] * 595
    assert check_steps(made, steps, has_drafts=False, tolerance=1e-3) == 4
    steps = [{0: 8}] * 10 + [{0: 8, 2: 5}] * 64
    assert check_steps(made, steps, has_drafts=True, tolerance=1e-3) == 1


# Through the engine


@pytest.mark.parametrize("num_slots", [1, 3])
def test_answers_are_those_of_the_dynamic_path(decoder: Decoder, num_slots: int) -> None:
    requests = [ask(seed, length) for seed, length in enumerate((3, 300, 17, 90, 5, 240))]
    requests.append(ask(9, 30, options=SamplingOptions(temperature=0.8, seed=3, repetition_penalty=1.2)))
    picture = torch.randn(6, CONFIG.n_embd, generator=torch.Generator().manual_seed(2))
    plain = requests[0]
    requests.append(
        replace(plain, token_ids=[BOS_ID, *[IMAGE_ID] * 6, *plain.token_ids], image_tokens=picture)
    )
    engines = [make_engine(decoder, is_static=is_static, num_slots=num_slots) for is_static in (True, False)]
    for _ in range(2):  # the second time over slots that hold others' leavings
        static, dynamic = (run(engine, *requests) for engine in engines)
        assert tokens(static) == tokens(dynamic)


def test_cancelled_slots_are_used_again(decoder: Decoder) -> None:
    engine = make_engine(decoder, is_static=True, num_slots=2)
    expected = tokens(run(make_engine(decoder, is_static=False), ask(7, 20)))
    for num_steps in (1, 2, 5, 9):
        given_up = [engine.submit(ask(seed, 280, max_tokens=50)) for seed in (1, 2)]
        for _ in range(num_steps):
            engine.step()
        engine.cancel(given_up[0])
        assert tokens(run(engine, ask(7, 20))) == expected
        engine.cancel(given_up[1])


def test_replays_and_kept_prompts_have_the_same_bits(decoder: Decoder) -> None:
    options = (GREEDY, SamplingOptions(temperature=1.0, seed=4))
    requests = [
        ask(seed, length, max_tokens=30, options=replace(options[seed % 2], top_logprobs=2))
        for seed, length in enumerate((5, 80, 200, 567))
    ]

    def engine(answers: AnswerStore | None, prefixes: PrefixCache | None) -> Engine:
        made = make_engine(
            decoder,
            is_static=True,
            num_slots=2,
            answers=answers,
            prefixes=prefixes,
            prefill_tokens=BLOCK_LEN,
            checks_drafts=True,
        )
        if made.runner.row_plan is None:
            pytest.skip(
                "this processor adds floating point rows in another order at another place of a batch"
            )
        return made

    fresh = [told(run(engine(None, None), request)[0]) for request in requests]
    kept = engine(AnswerStore(10**6, vocab_size=CONFIG.vocab_size), PrefixCache(10**8))
    assert [told(run(kept, request)[0]) for request in requests] == fresh
    assert [told(run(kept, request)[0]) for request in requests] == fresh
    assert [told(answer) for answer in run(kept, *requests)] == fresh


def test_numbers_that_are_not_sound_end_with_their_answer() -> None:
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    engine = make_engine(decoder, is_static=True, num_slots=1)
    expected = tokens(run(make_engine(decoder, is_static=False), ask(7, 20)))
    sequence = engine.submit(ask(1, 20))
    engine.step()
    weight = decoder.blocks[0].attn.c_attn.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
        outputs = engine.step()
        weight.copy_(kept)
    assert [output.error is not None for output in outputs if output.sequence is sequence] == [True]
    assert tokens(run(engine, ask(7, 20))) == expected


def test_a_cancelled_answer_leaves_no_unsound_numbers() -> None:
    """It is cancelled while its prompt is read, before anybody looks at a number of it."""
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    engine = make_engine(decoder, is_static=True, num_slots=1)
    expected = tokens(run(make_engine(decoder, is_static=False), ask(7, 20)))
    sequence = engine.submit(ask(1, 300))
    weight = decoder.blocks[0].attn.c_attn.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
        engine.step()
        weight.copy_(kept)
    assert sequence.finish_reason is None  # a piece of its prompt is left
    engine.cancel(sequence)
    assert tokens(run(engine, ask(7, 20))) == expected


@dataclass
class Graph:
    """Runs again what it captured, so many times; then it fails as one does that finds no memory."""

    run: Callable[[], Any]
    num_left: int

    def replay(self) -> None:
        if not self.num_left:
            raise RuntimeError("CUDA error: out of memory")
        self.num_left -= 1
        self.run()

    def pool(self) -> str:
        return "pool"


@pytest.mark.parametrize("num_left", [None, 0, 5], ids=["not captured", "first replay", "later replay"])
def test_no_answer_is_lost_with_its_graph(
    decoder: Decoder,
    num_left: int | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def capture(run: Callable[[], Any], device: torch.device, *, pool: Any) -> Captured:
        assert pool in (None, "pool")
        run()
        if num_left is None:
            raise RuntimeError("operation not permitted when stream is capturing")
        return Captured(graph=Graph(run, num_left), out=None, nbytes=0)  # type: ignore[arg-type]

    monkeypatch.setattr(static_steps, "capture_graph", capture)
    requests = [ask(7, 20), ask(3, 250)]
    expected = tokens(run(make_engine(decoder, is_static=False), *requests))
    engine = make_engine(decoder, is_static=True)
    engine.runner._steps = StaticSteps(decoder, engine.runner.cache, captures=True)  # type: ignore[arg-type]
    assert tokens(run(engine, *requests)) == expected
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "single tokens are computed without a graph, and slower"
    ]


def with_graphs(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, num_slots: int
) -> tuple[Engine, list[Graph]]:
    """An engine whose graphs run what they captured, and those graphs."""
    graphs: list[Graph] = []

    def capture(run: Callable[[], Any], device: torch.device, *, pool: Any) -> Captured:
        run()
        graphs.append(Graph(run, 10_000))
        return Captured(graph=graphs[-1], out=None, nbytes=0)  # type: ignore[arg-type]

    monkeypatch.setattr(static_steps, "capture_graph", capture)
    engine = make_engine(decoder, is_static=True, num_slots=num_slots)
    engine.runner._steps = StaticSteps(decoder, engine.runner.cache, captures=True)  # type: ignore[arg-type]
    return engine, graphs


def num_replays(graphs: list[Graph]) -> int:
    return sum(10_000 - graph.num_left for graph in graphs)


def test_the_next_step_is_begun_before_it_is_asked_for(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, graphs = with_graphs(decoder, monkeypatch, num_slots=1)
    sequence = engine.submit(ask(7, 20, max_tokens=9))
    begun = []
    while sequence.finish_reason is None:
        engine.step()
        begun.append(num_replays(graphs))
    # The prompt gives the first token; then each step finds its own done, and begins another, but the last.
    assert begun == [0, 2, 3, 4, 5, 6, 7, 8, 8]
    assert [sequence.answer_ids] == tokens(
        run(make_engine(decoder, is_static=False), ask(7, 20, max_tokens=9))
    )


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(temperature=0.9, seed=1),
        SamplingOptions(temperature=0.0, repetition_penalty=1.3),
        SamplingOptions(temperature=0.0, top_logprobs=2),
    ],
    ids=["drawn", "penalised", "told how likely"],
)
def test_nothing_is_begun_where_logits_are_looked_at(
    decoder: Decoder, options: SamplingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, graphs = with_graphs(decoder, monkeypatch, num_slots=2)
    requests = [ask(3, 20, options=options), ask(4, 30, max_tokens=6)]
    expected = [told(answer) for answer in run(make_engine(decoder, is_static=False), *requests)]
    for got, wanted in zip(run(engine, *requests), expected, strict=True):
        assert [row[0] for row in told(got)] == [row[0] for row in wanted]
        assert [row[1] for row in told(got)] == [row[1] for row in wanted]
    assert num_replays(graphs) <= 12  # the longer answer's steps, none in vain


def test_steps_begun_in_vain_change_no_answer(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, graphs = with_graphs(decoder, monkeypatch, num_slots=2)
    plain = make_engine(decoder, is_static=False)
    requests = [ask(seed, length, max_tokens=5 + seed) for seed, length in enumerate((3, 300, 17, 250, 90))]
    requests.append(ask(9, 30, options=SamplingOptions(temperature=0.8, seed=3)))
    for num_steps in (1, 2, 3, 5):
        given_up = engine.submit(ask(11, 40, max_tokens=50))
        for _ in range(num_steps):
            engine.step()
        engine.cancel(given_up)
        assert tokens(run(engine, *requests)) == tokens(run(plain, *requests))
    assert num_replays(graphs) > 0


def test_a_step_begun_over_another_prompt_is_not_taken(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = with_graphs(decoder, monkeypatch, num_slots=1)
    first = ask(1, 20, max_tokens=4)
    [[*_, last]] = tokens(run(engine, first))
    # What is asked for next is the very token, and the position, of the step begun in vain.
    but_last = torch.ones(CONFIG.vocab_size, dtype=torch.bool)
    but_last[last] = False
    token_ids = [BOS_ID, USER_ID, *ids(51, len(first.token_ids) - 1), END_ID, ASSISTANT_ID]
    then = replace(first, token_ids=token_ids, max_tokens=6, banned_first=but_last)
    assert len(token_ids) == len(first.token_ids) + 3
    assert tokens(run(engine, then)) == tokens(run(make_engine(decoder, is_static=False), then))


def test_no_step_is_begun_that_writes_behind_the_cache(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, graphs = with_graphs(decoder, monkeypatch, num_slots=1)
    cache = engine.runner.cache
    assert isinstance(cache, KVCache)
    steps = StaticSteps(decoder, cache, has_drafts=True, captures=True)
    last = cache.num_positions - DRAFT_TOKENS
    for position in (last - 1, last):
        steps.run([SlotWork(slot=0, position=position, token_ids=[7], is_chain=True)], [position])
    assert num_replays(graphs) == 3  # the second was begun by the first


def test_kernels_that_fail_where_they_overlap_are_launched_in_turn(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Fused:
        def logits(self, *arguments: Any) -> Tensor:
            if may_overlap():
                raise ValueError("operation not supported")
            return static_logits(*arguments)

        def told(self, logits: Tensor, banned: Tensor, out: Tensor) -> None:
            out.copy_(static_steps._told(logits, banned))

    engine, graphs = with_graphs(decoder, monkeypatch, num_slots=1)
    capture = static_steps.capture_graph

    def capture_twice(run: Callable[[], Any], device: torch.device, *, pool: Any) -> Captured:
        with overlapping(), pytest.raises(ValueError, match="not supported"):
            run()
        return capture(run, device, pool=pool)

    monkeypatch.setattr(static_steps, "capture_graph", capture_twice)
    steps = engine.runner._steps
    assert steps is not None
    steps._fused = Fused()  # type: ignore[assignment]
    assert tokens(run(engine, ask(7, 20))) == tokens(run(make_engine(decoder, is_static=False), ask(7, 20)))
    assert steps.is_fused and num_replays(graphs) > 0 and not caplog.records


def test_a_decoder_without_fixed_shapes_is_refused() -> None:
    decoder = tiny.make_decoder(config=CONFIG)
    quantize_(decoder, kernel="plain")
    assert (
        ModelRunner(decoder, num_slots=1).cache.nbytes
        < ModelRunner(decoder, num_slots=1, is_static=True).cache.nbytes
    )

    class Other:
        config, device, embed, new_cache = decoder.config, decoder.device, decoder.embed, decoder.new_cache

    with pytest.raises(ConfigError, match="a Other has no fixed shapes"):
        ModelRunner(Other(), num_slots=1, is_static=True)  # type: ignore[arg-type]


@needs_cuda
def test_graphs_are_replayed_in_half_precision() -> None:
    decoder = tiny.make_decoder(seed=4, config=CONFIG).to("cuda", torch.bfloat16)
    cache = decoder.new_cache(2, dtype=torch.bfloat16, device="cuda", num_spare=DRAFT_TOKENS)
    machine = StaticSteps(decoder, cache)
    eager = StaticSteps(
        decoder,
        decoder.new_cache(2, dtype=torch.bfloat16, device="cuda", num_spare=DRAFT_TOKENS),
        captures=False,
    )
    for position, token_id in enumerate(ids(1, 40)):
        work = SlotWork(slot=0, position=position, token_ids=[token_id])
        one, other = (steps.run([work], [position, 0])[0] for steps in (machine, eager))
        assert torch.equal(one.logits, other.logits) and one.likeliest == other.likeliest
