"""Tools, the legacy functions, and answer formats: what reaches the task, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from localgpt.errors import InputError
from localgpt.tasks import EMBEDDED_MODEL_ID, AnswerFormat, Message, TextPart, Tool, ToolCall, ToolChoice
from tests.api.asking import HELLO, ask, events_of
from tests.api.fake_service import FakeService, call_deltas

MODEL = EMBEDDED_MODEL_ID
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "城市"}}}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": CITY, "strict": True},
}
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}
NAMED: Any = {"type": "function", "function": {"name": "clock"}}


@pytest.fixture
def calling(service: FakeService) -> FakeService:
    """A service that asks for two calls."""
    service.deltas = [
        *call_deltas("weather", '{"city": ', '"Rome"}', id="call_a"),
        *call_deltas("clock", "{}", index=1, id="call_b"),
    ]
    service.finish_reason = "tool_calls"
    return service


async def test_calls_come_back(openai: AsyncOpenAI, calling: FakeService) -> None:
    reply = await openai.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER, CLOCK])
    choice = reply.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
    ]  # type: ignore[union-attr]
    assert calls == [("call_a", "weather", '{"city": "Rome"}'), ("call_b", "clock", "{}")]
    assert calling.chat.tools == (
        Tool(name="weather", description="Tells it.", parameters=json.dumps(CITY, ensure_ascii=False)),
        Tool(name="clock"),
    )
    assert calling.chat.tool_choice == ToolChoice() and calling.chat.parallel_tool_calls


async def test_calls_are_streamed_with_their_index(http: httpx.AsyncClient, calling: FakeService) -> None:
    chunks = events_of(await ask(http, stream=True, tools=[WEATHER, CLOCK]))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["tool_calls"] for delta in deltas[1:-1]] == [
        [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"city": '}}],
        [{"index": 0, "function": {"arguments": '"Rome"}'}}],
        [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "clock", "arguments": ""}}],
        [{"index": 1, "function": {"arguments": "{}"}}],
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_stream_helper_puts_calls_together(openai: AsyncOpenAI, calling: FakeService) -> None:
    async with openai.chat.completions.stream(model=MODEL, messages=HELLO, tools=[WEATHER, CLOCK]) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city": "Rome"}', "{}"]


CHOICES: list[tuple[dict[str, Any], ToolChoice, tuple[str, ...]]] = [
    ({"tool_choice": "none"}, ToolChoice(mode="none"), ("weather", "clock")),
    ({"tool_choice": "required"}, ToolChoice(mode="required"), ("weather", "clock")),
    ({"tool_choice": NAMED}, ToolChoice(mode="named", name="clock"), ("weather", "clock")),
    (
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}},
        ToolChoice(mode="required"),
        ("clock",),
    ),
]


@pytest.mark.parametrize(("body", "choice", "names"), CHOICES, ids=range(len(CHOICES)))
async def test_tool_choices(
    http: httpx.AsyncClient,
    service: FakeService,
    body: dict[str, Any],
    choice: ToolChoice,
    names: tuple[str, ...],
) -> None:
    response = await ask(http, tools=[WEATHER, CLOCK], parallel_tool_calls=False, **body)
    assert response.status_code == 200, response.text
    assert service.chat.tool_choice == choice
    assert tuple(tool.name for tool in service.chat.tools) == names
    assert not service.chat.parallel_tool_calls


async def test_a_conversation_with_calls(http: httpx.AsyncClient, service: FakeService) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    response = await ask(
        http,
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
            {"role": "assistant", "function_call": {"name": "clock", "arguments": "{}"}},
            {"role": "function", "name": "clock", "content": "noon"},
            {"role": "assistant", "refusal": "I cannot say more."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "Nor that."}]},
            {"role": "user", "content": "Well?"},
        ],
    )
    assert response.status_code == 200, response.text
    messages = service.chat.messages
    assert messages[1] == Message(
        role="assistant", content=(), tool_calls=(ToolCall(id="c1", name="weather", arguments="{}"),)
    )
    assert messages[2] == Message(role="tool", content=(TextPart(text="sunny"),), tool_call_id="c1")
    assert messages[4].tool_call_id == messages[3].tool_calls[0].id
    assert messages[5:7] == (
        Message.of("assistant", "I cannot say more."),
        Message.of("assistant", "Nor that."),
    )


async def test_legacy_functions(openai: AsyncOpenAI, service: FakeService) -> None:
    service.deltas, service.finish_reason = call_deltas("weather", "{}"), "tool_calls"
    function: Any = {"name": "weather", "parameters": CITY}
    reply = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, functions=[function], function_call={"name": "weather"}
    )
    choice = reply.choices[0]
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call is not None and choice.message.function_call.name == "weather"
    assert service.chat.tool_choice == ToolChoice(mode="named", name="weather")
    assert not service.chat.parallel_tool_calls
    stream = await openai.chat.completions.create(
        model=MODEL, messages=HELLO, functions=[function], function_call="auto", stream=True
    )
    chunks = [chunk.choices[0] async for chunk in stream]
    pieces = [chunk.delta.function_call for chunk in chunks if chunk.delta.function_call]
    assert (pieces[0].name, "".join(piece.arguments or "" for piece in pieces)) == ("weather", "{}")
    assert chunks[-1].finish_reason == "function_call"


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_task_are_named_as_they_were_spelled(
    http: httpx.AsyncClient, service: FakeService, stream: bool
) -> None:
    for spelling in ({"functions": [{"name": "f"}]}, {"tools": [CLOCK]}):
        service.error = InputError("the schema cannot be followed", param="tools")
        response = await ask(http, stream=stream, **spelling)
        assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(spelling)))


FORMATS: list[tuple[dict[str, Any], AnswerFormat]] = [
    ({"type": "text"}, AnswerFormat()),
    ({"type": "json_object"}, AnswerFormat(kind="json")),
    (
        {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}},
        AnswerFormat(kind="json", schema=json.dumps(CITY, ensure_ascii=False)),
    ),
    (
        {"type": "json_schema", "json_schema": {"name": "any", "description": "Any."}},
        AnswerFormat(kind="json", schema='{"type": "object", "description": "Any."}'),
    ),
]


@pytest.mark.parametrize(("wire", "expected"), FORMATS, ids=range(len(FORMATS)))
async def test_answer_formats(
    http: httpx.AsyncClient, service: FakeService, wire: dict[str, Any], expected: AnswerFormat
) -> None:
    assert (await ask(http, response_format=wire)).status_code == 200
    assert service.chat.answer_format == expected


DEEP: dict[str, Any] = {}
for _ in range(400):
    DEEP = {"items": DEEP}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [CLOCK, CLOCK]}, "tools[1].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "sometimes", "tools": [CLOCK]}, "tool_choice"),
    ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}, "tools": [CLOCK]}, "tool_choice"),
    ({"tool_choice": NAMED, "tools": [WEATHER]}, "tool_choice.function.name"),
    ({"tool_choice": NAMED}, "tool_choice.function.name"),
    (
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
        },
        "tool_choice.allowed_tools.tools",
    ),
    ({"functions": [{"name": "f"}], "tools": [CLOCK]}, "functions"),
    ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1].name"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
    ({"function_call": 5}, "function_call"),
    ({"response_format": {"type": "grammar"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
    ),
    ({"messages": [{"role": "assistant"}, *HELLO]}, "messages[0].content"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].name"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
]  # fmt: skip


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


async def test_schemas_that_are_no_json(http: httpx.AsyncClient) -> None:
    """JSON as it arrives may be deeper than can be written again, hold half characters, or no numbers."""
    for schema in ('{"a":' * 950 + "{}" + "}" * 950, '{"a": "\\ud800"}', '{"a": NaN}'):
        text = (
            '{"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", '
            '"json_schema": {"name": "n", "schema": ' + schema + "}}}"
        )
        response = await http.post(
            "/v1/chat/completions", content=text, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400, response.text
