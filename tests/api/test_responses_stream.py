"""Responses as server-sent events: their order, their numbers, what they add up to, and how they fail."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from localgpt.errors import BackendError, CapacityError, InputError
from localgpt.server import create_app
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID
from tests.api.fake_service import FakeService, call_deltas, likely
from tests.api.wire import Wire

MODEL = EMBEDDED_MODEL_ID
FUNCTION: dict[str, Any] = {"type": "function", "name": "weather", "parameters": {}, "strict": False}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MESSAGE_KINDS = [
    "response.output_item.added", "response.content_part.added", "response.output_text.delta",
    "response.output_text.delta", "response.output_text.delta", "response.output_text.done",
    "response.content_part.done", "response.output_item.done",
]  # fmt: skip
START = ["response.created", "response.in_progress"]


async def stream(http: httpx.AsyncClient, **body: object) -> list[dict[str, Any]]:
    """The events of a stream; each was checked against the official types."""
    response = await http.post("/v1/responses", json={"input": "Hello", "stream": True, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_of(response.text)


def events_of(text: str) -> list[dict[str, Any]]:
    assert text.endswith("\n\n")
    events = []
    for block in text[:-2].split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        EVENT.validate_python(event, strict=True)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_order_of_a_message(http: httpx.AsyncClient) -> None:
    events = await stream(http, instructions="Be brief.")
    assert kinds(events) == [*START, *MESSAGE_KINDS, "response.completed"]
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert (last["status"], last["usage"]["total_tokens"]) == ("completed", 10)
    assert first["id"] == last["id"]
    Response.model_validate(last, strict=True)
    added, done = events[2]["item"], events[-2]["item"]
    assert (added["status"], added["content"]) == ("in_progress", [])
    assert done["content"][0]["text"] == "Hello, world."
    assert last["output"] == [done]
    assert {event["item_id"] for event in events if "item_id" in event} == {added["id"]} == {done["id"]}


async def test_whole_and_streamed_responses_are_the_same(
    http: httpx.AsyncClient, service: FakeService
) -> None:
    service.deltas = [likely("Let me see.", -0.5, Oh=-1.0), *call_deltas("weather", '{"a"', ": 1}")]
    asked = {"tools": [FUNCTION], "include": ["message.output_text.logprobs"]}
    streamed = (await stream(http, **asked))[-1]["response"]
    whole = (await http.post("/v1/responses", json={"input": "Hello", **asked})).json()

    def without_ids(response: dict[str, Any]) -> str:
        for name in ("created_at", "completed_at"):
            del response[name]
        return json.dumps(response).replace(response["id"].removeprefix("resp_"), "ID")

    assert without_ids(streamed) == without_ids(whole)


async def test_order_of_calls(http: httpx.AsyncClient, service: FakeService) -> None:
    service.deltas = [
        "Well.",
        *call_deltas("weather", '{"a"', ": 1}"),
        *call_deltas("weather", index=1, id="call_2"),
    ]
    service.finish_reason = "tool_calls"
    events = await stream(http, tools=[FUNCTION])
    assert kinds(events) == [
        *START,
        "response.output_item.added", "response.content_part.added", "response.output_text.delta",
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.output_item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "response.output_item.done",
        "response.output_item.added", "response.function_call_arguments.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    calls = [event["item"] for event in events if event["type"] == "response.output_item.done"][1:]
    assert [(call["call_id"], call["arguments"]) for call in calls] == [
        ("call_1", '{"a": 1}'),
        ("call_2", ""),
    ]
    assert [event["output_index"] for event in events if "output_index" in event] == [0] * 6 + [1] * 5 + [
        2
    ] * 3
    assert events[-1]["response"]["output"][1:] == calls


async def test_the_official_stream_helper(openai: AsyncOpenAI, service: FakeService) -> None:
    class Pair(BaseModel):
        a: int

    service.deltas = ('{"a"', ": 1}")
    async with openai.responses.stream(model=MODEL, input="Hello", text_format=Pair) as helper:
        texts = [event.delta async for event in helper if event.type == "response.output_text.delta"]
        final = await helper.get_final_response()
    assert "".join(texts) == '{"a": 1}'
    assert final.output_parsed == Pair(a=1)
    service.deltas = call_deltas("weather", "{}")
    tool: Any = {**FUNCTION, "strict": True}
    async with openai.responses.stream(model=MODEL, input="Hello", tools=[tool]) as helper:
        final_calls = (await helper.get_final_response()).output
    assert [item.type for item in final_calls] == ["function_call"]


async def test_the_official_client(openai: AsyncOpenAI) -> None:
    events = [event async for event in await openai.responses.create(model=MODEL, input="Hello", stream=True)]
    assert [event.type for event in events] == [*START, *MESSAGE_KINDS, "response.completed"]


async def test_log_probabilities_come_with_their_text(http: httpx.AsyncClient, service: FakeService) -> None:
    service.deltas = (likely("Hi", -0.5, Oh=-1.0), likely("!", -0.25))
    events = await stream(http, include=["message.output_text.logprobs"])
    told = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [[entry["token"] for entry in entries] for entries in told] == [["Hi"], ["!"]]
    done = next(event for event in events if event["type"] == "response.output_text.done")
    assert done["logprobs"] == [*told[0], *told[1]]
    assert done["logprobs"][0]["top_logprobs"][0]["token"] == "Oh"


async def test_an_answer_without_a_word(http: httpx.AsyncClient, service: FakeService) -> None:
    service.deltas = ()
    events = await stream(http)
    assert kinds(events) == [
        *START,
        *(kind for kind in MESSAGE_KINDS if "delta" not in kind),
        "response.completed",
    ]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


async def test_the_limit_of_tokens(http: httpx.AsyncClient, service: FakeService) -> None:
    service.finish_reason = "length"
    events = await stream(http)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-2]["item"]["status"] == "incomplete"


async def test_notices(http: httpx.AsyncClient, service: FakeService) -> None:
    service.notices, service.late_notices = ("early",), ("late",)
    response = await http.post("/v1/responses", json={"input": "Hello", "stream": True})
    assert json.loads(response.headers["x-localgpt-notices"]) == ["early"]
    events = events_of(response.text)
    assert events[0]["response"]["localgpt"]["notices"] == ["early"]
    assert events[-1]["response"]["localgpt"]["notices"] == ["early", "late"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackendError("broke"), "server_error"),
        (CapacityError("full"), "rate_limit_exceeded"),
        (InputError("no good", param="messages"), "invalid_prompt"),
    ],
)
async def test_a_model_that_fails_under_way(
    http: httpx.AsyncClient, service: FakeService, error: Any, code: str
) -> None:
    service.late_error = error
    events = await stream(http)
    assert kinds(events) == [*START, *MESSAGE_KINDS[:3], "response.failed"]
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", code)
    assert response["error"]["message"] == str(error)
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Hello"


async def test_a_failure_at_the_door_is_a_status(http: httpx.AsyncClient, service: FakeService) -> None:
    service.error = CapacityError("full")
    response = await http.post("/v1/responses", json={"input": "Hello", "stream": True})
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "full"


async def test_a_client_that_goes_away_ends_the_work(service: FakeService) -> None:
    service.gate = asyncio.Event()
    wire = Wire(create_app(Settings(), service), {"input": "Hello", "stream": True}, path="/v1/responses")
    await wire.until(b"response.output_text.delta")
    wire.disconnect()
    await wire.task
    assert service.num_cancelled == 1


async def test_a_server_that_stops_says_so(service: FakeService) -> None:
    service.gate = asyncio.Event()
    app = create_app(Settings(), service)
    wire = Wire(app, {"input": "Hello", "stream": True}, path="/v1/responses")
    await wire.until(b"response.output_text.delta")
    app.state.gateway.stopping.set()
    await wire.task
    text = b""
    while not wire.outbox.empty():
        text += await wire.next()
    event = json.loads(text.split(b"data: ")[-1])
    assert (event["type"], event["code"]) == ("error", "cancelled")
    assert event["sequence_number"] == 5
    assert service.num_cancelled == 1
