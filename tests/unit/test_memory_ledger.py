"""The memory ledger over a fake device: waiting, moving, cancelling, learning; then random workloads."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localgpt.compute.memory import Budget, Ledger, Need, PeakKey, Piece, Reservation, Size
from localgpt.compute.memory.ledger import MAX_PASSED, PATIENCE_S
from localgpt.errors import BackendError, CancelledRequestError, CapacityError, ConfigError
from tests.memory_fakes import FakeDevice, FakeHolder, Inline


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_ledger(
    device: FakeDevice, *, budget: int | None = None, host: int = 0, clock: Clock | None = None
) -> Ledger:
    nbytes = device.total if budget is None else budget
    return Ledger(device, Budget(nbytes=nbytes, host_bytes=host), clock=clock or Clock(), mover=Inline())


def pieces(*sizes: int) -> tuple[Piece, ...]:
    return tuple(Piece(name=f"p{at}", nbytes=size) for at, size in enumerate(sizes))


def put(ledger: Ledger, device: FakeDevice, name: str, *sizes: int, **more: Any) -> FakeHolder:
    """Register something that can go."""
    holder = FakeHolder(device, name, pieces(*sizes))
    ledger.hold(name, pieces=pieces(*sizes), holder=holder, **more)
    return holder


def need(
    nbytes: int, *residents: str, name: str = "work", smaller: tuple[int, ...] = (), pins: bool = False
) -> Need:
    sizes = [
        Size(shape=f"{name} {size}", nbytes=size, notice=f"only {size}" if at else "")
        for at, size in enumerate((nbytes, *smaller))
    ]
    return Need(name=name, model="m", dtype="f16", sizes=tuple(sizes), residents=residents, pins=pins)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_reserved_is_given_back() -> None:
    ledger = make_ledger(FakeDevice(100))
    async with ledger.reserve(need(70)) as reservation:
        assert reservation.size.nbytes == 70
        assert (ledger.state().free_bytes, len(ledger.state().held)) == (30, 1)
    with pytest.raises(KeyError):
        async with ledger.reserve(need(70)):
            raise KeyError("work failed")
    assert ledger.state().free_bytes == 100


async def test_evicted_weights_come_back_when_they_are_needed() -> None:
    device = FakeDevice(100, host_total=60)
    ledger = make_ledger(device, host=60)
    put(ledger, device, "chat", 60)
    async with ledger.reserve(need(80, name="paint")):
        assert device.log == [("chat", "p0", "device", "host")]
    async with ledger.reserve(need(10, "chat", name="talk")):
        assert device.log[1:] == [("chat", "p0", "host", "device")]
    assert [plan.need.name for plan in ledger.plans()] == ["paint", "talk"]
    assert device.most <= 100


async def test_a_dropped_cache_is_gone() -> None:
    device = FakeDevice(100)
    ledger = make_ledger(device)
    holder = put(ledger, device, "pictures", 60, kind="cache")
    async with ledger.reserve(need(80)):
        assert holder.places == {}
        assert ledger.state().resident("pictures").pieces == ()


async def test_speed_is_measured() -> None:
    device = FakeDevice(10 << 20, host_total=9 << 20, seconds_per_byte=1e-6)
    ledger = make_ledger(device, host=9 << 20)
    put(ledger, device, "chat", 8 << 20)
    before = ledger.state().speeds
    async with ledger.reserve(need(4 << 20)):
        pass
    async with ledger.reserve(need(1, "chat")):
        pass
    after = ledger.state().speeds
    assert after.host == pytest.approx(0.7 * before.host + 0.3 * 1e6)
    assert after.disk == before.disk


async def test_waiting_is_in_the_order_of_arrival() -> None:
    ledger = make_ledger(FakeDevice(100))
    order: list[str] = []

    async def work(name: str, done: asyncio.Event) -> None:
        async with ledger.reserve(need(60, name=name)):
            order.append(name)
            await done.wait()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for name in "abcd":
            tasks.create_task(work(name, done))
        await settle()
        assert order == ["a"]
        assert [waiting.name for waiting in ledger.waiting()] == ["b", "c", "d"]
        done.set()
    assert order == ["a", "b", "c", "d"]


async def test_small_work_passes_but_not_for_ever() -> None:
    ledger = make_ledger(FakeDevice(100))
    order: list[str] = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ledger.reserve(need(50)))
        large = asyncio.ensure_future(enter(stack, ledger, need(60, name="large"), order))
        await settle()
        for at in range(MAX_PASSED):
            async with ledger.reserve(need(10, name=f"small {at}")):
                pass
        blocked = asyncio.ensure_future(enter(stack, ledger, need(10, name="one more"), order))
        await settle()
        assert order == [] and not blocked.done()  # though it would fit
        large.cancel()
        await settle()
        assert order == ["one more"]


async def enter(stack: AsyncExitStack, ledger: Ledger, one: Need, order: list[str]) -> Reservation:
    reservation = await stack.enter_async_context(ledger.reserve(one))
    order.append(one.name)
    return reservation


async def test_nobody_passes_by_taking_something_away() -> None:
    device = FakeDevice(100, host_total=100)
    ledger = make_ledger(device, host=100)
    put(ledger, device, "chat", 30)
    async with AsyncExitStack() as stack:
        order: list[str] = []
        await stack.enter_async_context(ledger.reserve(need(50)))
        first = asyncio.ensure_future(enter(stack, ledger, need(80, name="first"), order))
        second = asyncio.ensure_future(enter(stack, ledger, need(40, name="second"), order))
        await settle()
        assert order == [] and device.log == []
        for one in (first, second):
            one.cancel()
        await settle()


async def test_cancelling_leaves_nothing_reserved() -> None:
    ledger = make_ledger(FakeDevice(100))
    async with ledger.reserve(need(60)):
        waiting = asyncio.ensure_future(ledger.reserve(need(60)).__aenter__())
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ledger.waiting() == ()
    assert ledger.state().held == ()


async def test_cancelling_when_it_was_just_let_in_leaves_nothing_reserved() -> None:
    ledger = make_ledger(FakeDevice(100))
    async with ledger.reserve(need(60)):
        waiting = asyncio.ensure_future(ledger.reserve(need(60)).__aenter__())
        await settle()
    waiting.cancel()  # it has its memory, and does not know it yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ledger.state().held == ()


async def test_cancelling_while_something_is_moved() -> None:
    """The plan is carried out to its end in the ledger's thread, and the reservation goes back."""
    device = FakeDevice(100, host_total=60)
    ledger = Ledger(device, Budget(nbytes=100, host_bytes=60))
    holder = put(ledger, device, "chat", 60)
    started, goes_on = threading.Event(), threading.Event()

    def guard(name: str) -> None:
        started.set()
        assert goes_on.wait(60)

    holder.guard = guard
    waiting = asyncio.ensure_future(ledger.reserve(need(80)).__aenter__())
    await asyncio.to_thread(started.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    goes_on.set()
    await asyncio.to_thread(ledger.close)
    assert holder.places == {"p0": "host"}
    assert ledger.state().held == ()


async def test_a_failed_move_is_told_and_others_go_on() -> None:
    device = FakeDevice(100, host_total=60)
    ledger = make_ledger(device, host=60)
    holder = put(ledger, device, "chat", 60)
    holder.fails = True
    with pytest.raises(BackendError, match="fell off the bus"):
        async with ledger.reserve(need(80)):
            pass
    state = ledger.state()
    assert (state.held, state.used_bytes) == ((), 60)
    async with ledger.reserve(need(40)):
        pass


async def test_too_large_says_what_would_fit() -> None:
    ledger = make_ledger(FakeDevice(3 << 30))
    ledger.hold("chat", pieces=pieces(1 << 30))
    with pytest.raises(CapacityError) as caught:
        async with ledger.reserve(need(5 << 29, name="painting", smaller=(9 << 28,))):
            pass
    assert str(caught.value) == (
        "painting needs 2.5 GiB on fake:0 (2.2 GiB at the least), which is 256.0 MiB more than the 2.0 GiB "
        "that can be made free; ask for less, choose a smaller model, or raise --memory-budget"
    )


async def test_less_is_done_with_a_notice() -> None:
    ledger = make_ledger(FakeDevice(100))
    async with ledger.reserve(need(120, smaller=(90, 50))) as reservation:
        assert (reservation.size.nbytes, reservation.notices) == (90, ("only 90",))
    assert ledger.notices() == ("only 90",)


async def test_an_open_voice_connection_keeps_its_weights() -> None:
    device = FakeDevice(100, host_total=100)
    ledger = make_ledger(device, host=100)
    put(ledger, device, "speech", 40)
    async with ledger.reserve(need(10, "speech", name="voice", pins=True)):
        with pytest.raises(CapacityError):
            async with ledger.reserve(need(60)):
                pass
        async with ledger.reserve(need(60, smaller=(50,))) as reservation:
            assert reservation.size.nbytes == 50
        assert device.log == []
    async with ledger.reserve(need(61)):
        assert device.log == [("speech", "p0", "device", "host")]


async def test_memory_of_others_is_waited_for_a_while() -> None:
    device, clock = FakeDevice(100, is_shared_out=True), Clock()
    ledger = make_ledger(device, clock=clock)
    device.foreign = 60
    waiting = asyncio.ensure_future(ledger.reserve(need(50, smaller=(40,))).__aenter__())
    await settle()
    assert not waiting.done() and ledger.state().foreign_bytes == 60
    device.foreign = 0
    ledger.look_again()
    assert (await waiting).size.nbytes == 50

    device.foreign = 60
    ledger2 = make_ledger(device, clock=clock)
    waiting = asyncio.ensure_future(ledger2.reserve(need(50, smaller=(40,))).__aenter__())
    await settle()
    assert not waiting.done()
    clock.now_s += PATIENCE_S
    ledger2.look_again()
    assert (await waiting).size.nbytes == 40


async def test_peaks_are_learned_from_both_sides() -> None:
    device = FakeDevice(1000)
    ledger = make_ledger(device)
    key = PeakKey(model="m", shape="work 500", dtype="f16", device="Fake")
    for real in (200, 700, *[300] * 8):
        async with ledger.reserve(need(500)):
            device.take(real)
            device.give(real)
    assert ledger.peaks.estimate(key, 500) == 315  # the highest of the last eight, and the margin
    async with ledger.reserve(need(500)):
        assert ledger.state().used_bytes == 315


async def test_only_work_that_was_alone_and_finished_teaches() -> None:
    device = FakeDevice(1000)
    ledger = make_ledger(device)
    async with ledger.reserve(need(400)):
        async with ledger.reserve(need(300)):
            device.take(100)
        device.give(100)
    with pytest.raises(KeyError):
        async with ledger.reserve(need(200)):
            raise KeyError("stopped half way")
    assert ledger.peaks.peaks() == ()
    async with ledger.reserve(need(100)) as reservation:
        device.take(70)
        reservation.leave_out(20)  # pages of a cache, which a resident counts
        device.give(70)
    assert [peak.nbytes for peak in ledger.peaks.peaks()] == [52]


async def test_what_is_wrong_is_said() -> None:
    ledger = make_ledger(FakeDevice(100))
    with pytest.raises(ConfigError, match="needs chat, which is not registered"):
        async with ledger.reserve(need(1, "chat")):
            pass
    with pytest.raises(ConfigError, match="names no size"):
        async with ledger.reserve(Need(name="n", model="m", dtype="d", sizes=())):
            pass
    async with ledger.reserve(need(100)):
        waiting = asyncio.ensure_future(ledger.reserve(need(1)).__aenter__())
        await settle()
        ledger.close()
        with pytest.raises(CancelledRequestError, match="closing"):
            await waiting
    with pytest.raises(CancelledRequestError, match="closing"):
        async with ledger.reserve(need(1)):
            pass


def test_several_event_loops_share_a_ledger() -> None:
    device = FakeDevice(100)
    ledger = make_ledger(device)
    lock = threading.Lock()
    finished: list[int] = []

    async def work(number: int) -> None:
        async with ledger.reserve(need(60)):
            with lock:
                device.take(60)  # two at a time would exceed the device
            await asyncio.sleep(0)
            with lock:
                device.give(60)
        finished.append(number)

    threads = [threading.Thread(target=lambda at=at: asyncio.run(work(at))) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(finished) == list(range(8))


# Random workloads.


@dataclass(frozen=True)
class Job:
    """Work that arrives after `pause` turns of the loop, runs for `turns` and really takes `real` bytes."""

    residents: tuple[int, ...]
    sizes: tuple[int, ...]
    real_share: float
    turns: int
    pause: int
    pins: bool
    is_cancelled: bool


@dataclass(frozen=True)
class Workload:
    granularity: int
    host_bytes: int
    spare_bytes: int
    residents: tuple[tuple[str, bool, tuple[int, ...]], ...]  # kind, is partial, sizes of pieces
    jobs: tuple[Job, ...]


@st.composite
def workloads(draw: st.DrawFn, *, max_jobs: int) -> Workload:
    residents = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["weights", "weights", "cache"]),
                st.booleans(),
                st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple),
            ),
            min_size=1,
            max_size=4,
        )
    )
    weights = [at for at, (kind, _, _) in enumerate(residents) if kind == "weights"]
    used = st.lists(st.sampled_from(weights), max_size=2, unique=True).map(tuple) if weights else st.just(())
    sizes = st.lists(st.integers(1, 50), min_size=1, max_size=3).map(
        lambda found: tuple(sorted(found, reverse=True))
    )
    job = st.builds(
        Job,
        residents=used,
        sizes=sizes,
        real_share=st.floats(0, 1),
        turns=st.integers(0, 6),
        pause=st.integers(0, 3),
        pins=st.integers(0, 9).map(lambda value: value == 0),
        is_cancelled=st.integers(0, 9).map(lambda value: value == 0),
    )
    return Workload(
        granularity=draw(st.sampled_from([1, 4, 7])),
        host_bytes=draw(st.sampled_from([0, 40, 200])),
        spare_bytes=draw(st.integers(0, 60)),
        residents=tuple(residents),
        jobs=tuple(draw(st.lists(job, min_size=1, max_size=max_jobs))),
    )


@dataclass
class Run:
    """One run of a workload, with what has to be true afterwards counted on the way."""

    load: Workload
    device: FakeDevice = field(init=False)
    ledger: Ledger = field(init=False)
    clock: Clock = field(default_factory=Clock)
    in_use: list[str] = field(default_factory=list)  # residents, once for each job that uses them
    admitted: list[int] = field(default_factory=list)
    outside: set[int] = field(
        default_factory=set
    )  # jobs that came and are not let in, or have not noticed it
    ahead: dict[int, int] = field(default_factory=dict)  # how many those were when a job came
    started: dict[int, int] = field(default_factory=dict)  # how many had been let in when it came

    def __post_init__(self) -> None:
        grain = self.load.granularity
        total = sum(-(-size // grain) * grain for _, _, sizes in self.load.residents for size in sizes)
        total += self.load.spare_bytes
        self.device = FakeDevice(total, host_total=self.load.host_bytes, granularity=grain)
        self.ledger = make_ledger(self.device, host=self.load.host_bytes, clock=self.clock)
        for at, (kind, is_partial, sizes) in enumerate(self.load.residents):
            holder = put(self.ledger, self.device, f"r{at}", *sizes, kind=kind, is_partial=is_partial)
            holder.guard = self.guard

    def guard(self, name: str) -> None:
        """What is in use, and so also what is pinned, is never touched."""
        assert name not in self.in_use

    async def all(self) -> None:
        tasks = []
        for at, job in enumerate(self.load.jobs):
            for _ in range(job.pause):
                await asyncio.sleep(0)
            self.clock.now_s += 1.0
            tasks.append(asyncio.ensure_future(self.one(at, job)))
            if job.is_cancelled:
                await asyncio.sleep(0)
                tasks[-1].cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, CapacityError | asyncio.CancelledError
            ):
                raise outcome

    async def one(self, at: int, job: Job) -> None:
        names = tuple(f"r{number}" for number in job.residents)
        self.ahead[at], self.started[at] = len(self.outside), len(self.admitted)
        self.outside.add(at)
        one = need(job.sizes[0], *names, name=f"job {at}", smaller=job.sizes[1:], pins=job.pins)
        try:
            await self.let_in(at, job, one, names)
        finally:
            self.outside.discard(at)

    async def let_in(self, at: int, job: Job, one: Need, names: tuple[str, ...]) -> None:
        async with self.ledger.reserve(one) as reservation:
            self.outside.discard(at)
            self.admitted.append(at)
            self.in_use += names
            real = int(reservation.held.nbytes * job.real_share)
            self.device.take(real)
            try:
                for _ in range(job.turns):
                    self.check_budget()
                    await asyncio.sleep(0)
            finally:
                self.device.give(real)
                for name in names:
                    self.in_use.remove(name)

    def check_budget(self) -> None:
        state = self.ledger.state()
        assert state.used_bytes <= state.budget_bytes
        assert self.device.used <= state.used_bytes  # the ledger never thinks that less is used than is

    def check_end(self) -> None:
        state = self.ledger.state()
        assert state.held == () and self.ledger.waiting() == ()
        assert state.used_bytes == self.device.used
        assert self.device.most <= self.device.total
        self.check_waiting()
        self.check_thrash()

    def check_waiting(self) -> None:
        """Nobody sees more let in before them than stood ahead, and those that may pass."""
        for place, at in enumerate(self.admitted):
            assert place - self.started[at] <= self.ahead[at] + MAX_PASSED, f"job {at} starved"

    def check_thrash(self) -> None:
        """Every eviction is paid by a piece that was there at first, or was loaded for a job that used it."""
        out = [entry for entry in self.device.log if entry[2] == "device"]
        loaded = [entry for entry in self.device.log if entry[3] == "device"]
        num_pieces = sum(len(sizes) for _, _, sizes in self.load.residents)
        num_used = sum(
            len(self.load.residents[number][2]) for job in self.load.jobs for number in job.residents
        )
        assert len(out) <= num_pieces + len(loaded)
        assert len(loaded) <= num_used


def run_workload(load: Workload) -> None:
    run = Run(load)
    asyncio.run(run.all())
    run.check_end()


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(workloads(max_jobs=12))
def test_every_workload_ends_within_the_budget(load: Workload) -> None:
    run_workload(load)


@pytest.mark.prove
@settings(derandomize=True, deadline=None, max_examples=1_500, suppress_health_check=list(HealthCheck))
@given(workloads(max_jobs=40))
def test_every_workload_ends_within_the_budget_many_times(load: Workload) -> None:
    run_workload(load)


@pytest.mark.parametrize("jobs", [300, pytest.param(5_000, marks=pytest.mark.prove)])
def test_two_models_that_exclude_each_other_swap_once_a_job_at_most(jobs: int) -> None:
    """The hardest case for thrash: chat and painting in turn, each with the whole device for itself."""
    chance = random.Random(0)
    device = FakeDevice(100, host_total=100)
    ledger = make_ledger(device, host=100)
    put(ledger, device, "chat", 70)
    put_later = FakeHolder(device, "paint", (Piece(name="p0", nbytes=80, place="host"),))
    ledger.hold("paint", pieces=(Piece(name="p0", nbytes=80, place="host"),), holder=put_later)

    async def work() -> None:
        for _ in range(jobs):
            async with ledger.reserve(need(10, chance.choice(["chat", "paint"]))):
                pass

    asyncio.run(work())
    assert len([entry for entry in device.log if entry[2] == "device"]) <= jobs
    assert device.most <= 100
