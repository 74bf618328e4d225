"""`WorkerService` and `Host` over a real socket, without a process: calls, cancelling, ends, restarts."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from localgpt.errors import (
    BackendError,
    CancelledRequestError,
    CapacityError,
    DeadlineError,
    InputError,
    PromptTooLongError,
)
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    Channel,
    ChatRequest,
    ChatResult,
    EmbedRequest,
    Event,
    Finished,
    Message,
    Notice,
    Request,
    SamplingOptions,
    TextDelta,
    TextPart,
)
from localgpt.worker.frames import MAX_BODY_BYTES, Kind
from localgpt.worker.messages import RemoteError
from tests import spoken
from tests.api.fake_service import FakeService, call_deltas, likely
from tests.near_worker import PLAN, RESIDENT_BYTES, near

HELLO = ChatRequest(id="1", messages=(Message.of("user", "hi"),))
HOUR_S = 3600.0


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def num_descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.parametrize(
    "fake",
    [
        FakeService(deltas=("Hello", "，", "\ud83d", ""), notices=("shorter",), late_notices=("later",)),
        FakeService(deltas=(likely("a", -0.5, b=-1.0), "c")),
        FakeService(deltas=call_deltas("f", '{"a":', "1}"), finish_reason="tool_calls"),
    ],
)
async def test_events_and_results_are_those_of_the_service(fake: FakeService) -> None:
    async with near(lambda: fake) as pair:
        events = await collect(pair.service.stream(HELLO))
        assert events == await collect(fake.stream(HELLO))
        assert isinstance(events[-1], Finished)
        assert await pair.service.run(HELLO) == events[-1].result
        embed = EmbedRequest(id="2", inputs=(TextPart(text="x"),))
        assert await pair.service.run(embed) == await fake.run(embed)
        await pair.rest()
        assert not pair.service._calls
    assert fake.is_closed


async def test_status_is_told_before_and_after_the_load() -> None:
    fake = FakeService()
    async with near(lambda: fake) as pair:
        status = await pair.service.status()
        assert status.ready and status.model_process_bytes == RESIDENT_BYTES
        assert status.memory == fake.memory
    status = await pair.service.status()
    assert (status.ready, status.device, status.notices) == (False, "cpu", PLAN.notices)


async def test_a_status_is_asked_for_once_at_a_time_and_not_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counting(FakeService):
        num_asked = 0

        async def status(self) -> Any:
            self.num_asked += 1
            return await super().status()

    fake = Counting()
    async with near(lambda: fake) as pair:
        before = fake.num_asked
        monkeypatch.setattr("localgpt.worker.client._FRESH_S", HOUR_S)
        pair.service._is_fresh_until = 0.0
        await asyncio.gather(*(pair.service.status() for _ in range(9)))
        await pair.service.status()
        assert fake.num_asked == before + 1


async def test_one_who_gives_a_status_up_takes_it_from_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FakeService):
        may_tell = asyncio.Event()

        async def status(self) -> Any:
            await self.may_tell.wait()
            return await super().status()

    fake = Slow()
    fake.may_tell.set()
    async with near(lambda: fake) as pair:
        fake.may_tell.clear()
        pair.service._is_fresh_until = 0.0
        monkeypatch.setattr("localgpt.worker.client._STATUS_S", 0.0)

        async def ask_twice() -> Any:
            await pair.service.status()  # in vain, as that of the other one, who hears so later
            monkeypatch.setattr("localgpt.worker.client._STATUS_S", HOUR_S)
            return await pair.service.status()

        twice = asyncio.ensure_future(ask_twice())
        other = asyncio.ensure_future(pair.service.status())
        await other
        third = asyncio.ensure_future(pair.service.status())
        await asyncio.sleep(0)
        fake.may_tell.set()
        assert (await third).ready
        assert twice.done() and (await twice).ready


@pytest.mark.parametrize(
    "error", [PromptTooLongError("too long", param="messages"), CapacityError("full", retry_after_s=3.5)]
)
async def test_errors_arrive_as_they_were_raised(error: Any) -> None:
    for fake in (FakeService(error=error), FakeService(late_error=error)):
        async with near(lambda fake=fake: fake) as pair:  # type: ignore[misc]
            for asked in (pair.service.run(HELLO), collect(pair.service.stream(HELLO))):
                with pytest.raises(type(error), match=str(error)) as caught:
                    await asked
                assert vars(caught.value) == vars(error)


async def test_a_bug_over_there_is_an_internal_error_here(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeService(error=TypeError("secret"))  # type: ignore[arg-type]
    async with near(lambda: fake) as pair:
        with pytest.raises(RemoteError, match="TypeError"):
            await pair.service.run(HELLO)
        assert "a request failed" in caplog.text
        fake.error = None
        assert isinstance(await pair.service.run(HELLO), ChatResult)


async def test_leaving_a_stream_ends_the_work_within_two_tokens() -> None:
    family = spoken.make_family("all the words of the world " * 20)
    gate = threading.Semaphore(60)  # one permit a step
    family.decoder.before_step = gate.acquire
    local = LocalService(family, max_batch_size=1)
    scheduler = local._engine._engine.scheduler
    options = SamplingOptions(temperature=0.0, max_tokens=150)
    request = ChatRequest(id="1", messages=(Message.of("user", "Talk."),), options=options)
    async with near(lambda: local) as pair:
        async with aclosing(pair.service.stream(request)) as events:  # type: ignore[type-var]
            for _ in range(4):
                await anext(events)
            sequence = scheduler.unfinished[0]
        await pair.rest()
        num_tokens = len(sequence.answer_ids)
        gate.release(1000)
        await local._engine.call(lambda: None)
        assert len(sequence.answer_ids) <= num_tokens + 2 and not scheduler.unfinished


async def test_two_hundred_who_leave_at_random_leave_nothing() -> None:
    fake = FakeService(deltas=("a", "b", "c", "d"))
    chance = random.Random(0)
    async with near(lambda: fake) as pair:
        await pair.service.run(HELLO)
        tasks_before, descriptors_before = len(asyncio.all_tasks()), num_descriptors()

        async def leave() -> None:
            if chance.random() < 0.3:
                running = asyncio.ensure_future(pair.service.run(HELLO))
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                return
            async with aclosing(pair.service.stream(HELLO)) as events:  # type: ignore[type-var]
                for _ in range(chance.randrange(6)):
                    if await anext(events, None) is None:
                        break

        for _ in range(20):
            await asyncio.gather(*(leave() for _ in range(10)))
        await pair.rest()
        assert not pair.service._calls and not pair.host._inputs
        assert (len(asyncio.all_tasks()), num_descriptors()) == (tasks_before, descriptors_before)
        assert fake.num_cancelled > 10
        assert isinstance(await pair.service.run(HELLO), ChatResult)


async def test_closing_tells_those_who_wait_and_those_who_come() -> None:
    local = LocalService(spoken.make_family("word " * 100), max_batch_size=1)
    async with near(lambda: local) as pair:
        stream = pair.service.stream(HELLO)
        await anext(stream)
        await pair.service.close()
        with pytest.raises(CancelledRequestError, match="closing"):
            await collect(stream)
        with pytest.raises(CancelledRequestError, match="closing"):
            await pair.service.run(HELLO)


class Echo(Channel):
    """Answers what it hears, and ends with an empty message."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_closed = False

    async def send(self, data: bytes) -> None:
        await self._heard.put(data)

    async def events(self) -> AsyncIterator[Event]:
        while data := await self._heard.get():
            yield TextDelta(text=data.decode()) if data != b"?" else Notice(text="what?")

    async def close(self) -> None:
        self.is_closed = True


class Listening(FakeService):
    """Opens an `Echo`."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[Echo] = []

    async def open(self, request: Request) -> Channel:
        if request.model == "deaf":
            raise InputError("got a deaf one", param="model")
        self.channels.append(Echo())
        return self.channels[-1]


async def test_channels_listen_while_they_answer() -> None:
    fake = Listening()
    async with near(lambda: fake) as pair:
        channel = await pair.service.open(HELLO)
        events = channel.events()
        for said, heard in ((b"one", TextDelta(text="one")), (b"?", Notice(text="what?"))):
            await channel.send(said)
            assert await anext(events) == heard
        await channel.send(b"")
        assert [event async for event in events] == []
        await channel.close()
        left = await pair.service.open(HELLO)
        await left.close()
        await left.close()
        with pytest.raises(InputError, match="deaf"):
            await pair.service.open(ChatRequest(id="1", messages=HELLO.messages, model="deaf"))
        await pair.rest()
        assert all(one.is_closed for one in fake.channels) and len(fake.channels) == 2
        assert not pair.service._calls and not pair.host._inputs


async def test_who_reads_a_channel_that_is_closed_has_read_the_last() -> None:
    async with near(Listening) as pair:
        channel = await pair.service.open(HELLO)
        reading = asyncio.ensure_future(collect(channel.events()))
        await asyncio.sleep(0)
        await channel.close()
        async with asyncio.timeout(60):
            assert await reading == []


async def test_each_status_that_is_asked_for_is_waited_for_at_the_end() -> None:
    class Slow(FakeService):
        may_tell = asyncio.Event()

        async def status(self) -> Any:
            await self.may_tell.wait()
            return await super().status()

    fake = Slow()
    fake.may_tell.set()
    async with near(lambda: fake) as pair:
        fake.may_tell.clear()
        link, host = pair.service._keeper.loaded, pair.host
        assert link is not None
        for _ in range(3):
            link.send(Kind.STATUS)
        while len(host._telling) < 3:
            await asyncio.sleep(0)
        assert host.num_tasks == 0
        closing = asyncio.ensure_future(host.close())
        await asyncio.sleep(0)
        assert not closing.done()
        fake.may_tell.set()
        await closing
        assert not host._telling


@pytest.mark.parametrize("junk", [b"\x00\x00\x00\x00\xff" + bytes(8), b"\xff" * 13, b"HTTP/1.1 400 \r\n\r\n"])
async def test_what_cannot_be_read_ends_the_process_and_another_is_started(
    junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with near(lambda: FakeService(gate=asyncio.Event())) as pair:
        stream = pair.service.stream(HELLO)
        await anext(stream)
        transport = pair.host.link._transport
        assert transport is not None
        transport.write(junk)
        with pytest.raises(BackendError, match=r"what cannot be read.*started again"):
            await collect(stream)
        await pair.ready()
        assert len(pair.processes) == 2 and (await pair.service.status()).ready
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("kind", "body"), [(Kind.EVENT, b"?"), (Kind.TEXT, b"\xff"), (Kind.RESULT, b"{}"), (Kind.RUN, b"")]
)
async def test_so_does_a_message_that_cannot_be_understood(kind: Kind, body: bytes) -> None:
    async with near(lambda: FakeService(gate=asyncio.Event())) as pair:
        stream = pair.service.stream(HELLO)
        await anext(stream)
        pair.host.link.send(kind, next(iter(pair.service._calls)), body)
        with pytest.raises(BackendError, match="cannot be read"):
            await collect(stream)


async def test_a_gateway_that_sends_nonsense_is_left() -> None:
    async with near(FakeService) as pair:
        link = pair.service._keeper.loaded
        assert link is not None and link._transport is not None
        link._transport.write(b"\xff" * 100)
        await pair.processes[0].ended()
        assert pair.processes[0].host is not None
        assert isinstance(pair.processes[0].host.link.failure, BackendError)


async def test_a_request_beyond_the_limit_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BODY_BYTES >= 1 << 30
    monkeypatch.setattr("localgpt.worker.client.MAX_BODY_BYTES", 1000)
    async with near(FakeService) as pair:
        with pytest.raises(InputError, match="send fewer or smaller"):
            await pair.service.run(ChatRequest(id="1", messages=(Message.of("user", "x" * 1000),)))
        assert isinstance(await pair.service.run(HELLO), ChatResult)


async def test_the_second_end_in_a_row_is_followed_by_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with near(FakeService, pause_s=HOUR_S) as pair:
            pair.host.link.abort()
            await pair.processes[0].ended()
            while len(pair.processes) == 1:
                await asyncio.sleep(0)
            await pair.ready()
            assert isinstance(await pair.service.run(HELLO), ChatResult)
            pair.host.link.abort()
            await pair.processes[1].ended()
            while "starts in 30 s" not in caplog.text:
                await asyncio.sleep(0)
            with pytest.raises(BackendError, match="was ended by the test"):
                await pair.service.run(HELLO)
            assert not (await pair.service.status()).ready
            assert len(pair.processes) == 2
    assert "starts in 0 s" in caplog.text


async def test_who_comes_while_a_process_ends_is_answered_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with near(FakeService) as pair:
        process, may_end = pair.processes[0], threading.Event()
        end = process.end

        def end_late(*, grace_s: float = 0.0) -> str:
            may_end.wait()
            return end(grace_s=grace_s)

        monkeypatch.setattr(process, "end", end_late)
        link = pair.service._keeper.loaded
        assert link is not None
        pair.host.link.abort()
        await link.ended()
        answer = asyncio.ensure_future(pair.service.run(HELLO))
        await asyncio.sleep(0)
        assert not (await pair.service.status()).ready
        may_end.set()
        assert isinstance(await answer, ChatResult)


async def test_waiting_for_the_load_counts_towards_the_deadline() -> None:
    async with near(FakeService) as pair:
        pair.service._keeper.loaded = None
        pair.service._keeper._settled.clear()
        request = ChatRequest(id="1", messages=HELLO.messages, deadline_s=0.0)
        with pytest.raises(DeadlineError, match="deadline"):
            await pair.service.run(request)


async def test_a_status_that_cannot_be_told_is_the_last_one_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("localgpt.worker.client._STATUS_S", 0.0)
    fake = FakeService()
    async with near(lambda: fake) as pair:
        pair.service._is_fresh_until = 0.0
        monkeypatch.setattr(fake, "status", fake.open)  # which is not implemented
        assert (await pair.service.status()).ready
        while pair.host.num_tasks or "cannot be told" not in caplog.text:
            await asyncio.sleep(0)
        monkeypatch.undo()
        assert (await pair.service.status()).ready


async def test_a_keeper_that_fails_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with near(FakeService) as pair:
        monkeypatch.setattr(pair.service._keeper, "_launch", lambda: 1 / 0)
        pair.host.link.abort()
        while "keeper of the model process failed" not in caplog.text:
            await asyncio.sleep(0)
        with pytest.raises(BackendError, match=r"ZeroDivisionError.*restart LocalGPT"):
            await pair.service.run(HELLO)
