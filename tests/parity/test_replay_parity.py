"""An answer with a draft is the answer without one, to the last bit, whatever the draft says."""

from __future__ import annotations

import random
from collections.abc import Sequence as Ids
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from localgpt.compute.native.check import int8_tensors
from localgpt.compute.opencl.decoder import OpenCLDecoder
from localgpt.engine.answers import AnswerStore
from localgpt.engine.engine import Engine
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest, Output, Sequence
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, IMAGE_END_ID, IMAGE_ID, USER_ID
from localgpt.nn.linear import quantize_
from localgpt.sampling.grammar import GrammarCompiler
from localgpt.tasks.options import SamplingOptions, TokenBias
from tests import opencl_devices, tiny
from tests.native_decoders import native_decoder

CONFIG = replace(tiny.DECODER, context_len=256)
SCHEMA = (
    '{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}'
)
OPTIONS = (
    SamplingOptions(temperature=0.0),
    SamplingOptions(temperature=0.0, repetition_penalty=1.3, frequency_penalty=0.4),
    SamplingOptions(temperature=0.9, seed=5, presence_penalty=0.2),
    SamplingOptions(
        temperature=1.5, top_p=1.0, top_k=0, seed=11, logit_bias=(TokenBias(token_id=7, bias=4.0),)
    ),
)


@pytest.fixture(scope="module", params=["float", "plain", "fbgemm", "native", "opencl"])
def decoder(request: pytest.FixtureRequest) -> Any:
    if request.param == "fbgemm" and "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no fbgemm")
    made = tiny.make_decoder(seed=4, config=CONFIG)
    if request.param == "native":
        return native_decoder(made)
    if request.param == "opencl":
        return OpenCLDecoder(CONFIG, int8_tensors(made), opencl_devices.open_device())
    if request.param != "float":
        quantize_(made, kernel=request.param)
    return made


def new_store() -> AnswerStore:
    return AnswerStore(10**6, vocab_size=CONFIG.vocab_size)


class Given(AnswerStore):
    """Gives one draft for every question."""

    def __init__(self, draft: Ids[int]) -> None:
        super().__init__(10**6, vocab_size=CONFIG.vocab_size)
        self.draft = draft

    def find(self, request: GenerationRequest) -> list[int]:
        return list(self.draft)


def make_engine(decoder: Any, answers: AnswerStore | None, *, num_slots: int = 3) -> Engine:
    """Without answers it has the same batches as with them, and no draft."""
    runner = ModelRunner(decoder, num_slots=num_slots, checks_drafts=True)
    if runner.row_plan is None:
        pytest.skip("this processor adds floating point rows in another order at another place of a batch")
    return Engine(runner, lambda: StreamDecoder(tiny.make_tokenizer()), answers=answers)


def ask(seed: int, options: SamplingOptions, *, length: int = 20, **others: object) -> GenerationRequest:
    words = torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    token_ids = [BOS_ID, USER_ID, *words, END_ID, ASSISTANT_ID]
    options = replace(options, top_logprobs=2)
    return GenerationRequest(token_ids=token_ids, options=options, max_tokens=24, **others)  # type: ignore[arg-type]


def with_picture(request: GenerationRequest) -> GenerationRequest:
    tokens = torch.randn(6, CONFIG.n_embd, generator=torch.Generator().manual_seed(2))
    ids = [*request.token_ids[:2], *[IMAGE_ID] * 6, IMAGE_END_ID, *request.token_ids[2:]]
    return replace(request, token_ids=ids, image_tokens=tokens)


def run(engine: Engine, *requests: GenerationRequest) -> tuple[list[list[Output]], list[Sequence], int]:
    """What each gave, and the number of steps."""
    sequences = [engine.submit(request) for request in requests]
    outputs: dict[Sequence, list[Output]] = {sequence: [] for sequence in sequences}
    num_steps = 0
    while engine.has_work:
        num_steps += 1
        for output in engine.step():
            assert output.error is None
            outputs[output.sequence].append(output)
    return [outputs[sequence] for sequence in sequences], sequences, num_steps


def told(outputs: list[Output]) -> list[tuple[object, ...]]:
    """All of an answer: tokens, texts, numbers, why it ended."""
    return [(o.token_id, o.text, o.likelihood, o.finish_reason, o.is_loop, o.is_forced) for o in outputs]


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_the_same_question_again(decoder: Any, options: SamplingOptions) -> None:
    compiler = GrammarCompiler(tiny.make_tokenizer())
    requests = [
        ask(0, options),
        with_picture(ask(7, options)),
        ask(8, replace(options, stop=("a", "e")), ends_loops=True),
        ask(10, options, grammar=compiler.json(SCHEMA)),
    ]
    plain = [told(run(make_engine(decoder, None), request)[0][0]) for request in requests]
    engine = make_engine(decoder, new_store())
    for request, expected in zip(requests, plain, strict=True):
        (first,), _, steps_first = run(engine, request)
        (again,), (sequence,), steps_again = run(engine, request)
        assert told(first) == expected
        assert told(again) == expected
        assert sequence.draft.num_followed == len(sequence.answer_ids)
        assert steps_again < max(3, steps_first / 2)
    answers, _, _ = run(engine, *requests)  # all beside each other
    assert [told(outputs) for outputs in answers] == plain


@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_draft(decoder: Any, data: st.DataObject) -> None:
    """Right up to some place, too short, too long, or of no relation to the answer."""
    options = data.draw(st.sampled_from(OPTIONS))
    request = ask(data.draw(st.integers(0, 9)), options)
    if data.draw(st.booleans()):
        request = replace(request, token_ids=[*request.token_ids] * 9)  # near the context's end
    ((expected,), (sequence,), _) = run(make_engine(decoder, None), request)
    draft = list(sequence.answer_ids)
    place = data.draw(st.integers(0, len(draft)))
    draft[place:] = data.draw(
        st.sampled_from([draft[place + 1 :], draft[place:] * 2, [3] * 70, [END_ID], []])
    )
    (got,), _, _ = run(make_engine(decoder, Given(draft)), request)
    assert told(got) == told(expected)


def test_a_draft_takes_no_draw() -> None:
    """The same seeds draw the same answers, as likely or unlikely as they are, with a draft and without."""
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    quantize_(decoder, kernel="plain")
    request = replace(ask(1, SamplingOptions(temperature=0.5, top_k=3)), max_tokens=2)
    _, (likely,), _ = run(make_engine(decoder, None), replace(request, options=OPTIONS[0]))
    drawn = [
        [
            tuple(run(engine, replace(request, options=replace(request.options, seed=seed)))[1][0].answer_ids)
            for seed in range(40)
        ]
        for engine in (make_engine(decoder, Given(likely.answer_ids)), make_engine(decoder, None))
    ]
    assert drawn[0] == drawn[1]
    assert 2 < drawn[0].count(tuple(likely.answer_ids)) < 38


def test_a_cancelled_replay_frees_its_slot_and_the_next_is_whole(decoder: Any) -> None:
    engine = make_engine(decoder, new_store(), num_slots=1)
    request = ask(3, OPTIONS[0])
    expected = told(run(engine, request)[0][0])
    sequence = engine.submit(request)
    engine.step()
    engine.cancel(sequence)
    other = ask(4, OPTIONS[0])
    assert told(run(engine, other)[0][0]) == told(run(make_engine(decoder, None), other)[0][0])
    assert told(run(engine, request)[0][0]) == expected


def test_many_random_questions_again() -> None:
    """Int8 as it is served: 24 questions, greedy and seeded, all bits of the numbers."""
    decoder = tiny.make_decoder(seed=9, config=replace(CONFIG, n_embd=128, n_head=2))
    quantize_(decoder)
    rng = random.Random(0)
    engine = make_engine(decoder, new_store())
    for seed in range(24):
        request = ask(seed, rng.choice(OPTIONS), length=rng.randint(1, 120))
        (first,), _, _ = run(engine, request)
        (again,), (sequence,), _ = run(engine, request)
        assert told(again) == told(first)
        assert sequence.draft.num_followed == len(sequence.answer_ids)
