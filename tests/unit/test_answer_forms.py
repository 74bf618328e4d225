"""JSON answers, plain texts, log probabilities and defaults, through the local service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from localgpt.errors import InputError, PromptTooLongError
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID, END_ID, JSON_ID, SPECIAL_TOKENS, USER_ID
from localgpt.runtime.local import LocalService
from localgpt.runtime.questions import AnswerRules, options_of
from localgpt.sampling.grammar import GrammarCompiler
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    Finished,
    ImagePart,
    Message,
    Request,
    SamplingOptions,
    TextDelta,
    TokenBias,
    TokenLogprob,
    Tool,
    ToolChoice,
)
from tests import spoken, tiny

SCHEMA = (
    '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},'
    '"required":["name","age"]}'
)
JSON = AnswerFormat(kind="json", schema=SCHEMA)


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    family = tiny.make_family()
    family.decoder = tiny.make_decoder(config=replace(tiny.DECODER, context_len=512))
    local = LocalService(family, max_batch_size=3)
    yield local
    await local.close()


def chat(text: str = "Who are you?", **fields: Any) -> ChatRequest:
    options = fields.pop("options", None) or SamplingOptions(**fields.pop("sampling", {}))
    return ChatRequest(id="1", messages=(Message.of("user", text),), options=options, **fields)


async def answer(service: LocalService, request: Request) -> ChatResult:
    result = await service.run(request)
    assert isinstance(result, ChatResult)
    return result


async def spoken_answer(family: Any, request: Request) -> ChatResult:
    service = LocalService(family)
    try:
        return await answer(service, request)
    finally:
        await service.close()


# JSON


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_a_random_model_answers_in_json(local: LocalService, temperature: float) -> None:
    for seed in range(3):
        sampling = {"temperature": temperature, "seed": seed, "max_tokens": 60}
        result = await answer(local, chat(sampling=sampling, answer_format=JSON))
        assert list(json.loads(result.text)) == ["name", "age"]
        assert result.usage.completion_tokens <= 60
        assert result.finish_reason == "stop"
        result = await answer(local, chat(sampling=sampling, answer_format=AnswerFormat(kind="json")))
        assert isinstance(json.loads(result.text), dict)


async def test_json_is_the_same_alone_and_in_company(local: LocalService) -> None:
    sampling = {"temperature": 1.0, "seed": 3, "max_tokens": 60}
    tool = Tool(name="f", parameters=SCHEMA)
    requests = [
        chat(sampling=sampling, answer_format=JSON),
        chat(sampling=sampling, tools=(tool,), tool_choice=ToolChoice(mode="required")),
        chat(sampling=sampling),
    ]
    alone = [await answer(local, request) for request in requests]
    together = await asyncio.gather(*(answer(local, request) for request in requests * 2))
    assert [_without_ids(result) for result in together] == [_without_ids(result) for result in alone * 2]


def _without_ids(result: ChatResult) -> tuple[object, ...]:
    calls = [(call.name, call.arguments) for call in result.tool_calls]
    usage = replace(result.usage, cached_tokens=0)  # of the prompt, which was the first to be read or was not
    return result.text, result.finish_reason, usage, result.notices, calls


async def test_the_prompt_asks_for_the_schema_on_one_line() -> None:
    family = spoken.make_family('{"name": "Tom", "age": 12}')
    result = await spoken_answer(family, chat("Tom is 12.", answer_format=JSON))
    assert result.text == '{"name": "Tom", "age": 12}'
    encode = family.tokenizer.encode
    assert family.decoder.prompts[0] == [
        BOS_ID, USER_ID, *encode("Tom is 12."), END_ID,
        JSON_ID, *encode(json.dumps(json.loads(SCHEMA))), END_ID, ASSISTANT_ID,
    ]  # fmt: skip
    await spoken_answer(family, chat("Tom is 12.", answer_format=AnswerFormat(kind="json")))
    assert JSON_ID not in family.decoder.prompts[1]


async def test_what_the_budget_cut_short_is_told() -> None:
    family = spoken.make_family('{"name": "' + "Tom " * 100)
    result = await spoken_answer(family, chat(answer_format=JSON, sampling={"max_tokens": 50}))
    assert json.loads(result.text)["name"].startswith("Tom Tom")
    assert result.finish_reason == "stop"
    assert "shortest way" in result.notices[0]


async def test_too_few_tokens_are_refused_with_their_number(local: LocalService) -> None:
    with pytest.raises(InputError, match="expected at least ") as caught:
        await answer(local, chat(answer_format=JSON, sampling={"max_tokens": 4}))
    assert caught.value.param == "max_tokens"
    needed = int(str(caught.value).split("at least ")[1].split(",")[0])
    result = await answer(local, chat(answer_format=JSON, sampling={"max_tokens": needed}))
    assert json.loads(result.text)
    with pytest.raises(InputError):
        await answer(local, chat(answer_format=JSON, sampling={"max_tokens": needed - 1}))


async def test_a_schema_that_cannot_be_followed_is_refused(local: LocalService) -> None:
    with pytest.raises(InputError, match="not") as caught:
        await answer(local, chat(answer_format=AnswerFormat(kind="json", schema='{"not": {}}')))
    assert caught.value.param == "response_format"


async def test_a_stop_string_cuts_json_as_it_cuts_text() -> None:
    family = spoken.make_family('{"name": "Tom", "age": 12}')
    result = await spoken_answer(family, chat(answer_format=JSON, sampling={"stop": ("age",)}))
    assert result.text == '{"name": "Tom", "'


# Plain texts


async def test_a_text_is_gone_on_with_as_a_document() -> None:
    family = spoken.make_family(" is Paris. It is " + "large " * 20)
    result = await spoken_answer(family, CompleteRequest(id="1", prompt="The capital"))
    assert family.decoder.prompts[0] == [BOS_ID, *family.tokenizer.encode("The capital")]
    assert result.usage.completion_tokens == 16
    assert result.finish_reason == "length"
    assert result.text.startswith(" is Paris.")
    options = SamplingOptions(temperature=0.0, stop=("Paris",), max_tokens=40)
    result = await spoken_answer(family, CompleteRequest(id="1", prompt="", options=options))
    assert result.text == " is "
    assert family.decoder.prompts[1] == [BOS_ID]


async def test_a_text_gets_no_reserved_token(local: LocalService) -> None:
    options = SamplingOptions(temperature=2.0, top_k=0, top_p=1.0, seed=1, max_tokens=60)
    request = CompleteRequest(id="1", prompt="法国的首都是", options=options)
    result = await answer(local, request)
    assert result == await answer(local, request)  # the seed reproduces it
    assert result.usage.completion_tokens > 0
    assert not [token for token in SPECIAL_TOKENS if token in result.text]


async def test_a_text_that_is_too_long_names_its_field(local: LocalService) -> None:
    for prompt in ("word " * 400, "word " * 100_000):
        with pytest.raises(PromptTooLongError) as caught:
            await answer(local, CompleteRequest(id="1", prompt=prompt))
        assert caught.value.param == "prompt"


# Log probabilities


def said(logprobs: tuple[TokenLogprob, ...]) -> str:
    return b"".join(entry.data for entry in logprobs).decode(errors="replace")


@pytest.mark.parametrize("text", ["The capital of France is Paris.", "法国的首都是巴黎。🙂"])
async def test_logprobs_come_with_their_text(text: str) -> None:
    service = LocalService(spoken.make_family(text))
    sampling = {"temperature": 0.0, "top_logprobs": 3, "repetition_penalty": 2.0}
    events = [event async for event in service.stream(chat(sampling=sampling))]
    await service.close()
    last = events[-1]
    assert isinstance(last, Finished)
    result = last.result
    assert said(result.logprobs) == result.text == text
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert tuple(entry for delta in deltas for entry in delta.logprobs) == result.logprobs
    assert all(said(delta.logprobs) == delta.text for delta in deltas)
    expected = torch.log_softmax(torch.tensor([30.0] + [0.0] * 24_575), dim=0)
    for entry in result.logprobs:  # of the raw logits: no penalty, no temperature
        assert entry.logprob == pytest.approx(float(expected[0]), abs=1e-5)
        assert [alternative.logprob for alternative in entry.top] == pytest.approx(
            [float(expected[0]), float(expected[1]), float(expected[1])], abs=1e-5
        )
        assert entry.top[0].data == entry.data


async def test_logprobs_end_where_a_stop_string_begins() -> None:
    sampling = {"temperature": 0.0, "top_logprobs": 0, "stop": ("is P",)}
    result = await spoken_answer(spoken.make_family("France is Paris"), chat(sampling=sampling))
    assert result.text == "France "
    assert said(result.logprobs).startswith("France ")
    assert len(said(result.logprobs[:-1])) < len("France ")  # the last one may reach into the stop string
    assert all(entry.top == () for entry in result.logprobs)


async def test_every_token_of_a_babbler_has_its_logprob(local: LocalService) -> None:
    for seed in range(3):
        sampling = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "seed": seed, "max_tokens": 30}
        plain = await answer(local, chat(sampling=sampling))
        result = await answer(local, chat(sampling={**sampling, "top_logprobs": 2}))
        assert result.text == plain.text
        assert plain.logprobs == ()
        assert len(result.logprobs) == result.usage.completion_tokens
        assert said(result.logprobs) == result.text


# Defaults and refusals


def test_defaults_of_the_repetition_penalty(tokenizer: Any) -> None:
    grammar = GrammarCompiler(tokenizer).json(None)
    image = ImagePart(data=b"")
    free, only_calls = AnswerRules(), AnswerRules(grammar=grammar, is_for_calls_only=True)
    asked = [
        (chat(), "chat", free, 1.15),
        (chat(), "chat", only_calls, 1.15),
        (chat(), "chat", AnswerRules(grammar=grammar), 1.0),
        (chat(sampling={"repetition_penalty": 1.0}), "chat", free, 1.0),
        (chat(sampling={"repetition_penalty": 1.3}), "chat", AnswerRules(grammar=grammar), 1.3),
        (AskRequest(id="1", image=image, question="?"), "ask", free, 1.0),
        (DescribeRequest(id="1", image=image), "describe", free, 1.0),
        (CompleteRequest(id="1", prompt=""), "complete", free, 1.0),
    ]
    for request, task, rules, penalty in asked:
        assert options_of(request, task, rules).repetition_penalty == penalty  # type: ignore[arg-type]


@pytest.mark.parametrize("token_id", [-1, 24_576])
async def test_a_bias_outside_the_vocabulary_is_refused(local: LocalService, token_id: int) -> None:
    bias = (TokenBias(token_id=token_id, bias=1.0),)
    for request in (
        chat(sampling={"logit_bias": bias}),
        CompleteRequest(id="1", prompt="x", options=SamplingOptions(logit_bias=bias)),
    ):
        with pytest.raises(InputError) as caught:
            await answer(local, request)
        assert caught.value.param == "logit_bias"


async def test_a_bias_forces_and_bans(local: LocalService) -> None:
    token_id = tiny.make_tokenizer().encode("z")[0]
    forced = (TokenBias(token_id=token_id, bias=100.0), TokenBias(token_id=END_ID, bias=-100.0))
    result = await answer(local, chat(sampling={"temperature": 0.0, "max_tokens": 5, "logit_bias": forced}))
    assert result.text == "zzzzz"
