"""The engine against the plain full forward: same tokens, for text and pictures, alone and together."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from localgpt.engine.engine import Engine
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest, Sequence
from localgpt.media.text.tokenizer import StreamDecoder, Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, IMAGE_END_ID, IMAGE_ID, USER_ID
from localgpt.models.decoder import Decoder
from localgpt.nn.linear import quantize_
from localgpt.sampling.grammar import GrammarCompiler
from localgpt.sampling.tokens import Choice, new_generator
from localgpt.tasks.options import SamplingOptions
from tests import tiny

MAX_TOKENS = 10


def make_requests(num_image_tokens: int = 4) -> list[GenerationRequest]:
    """Prompts of several lengths; the second holds two pictures."""
    generator = torch.Generator().manual_seed(3)
    words = [torch.randint(300, (size,), generator=generator).tolist() for size in (3, 5, 17, 40)]
    prompts = [[BOS_ID, USER_ID, *text, END_ID, ASSISTANT_ID] for text in words]
    picture = [IMAGE_ID] * num_image_tokens + [IMAGE_END_ID]
    prompts[1] = [BOS_ID, USER_ID, *picture, *picture, *words[1], END_ID, ASSISTANT_ID]
    image_tokens = torch.randn(2 * num_image_tokens, tiny.DECODER.n_embd, generator=generator)
    return [
        GenerationRequest(
            token_ids=prompt,
            options=SamplingOptions(temperature=0.0),
            max_tokens=MAX_TOKENS,
            image_tokens=image_tokens if number == 1 else None,
        )
        for number, prompt in enumerate(prompts)
    ]


@torch.inference_mode()
def reference_answer(decoder: Decoder, request: GenerationRequest) -> list[int]:
    """Greedy decoding that runs the whole sequence again for every token."""
    token_ids = list(request.token_ids)
    answer: list[int] = []
    while len(answer) < request.max_tokens:
        logits = full_forward(decoder, token_ids, request.image_tokens)[-1]
        token_id = int(logits.argmax())
        if token_id == END_ID:
            break
        answer.append(token_id)
        token_ids.append(token_id)
    return answer


def full_forward(decoder: Decoder, token_ids: list[int], image_tokens: Tensor | None) -> Tensor:
    """(T, V) logits of a sequence without any cache."""
    ids = torch.tensor(token_ids)
    embeddings = decoder.embed(ids[None])[0].clone()
    if image_tokens is not None:
        embeddings[ids == IMAGE_ID] = image_tokens
    return decoder(embeddings[None], modality=(ids == IMAGE_ID).long()[None])[0]


def engine_answers(
    decoder: Decoder, tokenizer: Tokenizer, *, num_slots: int, prefill_tokens: int
) -> list[list[int]]:
    runner = ModelRunner(decoder, num_slots=num_slots, prefill_tokens=prefill_tokens)
    engine = Engine(runner, lambda: StreamDecoder(tokenizer))
    sequences: list[Sequence] = [engine.submit(request) for request in make_requests()]
    while engine.has_work:
        engine.step()
    return [sequence.answer_ids for sequence in sequences]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return tiny.make_decoder(seed=4)


@pytest.mark.parametrize(("num_slots", "prefill_tokens"), [(1, 256), (4, 256), (3, 5), (2, 1)])
def test_engine_answers_equal_the_full_forward(
    decoder: Decoder, tokenizer: Tokenizer, num_slots: int, prefill_tokens: int
) -> None:
    expected = [reference_answer(decoder, request) for request in make_requests()]
    got = engine_answers(decoder, tokenizer, num_slots=num_slots, prefill_tokens=prefill_tokens)
    assert got == expected
    assert any(expected)


@torch.inference_mode()
def reference_json(decoder: Decoder, request: GenerationRequest) -> list[int]:
    """Greedy decoding under a grammar that runs the whole sequence again for every token."""
    assert request.grammar is not None
    state, answer = request.grammar.start(), list[int]()
    while not state.is_over and len(answer) < request.max_tokens:
        logits = full_forward(decoder, [*request.token_ids, *answer], None)[-1]
        choice = Choice(options=request.options, generator=new_generator(0), seen=answer)
        token_id = state.choose(logits, choice, num_left=request.max_tokens - len(answer))
        if token_id == END_ID:
            break
        answer.append(token_id)
    return answer


def test_json_answers_equal_the_full_forward_beside_others(decoder: Decoder, tokenizer: Tokenizer) -> None:
    compiler = GrammarCompiler(tokenizer)
    grammars = (
        compiler.json('{"properties": {"a": {"type": "string"}}, "required": ["a"]}'),
        compiler.json(None),
    )
    plain = make_requests()[0]
    requests = [
        replace(plain, max_tokens=budget, grammar=grammar) for budget in (20, 40) for grammar in grammars
    ]
    expected = [reference_json(decoder, request) for request in requests]
    engine = Engine(ModelRunner(decoder, num_slots=3), lambda: StreamDecoder(tokenizer))
    sequences = [engine.submit(request) for request in (*requests, plain)]
    while engine.has_work:
        engine.step()
    assert [sequence.answer_ids for sequence in sequences] == [*expected, reference_answer(decoder, plain)]
    assert all(json.loads(tokenizer.decode(answer)) is not None for answer in expected)


@pytest.mark.parametrize("kernel", ["plain", None])
def test_int8_answers_do_not_depend_on_the_batch(tokenizer: Tokenizer, kernel: str | None) -> None:
    quantized = tiny.make_decoder(seed=4)
    quantize_(quantized, kernel=kernel)
    alone = engine_answers(quantized, tokenizer, num_slots=1, prefill_tokens=256)
    assert engine_answers(quantized, tokenizer, num_slots=4, prefill_tokens=256) == alone


def test_the_picture_is_read(decoder: Decoder) -> None:
    request = make_requests()[1]
    assert request.image_tokens is not None
    with torch.inference_mode():
        one = full_forward(decoder, list(request.token_ids), request.image_tokens)[-1]
        other = full_forward(decoder, list(request.token_ids), -request.image_tokens)[-1]
    assert not torch.allclose(one, other, atol=1e-2)
