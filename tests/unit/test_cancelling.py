"""Whoever goes away, at whatever moment, leaves nothing behind: no slot, no stream, no command."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import aclosing, suppress
from typing import Any

import pytest

from localgpt.media.text.vocabulary import TOOL_CALL_ID
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    Message,
    Request,
    SamplingOptions,
    Tool,
    ToolCallDelta,
    ToolChoice,
)
from tests import spoken

SCHEMA = '{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}'
WORDS = "all the words of the world " * 20
CALL = (TOOL_CALL_ID, '{"name": "f", "arguments": {"text": "' + WORDS)
OPTIONS = SamplingOptions(temperature=0.0, max_tokens=150, top_logprobs=1)
ME = (Message.of("user", "Talk."),)
KINDS: list[dict[str, Any]] = [
    {},
    {"answer_format": AnswerFormat(kind="json", schema=SCHEMA)},
    {"tools": (Tool(name="f", parameters=SCHEMA),)},
    {"tools": (Tool(name="f", parameters=SCHEMA),), "tool_choice": ToolChoice(mode="required")},
]
REQUESTS: list[Request] = [
    *(ChatRequest(id="1", messages=ME, options=OPTIONS, **kind) for kind in KINDS),
    CompleteRequest(id="1", prompt="Talk", options=OPTIONS),
]


async def settled(service: LocalService) -> None:
    """Nothing is left once the model's thread has done what it was told."""
    await service._engine.call(lambda: None)
    scheduler = service._engine._engine.scheduler
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    assert sorted(scheduler._free_slots) == list(range(service._runner.cache.num_slots))
    assert not service._engine._streams
    assert service._engine._commands.empty()


@pytest.mark.parametrize(
    ("request_", "script"),
    [
        (REQUESTS[0], (WORDS,)),
        (REQUESTS[1], ('{"text": "' + WORDS,)),
        (REQUESTS[2], CALL),
        (REQUESTS[3], CALL),
        (REQUESTS[4], (WORDS,)),
    ],
)
async def test_leaving_a_stream_ends_the_work_within_two_tokens(
    request_: Request, script: tuple[int | str, ...]
) -> None:
    family = spoken.make_family(*script)
    gate = threading.Semaphore(60)  # one permit a step
    family.decoder.before_step = gate.acquire
    service = LocalService(family, max_batch_size=1)
    scheduler = service._engine._engine.scheduler
    async with aclosing(service.stream(request_)) as events:  # type: ignore[type-var]
        for _ in range(4):
            await anext(events)
        sequence = scheduler.unfinished[0]
    num_tokens = len(sequence.answer_ids)
    gate.release(1000)
    await settled(service)
    assert sequence.finish_reason == "cancelled"
    assert len(sequence.answer_ids) <= num_tokens + 2
    await service.close()


async def test_two_hundred_leave_at_random_moments() -> None:
    service = LocalService(spoken.make_family(*CALL), max_batch_size=3)
    rng = random.Random(7)
    num_cancelled = 0

    async def visit(request: Request, num_events: int, has_heard: asyncio.Event) -> None:
        try:
            async with aclosing(service.stream(request)) as events:  # type: ignore[type-var]
                async for _ in events:
                    num_events -= 1
                    if num_events <= 0:
                        has_heard.set()
        finally:
            has_heard.set()

    async def come_and_go() -> None:
        nonlocal num_cancelled
        has_heard, num_events = asyncio.Event(), rng.choice((0, 1, 2, 8, 40))
        visitor = asyncio.create_task(visit(rng.choice(REQUESTS), num_events, has_heard))
        if num_events:
            await has_heard.wait()
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        num_cancelled += visitor.cancel()
        with suppress(asyncio.CancelledError):
            await visitor

    for _ in range(20):
        await asyncio.gather(*(come_and_go() for _ in range(10)))
    assert num_cancelled > 150
    await settled(service)
    result = await service.run(REQUESTS[3])
    assert isinstance(result, ChatResult)
    assert result.finish_reason == "tool_calls"
    await settled(service)
    await service.close()


async def test_a_call_whose_caller_left_is_not_told_to_others() -> None:
    """Deltas of one caller's call never reach another's stream."""
    service = LocalService(spoken.make_family(*CALL), max_batch_size=2)
    async with aclosing(service.stream(REQUESTS[3])) as events:  # type: ignore[type-var]
        first = await anext(events)
    assert isinstance(first, ToolCallDelta)
    told = [event async for event in service.stream(REQUESTS[3]) if isinstance(event, ToolCallDelta)]
    assert told[0].id not in (None, first.id)
    assert [delta.index for delta in told] == [0] * len(told)
    await service.close()
