"""Functions and schemas of `/v1/chat/completions`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from benchmarks.conformance_checks.target import MODEL, Target, check, expect

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
NAMED: dict[str, Any] = {"type": "function", "function": {"name": "get_weather"}}
ASK: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]


class Pet(BaseModel):
    """A two-field object; nothing of it is unbounded."""

    kind: str
    num_legs: int


def check_arguments(arguments: str) -> None:
    expect(json.loads(arguments).get("city") in ("Paris", "Rome"), f"the arguments are {arguments!r}")


@check("tools", "a named function is asked for, its arguments follow the schema")
async def named(target: Target) -> None:
    reply = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=[TOOL], tool_choice=NAMED, max_tokens=80, temperature=0
    )
    choice = reply.choices[0]
    expect(choice.finish_reason in ("tool_calls", "stop"), f"it ended for {choice.finish_reason}")
    calls = choice.message.tool_calls or []
    expect(len(calls) == 1 and calls[0].type == "function", "not one call of a function")
    assert calls[0].type == "function"
    expect(calls[0].function.name == "get_weather" and calls[0].id, "another function")
    check_arguments(calls[0].function.arguments)


@check("tools", "required asks for a function, none does not, auto may")
async def modes(target: Target) -> None:
    for mode in ("required", "none", "auto"):
        reply = await target.openai.chat.completions.create(
            model=MODEL, messages=ASK, tools=[TOOL], tool_choice=mode, max_tokens=80, temperature=0,
            parallel_tool_calls=False,
        )  # fmt: skip
        calls = reply.choices[0].message.tool_calls or []
        expect(len(calls) <= 1, "several calls, though parallel_tool_calls is false")
        expect(mode != "required" or calls, "no call, though one is required")
        expect(mode != "none" or not calls, "a call, though none is allowed")


@check("tools", "allowed_tools chooses among the tools")
async def allowed(target: Target) -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    choice: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    reply = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=[other, TOOL], tool_choice=choice, max_tokens=80, temperature=0
    )  # type: ignore[call-overload]
    calls = reply.choices[0].message.tool_calls or []
    expect([call.function.name for call in calls] == ["get_weather"] * len(calls), "a tool not allowed")
    expect(calls, "no call, though one is required")


@check("tools", "a streamed call: index, id and name first, arguments in pieces")
async def streamed(target: Target) -> None:
    stream = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=[TOOL], tool_choice=NAMED, max_tokens=80, temperature=0, stream=True
    )
    deltas = [
        call async for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []
    ]
    expect(deltas and deltas[0].id and deltas[0].type == "function", "the first piece has no id or type")
    expect(all(delta.index == 0 for delta in deltas), "a piece has another index")
    names = [delta.function.name for delta in deltas if delta.function and delta.function.name]
    expect(names == ["get_weather"], f"the names are {names}")
    check_arguments("".join(delta.function.arguments or "" for delta in deltas if delta.function))


@check("tools", "the answer to a call is read")
async def result_turn(target: Target) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    }
    reply = await target.openai.chat.completions.create(
        model=MODEL,
        max_tokens=8,
        temperature=0,
        tools=[TOOL],
        tool_choice="none",
        messages=[
            *ASK,
            {"role": "assistant", "content": None, "tool_calls": [call]},  # type: ignore[list-item]
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 20 degrees"},
        ],
    )
    expect(reply.choices[0].message.content, "an empty answer")


@check("tools", "the legacy functions and function_call")
async def legacy(target: Target) -> None:
    reply = await target.openai.chat.completions.create(
        model=MODEL,
        messages=ASK,
        functions=[{key: value for key, value in TOOL["function"].items() if key != "strict"}],  # type: ignore[misc]
        function_call={"name": "get_weather"},
        max_tokens=80,
        temperature=0,
    )
    call = reply.choices[0].message.function_call
    expect(call is not None, "no function_call")
    assert call is not None
    check_arguments(call.arguments)


@check("formats", "any JSON object")
async def json_object(target: Target) -> None:
    reply = await target.openai.chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}, max_tokens=80, temperature=0
    )
    expect(isinstance(json.loads(reply.choices[0].message.content or ""), dict), "not an object")


@check("formats", "chat.completions.parse with a pydantic model, closed within 80 tokens")
async def parsed(target: Target) -> None:
    reply = await target.openai.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a dog."}],
        response_format=Pet,
        max_tokens=80,
        temperature=0,
    )
    expect(isinstance(reply.choices[0].message.parsed, Pet), "nothing was parsed")
    expect(reply.choices[0].finish_reason == "stop", "it did not close")


@check("formats", "a streamed schema adds up to the same object")
async def streamed_schema(target: Target) -> None:
    async with target.openai.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a dog."}],
        response_format=Pet,
        max_tokens=80,
        temperature=0,
    ) as helper:
        final = await helper.get_final_completion()
    expect(isinstance(final.choices[0].message.parsed, Pet), "nothing was parsed")
