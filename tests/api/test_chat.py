"""Chat completions through the official client and by hand: shapes, options, refusals, notices."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from localgpt.errors import BackendError, CapacityError, ImageFormatError, InputError, PromptTooLongError
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.neutral import NEUTRAL
from localgpt.tasks import ImagePart, Message, SamplingOptions, TextPart
from tests.api.asking import HELLO, MODEL, ask, events_of
from tests.api.fake_service import FakeService

PIXEL = base64.b64encode(b"not decoded here").decode()


async def test_whole_answer(openai: AsyncOpenAI, service: FakeService) -> None:
    reply = await openai.chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.choices[0].message.content == "Hello, world."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 3, 10)
    assert service.chat.messages == (Message.of("user", "Hello"),)
    assert service.chat.owner == "local"
    assert service.chat.id == reply.id


async def test_streamed_answer(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, world."
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_usage_comes_last_when_asked_for(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_stream_helper_of_the_official_client(openai: AsyncOpenAI) -> None:
    async with openai.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content == "Hello, world."


async def test_bodies_have_exactly_the_wire_keys(http: httpx.AsyncClient) -> None:
    whole = (await ask(http)).json()
    common = {"id", "object", "created", "model", "choices", "system_fingerprint"}
    assert set(whole) == common | {"usage", "localgpt"}
    assert set(whole["choices"][0]) == {"index", "message", "finish_reason", "logprobs"}
    assert set(whole["choices"][0]["message"]) == {"role", "content", "refusal"}
    ChatCompletion.model_validate(whole, strict=True)
    response = await ask(http, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events_of(response)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert set(chunk) == common
        assert set(chunk["choices"][0]) == {"index", "delta", "finish_reason", "logprobs"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[1]["choices"][0]["delta"] == {"content": "Hello"}
    assert chunks[-1]["choices"][0]["delta"] == {}


async def test_options_reach_the_task(http: httpx.AsyncClient, service: FakeService) -> None:
    response = await ask(
        http, temperature=0, top_p=0.5, top_k=9, repetition_penalty=1.1, max_tokens=5,
        stop=["a", "b"], seed=3,
        user="someone",
    )  # fmt: skip
    assert response.status_code == 200
    assert service.chat.options == SamplingOptions(
        temperature=0.0, top_p=0.5, top_k=9, repetition_penalty=1.1, max_tokens=5, stop=("a", "b"), seed=3
    )
    await ask(http, max_completion_tokens=6, stop="x", temperature=None)
    assert service.chat.options == SamplingOptions(max_tokens=6, stop=("x",))
    await ask(http)
    assert service.chat.options == SamplingOptions()


async def test_roles_and_pictures(http: httpx.AsyncClient, service: FakeService) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    response = await ask(
        http,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": []},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
                ],
            },
        ],
    )
    assert response.status_code == 200, response.text
    messages = service.chat.messages
    assert [message.role for message in messages] == ["system", "system", "user", "assistant", "user"]
    assert messages[-1].content == (
        TextPart(text="What is this?"),
        ImagePart(data=b"not decoded here", media_type="image/png"),
    )
    assert response.json()["localgpt"] == {"notices": []}


async def test_high_detail_is_answered_with_a_notice(http: httpx.AsyncClient) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "high"}}
    response = await ask(http, messages=[{"role": "user", "content": [part]}])
    assert "detail=high" in response.json()["localgpt"]["notices"][0]
    assert json.loads(response.headers["x-localgpt-notices"]) == response.json()["localgpt"]["notices"]


@pytest.mark.parametrize("stream", [False, True])
async def test_notices_of_the_task(http: httpx.AsyncClient, service: FakeService, stream: bool) -> None:
    service.notices, service.late_notices = ("3 turns were left out",), ("late",)
    response = await ask(http, stream=stream)
    if not stream:
        assert response.json()["localgpt"]["notices"] == ["3 turns were left out", "late"]
        return
    assert json.loads(response.headers["x-localgpt-notices"]) == ["3 turns were left out"]
    told = [chunk["localgpt"]["notices"] for chunk in events_of(response) if "localgpt" in chunk]
    assert told == [["3 turns were left out"], ["late"]]


async def test_length_and_empty_answers(http: httpx.AsyncClient, service: FakeService) -> None:
    service.finish_reason, service.deltas = "length", ()
    assert (await ask(http)).json()["choices"][0]["finish_reason"] == "length"
    chunks = events_of(await ask(http, stream=True))
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]


NEUTRAL_VALUES = {
    "n": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False,
    "top_logprobs": None,
    "response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "parallel_tool_calls": True,
    "functions": [], "function_call": None, "modalities": ["text"], "audio": None, "prediction": None,
    "reasoning_effort": "none", "verbosity": "medium", "service_tier": "auto", "store": False, "metadata": {},
    "web_search_options": None, "moderation": None, "safety_identifier": "x", "prompt_cache_key": "x",
    "prompt_cache_options": None, "prompt_cache_retention": "in_memory",
}  # fmt: skip
ASKING_VALUES = {
    "modalities": ["text", "audio"], "audio": {"voice": "alloy"}, "prediction": {"type": "content"},
    "reasoning_effort": "high", "verbosity": "low", "service_tier": "flex", "store": True,
    "web_search_options": {}, "moderation": {"model": "m"}, "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
}  # fmt: skip


def test_every_documented_parameter_is_known() -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    documented = set(CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert documented <= set(ChatBody.model_fields)
    assert set(ASKING_VALUES) == set(NEUTRAL)


async def test_neutral_values_are_accepted(http: httpx.AsyncClient) -> None:
    response = await ask(http, **NEUTRAL_VALUES)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("param", "value"), ASKING_VALUES.items(), ids=ASKING_VALUES)
async def test_what_cannot_be_honoured_is_refused_by_name(
    http: httpx.AsyncClient, service: FakeService, param: str, value: object
) -> None:
    response = await ask(http, **{param: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert service.requests == []


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 3}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"not_a_parameter": 1}, "not_a_parameter"),
    ({"messages": []}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": "x", "mood": "good"}]}, "messages[0].mood"),
    ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].id"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"), BAD_BODIES, ids=[f"{i}-{param}" for i, (_, param) in enumerate(BAD_BODIES)]
)
async def test_bad_input_is_refused_by_name(
    http: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    response = await ask(http, **body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


BAD_URLS = [
    "https://example.com/cat.jpg",
    "http://127.0.0.1/cat.jpg",
    "file:///etc/passwd",
    "data:image/png;base64,",
    "data:image/png;base64,???",
    "data:image/png,abc",
    "data:text/plain;base64,QUJD",
    "data:",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_only_pictures_inside_the_request_are_read(http: httpx.AsyncClient, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    response = await ask(http, messages=[{"role": "user", "content": [part]}])
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages[0].content[0].image_url.url"


ERRORS = [
    (InputError("no", param="seed"), 400, "seed", None),
    (PromptTooLongError("too long", param="messages"), 400, "messages", "context_length_exceeded"),
    (ImageFormatError("broken", param="messages"), 400, "messages", "invalid_image"),
    (CapacityError("full"), 503, None, "overloaded"),
    (BackendError("gone"), 503, None, "backend_unavailable"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: type(case[0]).__name__)
async def test_errors_of_the_task_have_a_status(
    http: httpx.AsyncClient, service: FakeService, stream: bool, case: tuple[Any, int, Any, Any]
) -> None:
    error, status, param, code = case
    service.error = error
    response = await ask(http, stream=stream)
    assert response.status_code == status
    body = response.json()["error"]
    assert (body["message"], body["param"], body["code"]) == (str(error), param, code)
    assert ("retry-after" in response.headers) == (status == 503)


async def test_error_in_the_middle_of_a_stream(openai: AsyncOpenAI, service: FakeService) -> None:
    service.late_error = BackendError("the device went away")
    stream = await openai.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    with pytest.raises(sdk.APIError, match="the device went away"):
        async for _ in stream:
            pass


async def test_unknown_model(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as caught:
        await openai.chat.completions.create(model="gpt-9", messages=HELLO)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert MODEL in str(caught.value)


async def test_model_may_be_left_out(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/chat/completions", json={"messages": HELLO})
    assert response.json()["model"] == MODEL
