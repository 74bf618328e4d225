"""Several choices, log probabilities, penalties, biases, and labels that come back."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from localgpt.errors import BackendError
from localgpt.tasks import EMBEDDED_MODEL_ID, ChatRequest, SamplingOptions, TextDelta, TokenBias, TokenLogprob
from tests.api.asking import HELLO, ask, events_of
from tests.api.fake_service import FakeService, likely

MODEL = EMBEDDED_MODEL_ID


async def test_choices_differ_by_seed(openai: AsyncOpenAI, service: FakeService) -> None:
    service.answers = [["a"], ["b"], ["c"]]
    reply = await openai.chat.completions.create(model=MODEL, messages=HELLO, n=3, seed=40)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]
    assert [request.options.seed for request in service.requests if isinstance(request, ChatRequest)] == [
        40,
        41,
        42,
    ]
    assert len({request.id for request in service.requests}) == 3
    usage = reply.usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 9, 16)
    assert usage.prompt_tokens_details.cached_tokens == 2


async def test_seeds_go_round(http: httpx.AsyncClient, service: FakeService) -> None:
    assert (await ask(http, n=2, seed=2**63 - 1)).status_code == 200
    assert service.chat.options.seed == -(2**63)


async def test_streamed_choices(openai: AsyncOpenAI, service: FakeService) -> None:
    service.answers, service.notices = [["a", "b"], ["c"]], ("n",)
    stream = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, n=2, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts, ends = ["", ""], []
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        ends += [choice.index] if choice.finish_reason else []
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant"] * 2
    assert (texts, sorted(ends)) == (["ab", "c"], [0, 1])
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 13
    assert chunks[0].model_extra == {"localgpt": {"notices": ["n"]}}


async def test_one_failed_choice_fails_all(http: httpx.AsyncClient, service: FakeService) -> None:
    service.error = BackendError("gone")
    for stream in (False, True):
        response = await ask(http, n=2, stream=stream)
        assert (response.status_code, response.json()["error"]["message"]) == (503, "gone")


async def test_log_probabilities(openai: AsyncOpenAI, service: FakeService) -> None:
    half = TokenLogprob(data=b"\xe4\xbd", logprob=-2.0)
    service.deltas = [likely("Hi", -0.25, Hi=-0.25, Oh=-3.0), TextDelta(text="", logprobs=(half,))]
    reply = await openai.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2)
    assert service.chat.options.top_logprobs == 2
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None and logprobs.refusal is None
    first, second = logprobs.content
    assert (first.token, first.bytes, first.logprob) == ("Hi", [72, 105], -0.25)
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("Hi", -0.25), ("Oh", -3.0)]
    assert (second.token, second.bytes, second.top_logprobs) == ("bytes:\\xe4\\xbd", [228, 189], [])
    assert math.exp(second.logprob) < 1

    stream = await openai.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, stream=True)
    told = [chunk.choices[0].logprobs async for chunk in stream]
    assert service.chat.options.top_logprobs == 0
    assert [len(one.content or ()) for one in told if one is not None] == [1, 1]


async def test_log_probabilities_are_left_out_unless_asked_for(
    http: httpx.AsyncClient, service: FakeService
) -> None:
    service.deltas = [likely("Hi", -0.25)]
    assert (await ask(http)).json()["choices"][0]["logprobs"] is None
    assert service.chat.options.top_logprobs is None
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in events_of(await ask(http, stream=True)))


async def test_penalties_and_biases_reach_the_task(http: httpx.AsyncClient, service: FakeService) -> None:
    await ask(http, frequency_penalty=-0.5, presence_penalty=2, logit_bias={"17": -100, "8": 1.5})
    assert service.chat.options == SamplingOptions(
        frequency_penalty=-0.5,
        presence_penalty=2.0,
        logit_bias=(TokenBias(token_id=17, bias=-100.0), TokenBias(token_id=8, bias=1.5)),
    )


async def test_labels_come_back(openai: AsyncOpenAI) -> None:
    reply = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, metadata={"课": "一"}, service_tier="auto"
    )
    assert reply.metadata == {"课": "一"} and reply.service_tier == "default"
    assert reply.system_fingerprint is not None and reply.system_fingerprint.startswith("fp_")
    stream = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, service_tier="default"
    )
    assert {chunk.service_tier async for chunk in stream} == {"default"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 0}, "n"),
    ({"n": 9}, "n"),
    ({"n": True}, "n"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"frequency_penalty": 2.5}, "frequency_penalty"),
    ({"presence_penalty": -2.5}, "presence_penalty"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"logit_bias": []}, "logit_bias"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"stop": 5}, "stop"),
]


@pytest.mark.parametrize(
    ("body", "param"), REFUSED, ids=[f"{index}-{param}" for index, (_, param) in enumerate(REFUSED)]
)
async def test_refusals(http: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    response = await ask(http, **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param, response.text


HALF = b'{"messages": [{"role": "user", "content": "x"}], %s}'


@pytest.mark.parametrize(
    "field",
    [
        b'"\\ud800": 1',
        b'"model": "\\ud800"',
        b'"metadata": {"\\ud800": "x"}',
        b'"logit_bias": {"\\ud800": 1}',
    ],
)
async def test_half_characters_are_refused(http: httpx.AsyncClient, field: bytes) -> None:
    """An answer that repeats them could not be written."""
    response = await http.post(
        "/v1/chat/completions", content=HALF % field, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 404), response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
