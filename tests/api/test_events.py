"""Streams of tasks put together: order, watchers, and an end that is told whatever way it comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from localgpt.errors import BackendError, CancelledRequestError
from localgpt.server import create_app
from localgpt.server.events import EventBodies, Events, run_tasks
from localgpt.server.gateway import Gateway
from localgpt.settings import Settings
from localgpt.tasks import ChatRequest, Event, Finished, Message, TextDelta
from tests.api.fake_service import FakeService


@dataclass
class Notebook:
    """Writes down what a watcher is told."""

    events: list[Event] = field(default_factory=list)
    ends: list[BaseException | None] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    async def on_end(self, error: BaseException | None) -> None:
        await asyncio.sleep(0)  # a store takes time
        self.ends.append(error)


@pytest.fixture
def gateway(service: FakeService) -> Gateway:
    gateway: Gateway = create_app(Settings(), service).state.gateway
    return gateway


def tasks(number: int) -> list[ChatRequest]:
    return [ChatRequest(id=str(index), messages=(Message.of("user", "x"),)) for index in range(number)]


async def test_streams_are_merged_as_they_come(gateway: Gateway, service: FakeService) -> None:
    service.answers = [["a", "b"], ["c"], []]
    seen = [(index, event) async for index, event in Events(gateway, tasks(3))]
    for index, texts in enumerate(service.answers):
        events = [event for owner, event in seen if owner == index]
        assert [event.text for event in events[:-1] if isinstance(event, TextDelta)] == texts
        assert isinstance(events[-1], Finished)
    assert service.num_cancelled == 0


async def test_one_waiting_stream_does_not_hold_up_another(gateway: Gateway, service: FakeService) -> None:
    service.gate = asyncio.Event()
    service.answers = [["slow", "end"], []]
    events = Events(gateway, tasks(2))
    seen = [await anext(events) for _ in range(2)]
    assert {index for index, _ in seen} == {0, 1}
    service.gate.set()
    assert len([event async for event in events]) == 2


@pytest.mark.parametrize("number", [1, 3])
async def test_closing_cancels_and_is_told(gateway: Gateway, service: FakeService, number: int) -> None:
    service.gate = asyncio.Event()
    notebook = Notebook()
    events = Events(gateway, tasks(number), notebook)
    await anext(events)
    await events.aclose()
    await events.aclose()
    assert len(notebook.events) == 1
    assert [type(end) for end in notebook.ends] == [CancelledRequestError]
    assert service.num_cancelled == len(service.requests)


async def test_a_cancelled_reader_is_told(gateway: Gateway, service: FakeService) -> None:
    service.gate = asyncio.Event()
    notebook = Notebook()
    events = Events(gateway, tasks(1), notebook)
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [type(end) for end in notebook.ends] == [CancelledRequestError]
    assert service.num_cancelled == 1


async def test_a_whole_answer_is_told(gateway: Gateway) -> None:
    notebook = Notebook()
    assert len([event async for event in Events(gateway, tasks(1), notebook)]) == len(notebook.events) == 4
    assert notebook.ends == [None]


async def test_closed_after_the_last_event_is_a_whole_answer(gateway: Gateway) -> None:
    notebook = Notebook()
    events = Events(gateway, tasks(1), notebook)
    for _ in range(4):
        await anext(events)
    await events.aclose()
    assert notebook.ends == [None]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_failure_is_told_and_ends_the_others(
    gateway: Gateway, service: FakeService, number: int
) -> None:
    service.late_error = BackendError("gone")
    notebook = Notebook()
    with pytest.raises(BackendError):
        [event async for event in Events(gateway, tasks(number), notebook)]
    assert [str(end) for end in notebook.ends] == ["gone"]


async def test_bodies_closed_before_they_began(gateway: Gateway, service: FakeService) -> None:
    notebook = Notebook()
    events = Events(gateway, tasks(1), notebook)

    async def texts():  # type: ignore[no-untyped-def]
        async for _ in events:
            yield ""

    await EventBodies(texts(), events).aclose()
    assert [type(end) for end in notebook.ends] == [CancelledRequestError]
    assert service.requests == []


async def test_running_side_by_side(gateway: Gateway, service: FakeService) -> None:
    service.answers = [["a"], ["b"]]
    assert [result.text for result in await run_tasks(gateway, tasks(2))] == ["a", "b"]  # type: ignore[union-attr]
    service.gate = asyncio.Event()
    running = asyncio.ensure_future(run_tasks(gateway, tasks(2)))
    while len(service.requests) < 4:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert service.num_cancelled == 2
