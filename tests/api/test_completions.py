"""Text completions through the official client and by hand: choices, echo, log probabilities, refusals."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.completion_create_params import CompletionCreateParamsBase

from localgpt.errors import BackendError
from localgpt.server.schemas.completions import CompletionBody
from localgpt.tasks import EMBEDDED_MODEL_ID, CompleteRequest, SamplingOptions, TextDelta, TokenLogprob
from tests.api.asking import events_of
from tests.api.fake_service import FakeService, likely

MODEL = EMBEDDED_MODEL_ID


async def ask(http: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await http.post("/v1/completions", json={"model": MODEL, "prompt": "Once", **body})


def test_every_documented_parameter_is_known() -> None:
    assert set(CompletionCreateParamsBase.__annotations__) | {"stream"} <= set(CompletionBody.model_fields)


async def test_whole_answer(openai: AsyncOpenAI, service: FakeService) -> None:
    reply = await openai.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once")
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("Hello, world.", "stop")
    assert reply.usage is not None and reply.usage.total_tokens == 10
    assert reply.model == MODEL and reply.id.startswith("cmpl-")
    assert service.complete.prompt == "Once"
    assert service.complete.options == SamplingOptions(max_tokens=16)


async def test_prompts_and_choices(openai: AsyncOpenAI, service: FakeService) -> None:
    service.answers = [["a"], ["b"], ["c"], ["d"]]
    service.notices = ("n",)
    reply = await openai.completions.create(
        model=MODEL, prompt=["1", "2"], n=2, seed=5, echo=True, max_tokens=3, stop=["x"]
    )
    assert [(choice.index, choice.text) for choice in reply.choices] == [
        (0, "1a"),
        (1, "1b"),
        (2, "2c"),
        (3, "2d"),
    ]
    asked = [request for request in service.requests if isinstance(request, CompleteRequest)]
    assert [(request.prompt, request.options.seed) for request in asked] == [
        ("1", 5),
        ("1", 6),
        ("2", 5),
        ("2", 6),
    ]
    assert len({request.id for request in asked}) == 4
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (14, 12)
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 4
    assert reply.model_extra == {"localgpt": {"notices": ["n"]}}


async def test_best_of(openai: AsyncOpenAI, service: FakeService) -> None:
    service.answers = [[likely("so", -2.0)], [likely("good", -0.1)], [likely("bad", -3.0)]]
    reply = await openai.completions.create(model=MODEL, prompt="x", n=2, best_of=3)
    assert [choice.text for choice in reply.choices] == ["good", "so"]
    assert reply.choices[0].logprobs is None
    assert reply.usage is not None and reply.usage.completion_tokens == 9
    assert service.complete.options.top_logprobs == 0


async def test_log_probabilities(openai: AsyncOpenAI, service: FakeService) -> None:
    halves = (TokenLogprob(data=b"\xe4\xbd", logprob=-1.0), TokenLogprob(data=b"\xa0", logprob=-1.5))
    service.deltas = [likely("Hi", -0.5, Oh=-1.25), TextDelta(text="你", logprobs=halves), likely("!", -2.0)]
    reply = await openai.completions.create(model=MODEL, prompt="x", logprobs=1)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["Hi", "bytes:\\xe4\\xbd", "bytes:\\xa0", "!"]
    assert logprobs.token_logprobs == [-0.5, -1.0, -1.5, -2.0]
    assert logprobs.text_offset == [0, 2, 2, 3]
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[0] == {"Hi": -0.5, "Oh": -1.25}
    assert service.complete.options.top_logprobs == 1
    none_beside = await openai.completions.create(model=MODEL, prompt="x", logprobs=0)
    assert none_beside.choices[0].logprobs is not None
    assert none_beside.choices[0].logprobs.top_logprobs is None


async def test_streamed_answer(http: httpx.AsyncClient, service: FakeService) -> None:
    service.deltas, service.notices = [likely("a", -0.5), likely("b", -1.0)], ("n",)
    response = await ask(http, stream=True, logprobs=0, stream_options={"include_usage": True})
    chunks = events_of(response)
    assert json.loads(response.headers["x-localgpt-notices"]) == ["n"]
    assert chunks[0]["localgpt"] == {"notices": ["n"]}
    assert [choice["text"] for chunk in chunks for choice in chunk["choices"]] == ["a", "b", ""]
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]] == [
        None,
        None,
        "stop",
    ]
    assert chunks[1]["choices"][0]["logprobs"]["text_offset"] == [1]
    assert [chunk["usage"] is None for chunk in chunks] == [True, True, True, False]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 10
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}


async def test_streamed_echo_of_several_prompts(http: httpx.AsyncClient, service: FakeService) -> None:
    service.answers = [["a"], ["b"]]
    chunks = events_of(await ask(http, prompt=["1", "2"], echo=True, stream=True))
    texts = ["", ""]
    for chunk in chunks:
        assert "usage" not in chunk
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == ["1a", "2b"]


async def test_errors_have_a_status(http: httpx.AsyncClient, service: FakeService) -> None:
    service.error = BackendError("gone")
    for stream in (False, True):
        assert (await ask(http, stream=stream)).status_code == 503


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": [[1], [2]]}, "prompt"),
    ({"prompt": ["a", ""]}, "prompt[1]"),
    ({"prompt": ["a"] * 33}, "prompt"),
    ({"prompt": ["a"] * 5, "n": 8}, "prompt"),
    ({"best_of": 2, "n": 3}, "best_of"),
    ({"best_of": 2, "stream": True}, "best_of"),
    ({"best_of": 9}, "best_of"),
    ({"echo": True, "logprobs": 1}, "logprobs"),
    ({"logprobs": 6}, "logprobs"),
    ({"suffix": "end"}, "suffix"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": []}, "messages"),
]


@pytest.mark.parametrize(
    ("body", "param"), REFUSED, ids=[f"{index}-{param}" for index, (_, param) in enumerate(REFUSED)]
)
async def test_refusals(
    http: httpx.AsyncClient, service: FakeService, body: dict[str, Any], param: str
) -> None:
    response = await ask(http, **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param, response.text
    assert service.requests == []


async def test_unknown_model(http: httpx.AsyncClient) -> None:
    response = await ask(http, model="gpt-9")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
