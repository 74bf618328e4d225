"""`POST /v1/responses` through the official client and by hand: items in, items out, options, refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import BaseModel

from localgpt.errors import CapacityError, InputError, PromptTooLongError
from localgpt.server.responses.refusals import REFUSED
from localgpt.server.schemas.responses import ResponsesBody
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    AnswerFormat,
    ImagePart,
    Message,
    SamplingOptions,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.api.fake_service import FakeService, call_deltas, likely

MODEL = EMBEDDED_MODEL_ID
PIXEL = "data:image/png;base64," + base64.b64encode(b"not decoded here").decode()
WEATHER: dict[str, Any] = {
    "type": "function", "name": "weather", "description": "Weather of a city", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
CALL_OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}


async def ask(http: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": MODEL, "input": "Hello", **body})


async def refusal(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    response = await ask(http, **body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


async def test_a_text_is_answered(openai: AsyncOpenAI, service: FakeService) -> None:
    response = await openai.responses.create(model=MODEL, input="Hello", instructions="Be brief.")
    assert response.output_text == "Hello, world."
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 2
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        7,
        3,
        10,
    )
    assert service.chat.messages == (Message.of("system", "Be brief."), Message.of("user", "Hello"))
    assert service.chat.id == response.id
    assert service.chat.options == SamplingOptions()
    assert response.temperature == SamplingOptions().temperature
    assert response.top_p == SamplingOptions().top_p


async def test_the_body_has_the_wire_keys(http: httpx.AsyncClient) -> None:
    body = (await ask(http)).json()
    Response.model_validate(body, strict=True)
    required = {name for name, field in Response.model_fields.items() if field.is_required()}
    assert required <= set(body)
    assert set(body) - set(Response.model_fields) == {"store", "localgpt"}
    assert body["output"][0]["id"] == "msg_" + body["id"].removeprefix("resp_") + "_0"
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert (body["truncation"], body["tool_choice"], body["store"]) == ("disabled", "auto", False)


async def test_options_reach_the_task_and_come_back(http: httpx.AsyncClient, service: FakeService) -> None:
    response = await ask(
        http, temperature=0, top_p=0.5, seed=7, max_output_tokens=5, top_logprobs=2,
        include=["message.output_text.logprobs"], truncation="auto", metadata={"a": "b"}, user="me",
        safety_identifier="s", prompt_cache_key="k", parallel_tool_calls=False, max_tool_calls=3,
    )  # fmt: skip
    assert response.status_code == 200, response.text
    assert service.chat.options == SamplingOptions(
        temperature=0.0, top_p=0.5, seed=7, max_tokens=5, top_logprobs=2
    )
    assert service.chat.leave_out_turns and not service.chat.parallel_tool_calls
    body = response.json()
    assert {
        "temperature": 0, "top_p": 0.5, "max_output_tokens": 5, "top_logprobs": 2, "truncation": "auto",
        "metadata": {"a": "b"}, "user": "me", "safety_identifier": "s", "prompt_cache_key": "k",
        "parallel_tool_calls": False, "max_tool_calls": 3,
    }.items() <= body.items()  # fmt: skip
    await ask(http)
    assert not service.chat.leave_out_turns
    assert service.chat.options.top_logprobs is None


async def test_every_kind_of_item_reaches_the_task(http: httpx.AsyncClient, service: FakeService) -> None:
    response = await ask(
        http,
        instructions="Be brief.",
        tools=[WEATHER],
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "A dog.", "annotations": [], "logprobs": []}],
            },
            CALL,
            {**CALL, "call_id": "call_2", "id": "fc_2", "status": "completed"},
            CALL_OUTPUT,
            {**CALL_OUTPUT, "call_id": "call_2", "output": [{"type": "input_text", "text": "rain"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "And now?"},
        ],
    )
    assert response.status_code == 200, response.text
    calls = tuple(
        ToolCall(id=id, name="weather", arguments='{"city": "Paris"}') for id in ("call_1", "call_2")
    )
    text = TextPart(text="A dog.")
    assert service.chat.messages == (
        Message.of("system", "Be brief."),
        Message.of("system", "Be kind."),
        Message(
            role="user",
            content=(
                TextPart(text="What is this?"),
                ImagePart(data=b"not decoded here", media_type="image/png"),
            ),
        ),
        Message(role="assistant", content=(text,), tool_calls=calls),
        Message(role="tool", content=(TextPart(text="sunny"),), tool_call_id="call_1"),
        Message(role="tool", content=(TextPart(text="rain"),), tool_call_id="call_2"),
        Message.of("assistant", "No."),
        Message.of("user", "And now?"),
    )
    assert "input[2] is a reasoning item" in response.json()["localgpt"]["notices"][0]
    assert json.loads(response.headers["x-localgpt-notices"]) == response.json()["localgpt"]["notices"]


async def test_calls_without_words_make_their_own_turn(http: httpx.AsyncClient, service: FakeService) -> None:
    response = await ask(http, input=[{"role": "user", "content": "Weather?"}, CALL, CALL_OUTPUT])
    assert response.status_code == 200, response.text
    roles = [message.role for message in service.chat.messages]
    assert roles == ["user", "assistant", "tool"]
    assert len(service.chat.messages[1].tool_calls) == 1


async def test_functions_are_asked_for(openai: AsyncOpenAI, service: FakeService) -> None:
    service.deltas, service.finish_reason = call_deltas("weather", '{"city":', '"Paris"}'), "tool_calls"
    response = await openai.responses.create(
        model=MODEL, input="Weather?", tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}
    )
    (call,) = response.output
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city":"Paris"}')
    assert call.id is not None and call.id.startswith("fc_")
    assert call.status == "completed"
    assert service.chat.tools == (
        Tool(
            name="weather",
            description="Weather of a city",
            parameters=json.dumps(WEATHER["parameters"]),
        ),
    )
    assert service.chat.tool_choice == ToolChoice(mode="named", name="weather")
    assert response.tool_choice.type == "function"  # type: ignore[union-attr]
    assert response.tools[0].to_dict() == WEATHER


async def test_words_stand_before_calls(http: httpx.AsyncClient, service: FakeService) -> None:
    service.deltas = ["Let me see.", *call_deltas("weather", "{}")]
    output = (await ask(http, tools=[WEATHER])).json()["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert [item["id"].rpartition("_")[2] for item in output] == ["0", "1"]


@pytest.mark.parametrize(
    ("choice", "expected", "num_tools"),
    [
        ("none", ToolChoice(mode="none"), 2),
        ("required", ToolChoice(mode="required"), 2),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
            ToolChoice(mode="required"),
            1,
        ),
    ],
)
async def test_tool_choices(
    http: httpx.AsyncClient, service: FakeService, choice: Any, expected: ToolChoice, num_tools: int
) -> None:
    response = await ask(http, tools=[WEATHER, {**WEATHER, "name": "other"}], tool_choice=choice)
    assert response.status_code == 200, response.text
    assert (service.chat.tool_choice, len(service.chat.tools)) == (expected, num_tools)
    assert response.json()["tool_choice"] == choice


class City(BaseModel):
    name: str
    num_people: int


async def test_schemas(openai: AsyncOpenAI, service: FakeService) -> None:
    service.deltas = ('{"name": "Paris", ', '"num_people": 2}')
    response = await openai.responses.parse(model=MODEL, input="Paris?", text_format=City)
    assert response.output_parsed == City(name="Paris", num_people=2)
    assert service.chat.answer_format.kind == "json"
    assert json.loads(service.chat.answer_format.schema or "")["properties"].keys() == {"name", "num_people"}
    assert response.text is not None and response.text.format is not None
    assert response.text.format.type == "json_schema"


async def test_any_object(http: httpx.AsyncClient, service: FakeService) -> None:
    await ask(http, text={"format": {"type": "json_object"}})
    assert service.chat.answer_format == AnswerFormat(kind="json")
    await ask(http, text={"format": {"type": "text"}, "verbosity": "medium"})
    assert service.chat.answer_format == AnswerFormat()


async def test_log_probabilities(openai: AsyncOpenAI, service: FakeService) -> None:
    service.deltas = (likely("Hi", -0.5, Hi=-0.5, Oh=-1.5),)
    response = await openai.responses.create(
        model=MODEL, input="Hello", top_logprobs=2, include=["message.output_text.logprobs"]
    )
    (item,) = response.output
    assert item.type == "message" and item.content[0].type == "output_text"
    (logprob,) = item.content[0].logprobs or []
    assert (logprob.token, logprob.bytes, logprob.logprob) == ("Hi", [72, 105], -0.5)
    assert [top.token for top in logprob.top_logprobs] == ["Hi", "Oh"]


async def test_the_limit_of_tokens_leaves_a_response_incomplete(
    openai: AsyncOpenAI, service: FakeService
) -> None:
    service.finish_reason = "length"
    response = await openai.responses.create(model=MODEL, input="Hello", max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
    assert response.completed_at is None


async def test_notices_and_aliases(http: httpx.AsyncClient, service: FakeService) -> None:
    service.notices, service.late_notices = ("early",), ("late",)
    body = (await ask(http, model="gpt-4o", store=True)).json()
    assert body["model"] == service.chat.model == MODEL
    told = body["localgpt"]["notices"]
    assert "without a store" in told[0] and told[1:] == ["early", "late"]
    assert (await ask(http, store=False)).json()["localgpt"]["notices"] == ["early", "late"]


def test_every_documented_parameter_is_known() -> None:
    documented = set(ResponseCreateParamsStreaming.__annotations__)
    for base in ResponseCreateParamsStreaming.__orig_bases__:  # type: ignore[attr-defined]
        documented |= set(getattr(base, "__annotations__", {}))
    assert {"input", "stream", "truncation"} <= documented
    assert documented | {"seed"} == set(ResponsesBody.model_fields)


NEUTRAL_VALUES = {
    "background": False, "context_management": [], "image": {"context_compression": "auto"},
    "reasoning": {"effort": "none", "summary": None}, "service_tier": "auto", "stream": False,
    "prompt_cache_retention": "in_memory", "store": False, "text": {}, "tools": [], "tool_choice": "auto",
    "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
    "conversation": None, "prompt": None, "moderation": None, "prompt_cache_options": None,
    "background_options": None, "access_programs": None, "top_logprobs": 0, "metadata": {},
}  # fmt: skip


async def test_neutral_values_are_accepted(http: httpx.AsyncClient) -> None:
    response = await ask(http, **NEUTRAL_VALUES)
    assert response.status_code == 200, response.text
    assert set(REFUSED) <= set(NEUTRAL_VALUES)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("background", True),
        ("background_options", {"completion_window": "soonest"}),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("context_management", [{"type": "compaction"}]),
        ("access_programs", {"cyber": "standard"}),
        ("image", {"context_compression": "enabled"}),
        ("reasoning.effort", {"effort": "low"}),
        ("reasoning.summary", {"summary": "auto"}),
        ("reasoning.generate_summary", {"generate_summary": "auto"}),
        ("reasoning.mode", {"mode": "pro"}),
        ("reasoning.context", {"context": "all_turns"}),
        ("text.verbosity", {"verbosity": "low"}),
        ("service_tier", "flex"),
        ("prompt_cache_retention", "24h"),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("moderation", {"model": "omni-moderation-latest"}),
        ("previous_response_id", "resp_" + 32 * "0"),
        ("stream_options", {"include_obfuscation": False}),
        ("include[0]", ["everything"]),
        ("truncation", "middle"),
        ("temperature", 3),
        ("top_p", 0),
        ("max_output_tokens", 0),
        ("max_tool_calls", 0),
        ("top_logprobs", 21),
        ("metadata.a", {"a": 1}),
        ("user", "\ud800 in a label"),
        ("user", "\ud800"),
        ("instructions", "\ud800"),
        ("seed", "seven"),
        ("stop", "x"),  # chat alone has it
    ],
)
async def test_refusals_name_the_parameter(
    http: httpx.AsyncClient, service: FakeService, param: str, value: object
) -> None:
    name = param.partition(".")[0].partition("[")[0]  # of the parameter itself
    content = json.dumps({"input": "Hello", name: value})
    response = await http.post("/v1/responses", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert not service.requests


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("input", ""),
        ("input", []),
        ("input", 3),
        ("input[0]", [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]),
        ("input[0]", [{"type": "item_reference", "id": "msg_1"}]),
        ("input[0].role", [{"role": "critic", "content": "x"}]),
        ("input[0].content", [{"role": "user", "content": "  "}]),
        ("input[0].content", [{"role": "user", "content": 3}]),
        ("input[0].content[0]", [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]),
        ("input[0].content[0]", [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]),
        (
            "input[0].content[0].image_url",
            [
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "https://example.com/x.png"}],
                }
            ],
        ),
        (
            "input[0].content[0].file_id",
            [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "file_id": "f"}]}],
        ),
        ("input[0].call_id", [CALL_OUTPUT]),
        ("input[1].output[0]", [CALL, {**CALL_OUTPUT, "output": [{"type": "input_image"}]}]),
        ("input[1].name", [{"role": "user", "content": "x"}, {**CALL, "name": "no name"}]),
        ("input[0].unknown", [{"role": "user", "content": "x", "unknown": 1}]),
    ],
)
async def test_refusals_name_the_item(
    http: httpx.AsyncClient, service: FakeService, param: str, value: object
) -> None:
    assert (await refusal(http, input=value))["param"] == param
    assert not service.requests


@pytest.mark.parametrize(
    ("param", "tools", "choice"),
    [
        ("tools[0]", [{"type": "web_search"}], None),
        ("tools[0]", [{"type": "custom", "name": "x"}], None),
        ("tools[1].name", [WEATHER, WEATHER], None),
        ("tools[0].name", [{**WEATHER, "name": "no name"}], None),
        ("tools[0].output_schema", [{**WEATHER, "output_schema": {}}], None),
        ("tool_choice", [], "required"),
        ("tool_choice", [WEATHER], {"type": "web_search_preview"}),
        ("tool_choice.name", [WEATHER], {"type": "function", "name": "other"}),
        (
            "tool_choice.tools",
            [WEATHER],
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]},
        ),
    ],
)
async def test_refusals_name_the_tool(
    http: httpx.AsyncClient, service: FakeService, param: str, tools: object, choice: object
) -> None:
    assert (await refusal(http, tools=tools, tool_choice=choice))["param"] == param
    assert not service.requests


async def test_refusals_name_the_format(http: httpx.AsyncClient) -> None:
    schema = {"type": "json_schema", "name": "no name", "schema": {}}
    assert (await refusal(http, text={"format": schema}))["param"] == "text.format.name"
    assert (await refusal(http, text={"format": {"type": "grammar"}}))["param"] == "text.format"
    assert (await refusal(http, text={"format": {**schema, "schema": 3}}))["param"] == "text.format.schema"


async def test_a_schema_that_is_no_json_is_refused(http: httpx.AsyncClient) -> None:
    tool = '{"type": "function", "name": "f", "parameters": {"minimum": NaN}}'
    response = await http.post(
        "/v1/responses",
        content='{"input": "x", "tools": [' + tool + "]}",
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tools"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_models_refusals_are_named_as_here(
    http: httpx.AsyncClient, service: FakeService, stream: bool
) -> None:
    service.error = PromptTooLongError("too long", param="messages")
    error = await refusal(http, stream=stream)
    assert (error["param"], error["code"]) == ("input", "context_length_exceeded")
    service.error = InputError("not readable", param="messages[1].content[0].image_url.url")
    picture = {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}
    error = await refusal(http, stream=stream, instructions="x", input=[picture])
    assert error["param"] == "input[0].content[0].image_url"
    for param, here in (("max_tokens", "max_output_tokens"), ("response_format", "text.format")):
        service.error = InputError("too few", param=param)
        assert (await refusal(http, stream=stream))["param"] == here
    service.error = CapacityError("full")
    assert (await ask(http, stream=stream)).status_code == 503


async def test_an_unknown_model(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as raised:
        await openai.responses.create(model="nobody", input="Hello")
    assert raised.value.param == "model"
    assert raised.value.code == "model_not_found"
