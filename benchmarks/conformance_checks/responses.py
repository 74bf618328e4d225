"""`/v1/responses`: items, streams, functions, schemas, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import openai
from openai.types.responses import Response

from benchmarks.conformance_checks.target import MODEL, Target, check, expect, picture_url
from benchmarks.conformance_checks.tools import TOOL as CHAT_TOOL
from benchmarks.conformance_checks.tools import Pet, check_arguments

TOOL: dict[str, Any] = {"type": "function", **CHAT_TOOL["function"]}
NAMED: dict[str, Any] = {"type": "function", "name": "get_weather"}
ASK = "Tell me about France."


async def ask(target: Target, **options: Any) -> Response:
    given = {"model": MODEL, "input": ASK, "max_output_tokens": 24, "temperature": 0, **options}
    reply = await target.openai.responses.create(**given)
    assert isinstance(reply, Response)
    return reply


@check("responses", "a whole response and its usage")
async def whole(target: Target) -> None:
    reply = await ask(target, instructions="Be brief.")
    expect(reply.object == "response" and reply.id.startswith("resp_"), "another object")
    expect(reply.status in ("completed", "incomplete"), f"the status is {reply.status}")
    expect(reply.output_text, "an empty answer")
    expect(reply.instructions == "Be brief.", "the instructions were not sent back")
    assert reply.usage is not None
    expect(reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens, "a wrong sum")


@check("responses", "the events of a stream: order, numbers, and what they add up to")
async def streamed(target: Target) -> None:
    stream = await target.openai.responses.create(
        model=MODEL, input=ASK, max_output_tokens=24, temperature=0, stream=True,
        stream_options={"include_obfuscation": False},
    )  # fmt: skip
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    expect(kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ], f"it begins with {kinds[:4]}")  # fmt: skip
    expect(kinds[-4:-1] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
    ], f"it ends with {kinds[-4:]}")  # fmt: skip
    expect(set(kinds[4:-4]) <= {"response.output_text.delta"}, f"unexpected events {set(kinds[4:-4])}")
    numbers = [event.sequence_number for event in events]
    expect(numbers == list(range(len(events))), "the numbers have gaps")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    expect(text == last.response.output_text == (await ask(target)).output_text, "the texts differ")  # type: ignore[union-attr]


@check("responses", "the stream and parse helpers of the official client")
async def helpers(target: Target) -> None:
    options: dict[str, Any] = {
        "model": MODEL,
        "input": "Describe a dog.",
        "temperature": 0,
        "text_format": Pet,
    }
    async with target.openai.responses.stream(**options, max_output_tokens=80) as helper:
        final = await helper.get_final_response()
    expect(isinstance(final.output_parsed, Pet), "the stream parsed nothing")
    parsed = await target.openai.responses.parse(**options, max_output_tokens=80)
    expect(parsed.output_parsed == final.output_parsed, "parse says something else")


@check("responses", "any JSON object, and plain text")
async def formats(target: Target) -> None:
    reply = await ask(target, text={"format": {"type": "json_object"}}, max_output_tokens=80)
    expect(isinstance(json.loads(reply.output_text), dict), "not an object")
    await ask(target, text={"format": {"type": "text"}, "verbosity": "medium"}, max_output_tokens=2)


@check("responses", "every kind of input item")
async def items(target: Target) -> None:
    reply = await ask(
        target,
        max_output_tokens=4,
        tools=[TOOL],
        tool_choice="none",
        input=[
            {"role": "developer", "content": "Be kind."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Weather?"},
                    {"type": "input_image", "image_url": picture_url(), "detail": "auto"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": '{"city": "Rome"}'},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Sunny.", "annotations": []}],
            },
            {"role": "user", "content": "Thanks. And now?"},
        ],
    )
    notices = (reply.model_extra or {})["localgpt"]["notices"]
    expect(any("reasoning" in notice for notice in notices), "a reasoning item was skipped in silence")


@check("responses", "a function is asked for, whole and streamed, and its output is read")
async def functions(target: Target) -> None:
    options = {"tools": [TOOL], "tool_choice": NAMED, "parallel_tool_calls": False, "max_output_tokens": 80}
    reply = await ask(target, **options)
    (call,) = [item for item in reply.output if item.type == "function_call"]
    check_arguments(call.arguments)
    stream = await target.openai.responses.create(
        model=MODEL, input=ASK, temperature=0, stream=True, **options
    )  # type: ignore[call-overload]
    events = [event async for event in stream]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    expect("".join(deltas) == done[0].arguments == call.arguments, "the arguments differ")
    answer = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = await ask(target, previous_response_id=reply.id, input=[answer], max_output_tokens=4)
    expect(after.previous_response_id == reply.id, "it does not go on")
    for mode in ("required", "none", "auto"):
        await ask(target, tools=[TOOL], tool_choice=mode, max_output_tokens=80)
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}
    await ask(target, tools=[TOOL], tool_choice=allowed, max_output_tokens=80)


@check("responses", "the limit of tokens leaves it incomplete")
async def limit(target: Target) -> None:
    reply = await ask(target, max_output_tokens=1)
    expect(reply.status == "incomplete", f"the status is {reply.status}")
    expect(reply.incomplete_details and reply.incomplete_details.reason == "max_output_tokens", "no reason")
    expect(reply.usage and reply.usage.output_tokens == 1, "more tokens than allowed")


@check("responses", "logprobs come when asked for")
async def logprobs(target: Target) -> None:
    reply = await ask(target, include=["message.output_text.logprobs"], top_logprobs=2, max_output_tokens=6)
    (message,) = reply.output
    assert message.type == "message" and message.content[0].type == "output_text"
    told = message.content[0].logprobs or []
    expect(told and all(len(entry.top_logprobs) <= 2 for entry in told), "no logprobs")
    plain = (await ask(target, max_output_tokens=6)).output[0]
    assert plain.type == "message" and plain.content[0].type == "output_text"
    expect(not plain.content[0].logprobs, "logprobs came unasked")


@check("responses", "labels, sampling and neutral values are honoured and sent back")
async def labels(target: Target) -> None:
    given: dict[str, Any] = {
        "top_p": 0.5, "metadata": {"a": "b"}, "user": "me", "safety_identifier": "s", "prompt_cache_key": "k",
        "truncation": "auto", "max_tool_calls": 3, "service_tier": "default",
        "prompt_cache_retention": "in_memory", "background": False,
    }  # fmt: skip
    reply = await ask(
        target, **given, max_output_tokens=2, reasoning={"effort": "none"}, context_management=[],
        image={"context_compression": "auto"},
    )  # fmt: skip
    for name, value in given.items():
        expect(getattr(reply, name) == value, f"{name} came back as {getattr(reply, name)!r}")


@check("responses", "kept responses: gone on with, read, listed, referred to, deleted")
async def kept(target: Target) -> None:
    client = target.openai
    first = await ask(target, input="My name is Ada.", max_output_tokens=4, store=True)
    second = await ask(target, input="Who am I?", previous_response_id=first.id, max_output_tokens=4)
    assert first.usage is not None and second.usage is not None
    expect(second.usage.input_tokens > first.usage.input_tokens, "the earlier turns were not read")
    expect(await client.responses.retrieve(second.id) == second, "another response was kept")
    listed = [item async for item in await client.responses.input_items.list(second.id, order="asc", limit=1)]
    expect(len(listed) == 1 and listed[0].type == "message", "not the one input item")
    item_id = first.output[0].id
    assert item_id is not None
    await ask(target, input=[{"type": "item_reference", "id": item_id}, {"role": "user", "content": "Go on"}])
    for response in (first, second):
        await client.responses.delete(response.id)
        try:
            await client.responses.retrieve(response.id)
        except openai.NotFoundError:
            continue
        raise AssertionError("a deleted response was found")


@check("responses", "store: false keeps nothing, cancelling is refused")
async def not_kept(target: Target) -> None:
    reply = await ask(target, max_output_tokens=2, store=False)
    gone = await target.http.get(f"/v1/responses/{reply.id}")
    expect(gone.status_code == 404, "it was kept all the same")
    kept_one = await ask(target, max_output_tokens=2)
    try:
        await target.openai.responses.cancel(kept_one.id)
    except openai.BadRequestError:
        pass
    else:
        raise AssertionError("a response was cancelled that did not run in the background")
    await target.openai.responses.delete(kept_one.id)


@check("responses", "knows a capital", needs_sense=True)
async def capital(target: Target) -> None:
    text = (await ask(target, input="What is the capital of Italy?")).output_text
    expect("Rome" in text, f"it answered {text!r}")
