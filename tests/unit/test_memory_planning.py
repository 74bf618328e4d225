"""Plans of the memory ledger: one example of each rule, then all rules over random states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localgpt.compute.memory import (
    Held,
    Need,
    Piece,
    Plan,
    Resident,
    Shape,
    Size,
    State,
    TooLarge,
    Wait,
    make_plan,
    smaller_sizes,
)
from localgpt.compute.memory.planning import Step
from localgpt.compute.memory.state import Kind, Place


def weights(name: str, *sizes: int, place: Place = "device", used_s: float = 0.0, **more: bool) -> Resident:
    pieces = tuple(Piece(name=f"{name}{at}", nbytes=size, place=place) for at, size in enumerate(sizes))
    return Resident(name=name, kind="weights", pieces=pieces, last_used_s=used_s, **more)


def cache(name: str, nbytes: int, *, remake_s: float = 1.0) -> Resident:
    return Resident(name=name, kind="cache", pieces=(Piece(name=name, nbytes=nbytes),), remake_s=remake_s)


def need(nbytes: int, *residents: str, smaller: tuple[int, ...] = (), pins: bool = False) -> Need:
    sizes = [
        Size(shape=str(size), nbytes=size, notice="less" if at else "")
        for at, size in enumerate((nbytes, *smaller))
    ]
    return Need(name="work", model="m", dtype="f16", sizes=tuple(sizes), residents=residents, pins=pins)


def held(one: Need, *, id: int = 1) -> Held:
    return Held(id=id, need=one, size=one.sizes[0], nbytes=one.sizes[0].nbytes)


def planned(state: State, one: Need) -> Plan:
    plan = make_plan(state, one)
    assert isinstance(plan, Plan), plan
    return plan


def moves(plan: Plan) -> list[tuple[str, Place]]:
    return [(step.piece, step.target) for step in plan.steps]


def test_nothing_moves_while_there_is_room() -> None:
    state = State(budget_bytes=100, residents=(weights("a", 40), cache("c", 20)))
    plan = planned(state, need(40, "a"))
    assert (plan.steps, plan.reserved_bytes, plan.size.nbytes) == ((), 40, 40)


def test_stages_are_used_in_order() -> None:
    """Caches first; then weights to the host; what the host cannot hold to disk."""
    residents = (weights("a", 30), weights("b", 30), cache("c", 20), weights("mine", 10, place="disk"))
    state = State(budget_bytes=90, host_budget_bytes=30, residents=residents)
    assert moves(planned(state, need(15, "mine"))) == [("c", "disk"), ("mine0", "device")]
    assert moves(planned(state, need(25, "mine"))) == [("c", "disk"), ("a0", "host"), ("mine0", "device")]
    assert moves(planned(state, need(75, "mine"))) == [
        ("c", "disk"),
        ("a0", "host"),
        ("b0", "disk"),
        ("mine0", "device"),
    ]
    assert [step.is_drop for step in planned(state, need(75, "mine")).steps] == [True, False, False, False]


def test_what_is_cheapest_to_bring_back_goes_first() -> None:
    state = State(budget_bytes=100, host_budget_bytes=99, now_s=600.0)
    small, large = weights("small", 30, used_s=600.0), weights("large", 50, used_s=600.0)
    assert moves(planned(replace(state, residents=(large, small)), need(30)))[0] == ("small0", "host")
    idle = replace(large, last_used_s=0.0)  # ten minutes: it counts an eleventh
    assert moves(planned(replace(state, residents=(idle, small)), need(30)))[0] == ("large0", "host")


def test_what_turns_out_not_to_be_needed_stays() -> None:
    residents = (weights("a", 10), weights("b", 20), weights("c", 70))
    state = State(budget_bytes=100, residents=residents, host_budget_bytes=100)
    assert moves(planned(state, need(70))) == [("c0", "host")]


def test_the_host_makes_room_for_what_is_dearer() -> None:
    hot, cold = weights("hot", 60, used_s=600.0), weights("cold", 30, place="host")
    state = State(budget_bytes=60, host_budget_bytes=80, now_s=600.0, residents=(hot, cold))
    assert moves(planned(state, need(10))) == [("cold0", "disk"), ("hot0", "host")]


def test_work_waits_for_others_before_it_is_made_smaller() -> None:
    state = State(budget_bytes=100, held=(held(need(60)),))
    assert make_plan(state, need(80, smaller=(40,))) == Wait(size=need(80).sizes[0], missing_bytes=40)


def test_work_is_made_smaller_before_it_fails() -> None:
    state = State(budget_bytes=100, residents=(weights("fixed", 30, is_fixed=True),))
    plan = planned(state, need(120, smaller=(90, 70, 20)))
    assert (plan.size.nbytes, plan.size.notice) == (70, "less")


def test_failing_says_by_how_much() -> None:
    state = State(budget_bytes=100, residents=(weights("fixed", 30, is_fixed=True), weights("a", 20)))
    plan = make_plan(state, need(90, "a", smaller=(80,)))
    assert plan == TooLarge(wanted_bytes=110, least_bytes=100, room_bytes=70, short_bytes=30)
    assert isinstance(make_plan(state, need(50, "a")), Plan)  # exactly what was said to fit


def test_pinned_weights_stay_and_are_not_waited_for() -> None:
    voice = held(need(10, "speech", pins=True))
    state = State(budget_bytes=100, host_budget_bytes=100, residents=(weights("speech", 40),), held=(voice,))
    assert make_plan(state, need(60)) == TooLarge(
        wanted_bytes=60, least_bytes=60, room_bytes=50, short_bytes=10
    )
    assert planned(state, need(60, smaller=(50,))).size.nbytes == 50
    unpinned = replace(state, held=(held(need(10, "speech")),))
    assert isinstance(make_plan(unpinned, need(60)), Wait)


def test_a_large_denoiser_keeps_what_fits_and_streams_the_rest() -> None:
    denoiser = weights("unet", 20, *[10] * 6, place="host", is_partial=True)
    state = State(budget_bytes=85, host_budget_bytes=100, residents=(denoiser,))
    plan = planned(state, need(20, "unet", smaller=(5,)))
    assert plan.size.nbytes == 20  # offloading changes nothing in the picture; a smaller one would
    (partial,) = plan.partial
    assert (partial.staying, partial.streamed) == (("unet0",), tuple(f"unet{at}" for at in range(1, 7)))
    assert plan.reserved_bytes == 20 + 2 * 20  # two buffers of the largest block
    assert moves(plan) == [("unet0", "device")]
    assert moves(planned(replace(state, budget_bytes=60), need(20, "unet"))) == []
    assert isinstance(make_plan(replace(state, budget_bytes=59), need(20, "unet")), TooLarge)
    assert planned(replace(state, budget_bytes=100), need(20, "unet")).partial == ()  # whole


def test_what_several_use_counts_once() -> None:
    one = need(20, "chat", "fixed")
    residents = (weights("chat", 40), weights("fixed", 20, is_fixed=True))
    assert isinstance(make_plan(State(budget_bytes=100, residents=residents, held=(held(one),)), one), Plan)
    voice = replace(one, pins=True)
    assert isinstance(
        make_plan(State(budget_bytes=100, residents=residents, held=(held(voice),)), voice), Plan
    )


def test_an_open_connection_does_not_stream() -> None:
    denoiser = weights("unet", *[10] * 10, place="host", is_partial=True)
    state = State(budget_bytes=80, host_budget_bytes=100, residents=(denoiser,))
    assert planned(state, need(10, "unet")).partial
    assert isinstance(make_plan(state, need(10, "unet", pins=True)), TooLarge)


def test_a_denoiser_gives_only_the_blocks_that_are_needed() -> None:
    denoiser = weights("unet", 10, 10, 10, 10, is_partial=True)
    state = State(budget_bytes=50, host_budget_bytes=100, residents=(denoiser,))
    assert moves(planned(state, need(25))) == [("unet0", "host"), ("unet1", "host")]


def test_blocks_in_use_are_not_rearranged() -> None:
    denoiser = weights("unet", 20, 20, 20, place="host", is_partial=True)
    state = State(budget_bytes=70, host_budget_bytes=100, residents=(denoiser,))
    first = need(5, "unet")
    under_way = Held(id=1, need=first, size=first.sizes[0], nbytes=45)
    assert isinstance(make_plan(replace(state, held=(under_way,)), first), Wait)


def test_memory_of_other_programs_is_waited_for_or_not() -> None:
    state = State(budget_bytes=100, foreign_bytes=50)
    assert isinstance(make_plan(state, need(60)), Wait)
    assert make_plan(state, need(60), waits_for_others=False) == TooLarge(
        wanted_bytes=60, least_bytes=60, room_bytes=50, short_bytes=10
    )


def test_allocations_count_in_whole_grains() -> None:
    state = State(budget_bytes=64, granularity=16, residents=(weights("a", 1, 1, is_fixed=True),))
    assert state.used_bytes == 32
    assert isinstance(make_plan(state, need(32)), Plan)
    assert isinstance(make_plan(state, need(33)), TooLarge)


def test_sizes_shrink_context_then_batch_then_resolution() -> None:
    wanted = Shape(context_len=2048, batch=3, resolution_px=1024)
    sizes = smaller_sizes(wanted, lambda shape: shape.context_len * shape.batch * shape.resolution_px)
    assert [size.shape for size in sizes] == [
        "2048 tokens 1024 px x3",
        "1024 tokens 1024 px x3",
        "512 tokens 1024 px x3",
        "512 tokens 1024 px x1",
        "512 tokens 768 px x1",
        "512 tokens 512 px x1",
    ]
    assert [size.nbytes for size in sizes] == sorted((size.nbytes for size in sizes), reverse=True)
    assert sizes[0].notice == ""
    assert sizes[-1].notice == (
        "Memory is short: the context is 512 tokens instead of 2,048, 1 at once instead of 3, "
        "512 px instead of 1024."
    )


# Every rule over random states.

sizes_ = st.integers(0, 60)


@st.composite
def residents_(draw: st.DrawFn) -> Resident:
    kind: Kind = draw(st.sampled_from(["weights", "weights", "cache"]))
    places: list[Place] = ["device"] if kind == "cache" else ["device", "host", "disk"]
    is_partial = kind == "weights" and draw(st.booleans())
    numbers = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5 if is_partial else 2))
    place = draw(st.sampled_from(places))
    pieces = tuple(
        Piece(name=f"p{at}", nbytes=nbytes, place=draw(st.sampled_from(places)) if is_partial else place)
        for at, nbytes in enumerate(numbers)
    )
    return Resident(
        name="",
        kind=kind,
        pieces=pieces,
        last_used_s=draw(st.floats(0, 1000)),
        remake_s=draw(st.floats(0, 1e-6)),
        is_fixed=place == "device" and draw(st.integers(0, 4)) == 0,
        is_partial=is_partial,
    )


@st.composite
def needs_(draw: st.DrawFn, names: list[str]) -> Need:
    least = draw(sizes_)
    smaller = sorted((draw(st.lists(st.integers(0, least), max_size=2))), reverse=True)
    used = draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if names else []
    return need(least, *used, smaller=tuple(smaller), pins=draw(st.integers(0, 3)) == 0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[State, Need]:
    """A state that keeps its budgets, and a need."""
    found = draw(st.lists(residents_(), max_size=5))
    named = tuple(replace(one, name=f"r{at}") for at, one in enumerate(found))
    names = [one.name for one in named]
    there = [one.name for one in named if all(piece.place == "device" for piece in one.pieces)]
    working = tuple(held(draw(needs_(there)), id=at) for at in range(draw(st.integers(0, 2))))
    state = State(
        budget_bytes=0,
        granularity=draw(st.sampled_from([1, 4, 7])),
        now_s=1000.0,
        residents=named,
        held=working,
    )
    state = replace(
        state,
        budget_bytes=state.used_bytes + draw(sizes_),
        host_budget_bytes=state.bytes_in("host") + draw(sizes_)
        if draw(st.booleans())
        else state.bytes_in("host"),
    )
    return state, draw(needs_(names))


def applied(state: State, step: Step) -> State:
    """The state after a step, while both places are still taken, is checked by the caller."""
    resident = state.resident(step.resident)
    pieces = tuple(
        replace(piece, place=step.target) if piece.name == step.piece else piece
        for piece in resident.pieces
        if not (step.is_drop and piece.name == step.piece)
    )
    changed = replace(resident, pieces=pieces)
    return replace(state, residents=tuple(changed if one is resident else one for one in state.residents))


def check_plan(state: State, one: Need, plan: Plan) -> None:
    locked = {name for work in state.held for name in work.need.residents}
    locked |= {resident.name for resident in state.residents if resident.is_fixed}
    now = state
    for step in plan.steps:
        assert step.resident not in locked or step.target == "device"
        assert any(
            piece.place == step.source and piece.name == step.piece
            for piece in now.resident(step.resident).pieces
        )
        now = applied(now, step)
        assert now.used_bytes <= state.budget_bytes
        assert now.bytes_in("host") <= state.host_budget_bytes
    final = replace(now, held=(*now.held, Held(id=99, need=one, size=plan.size, nbytes=plan.reserved_bytes)))
    assert final.used_bytes <= state.budget_bytes
    streamed = {partial.resident: set(partial.streamed) for partial in plan.partial}
    for name in one.residents:
        for piece in final.resident(name).pieces:
            assert (piece.place == "device") == (piece.name not in streamed.get(name, set()))
    check_stages(state, one, plan, final)


def check_stages(state: State, one: Need, plan: Plan, final: State) -> None:
    """Weights leave only when no cache is left that could; and nothing leaves that could have stayed."""
    out = [step for step in plan.steps if step.source == "device" and step.resident not in one.residents]
    locked = {name for work in state.held for name in work.need.residents} | set(one.residents)
    if any(not step.is_drop for step in out):
        assert not [
            resident.name
            for resident in final.residents
            if resident.kind == "cache"
            and resident.pieces
            and resident.name not in locked
            and not resident.is_fixed
        ]
    last = [step for step in out if step.is_drop == all(other.is_drop for other in out)]
    spare = state.budget_bytes - final.used_bytes
    groups: dict[tuple[str, str], int] = {}
    for step in last:
        whole = "" if not state.resident(step.resident).is_partial else step.piece
        key = (step.resident, whole)
        groups[key] = groups.get(key, 0) + state.charge(step.nbytes)
    assert not [key for key, nbytes in groups.items() if nbytes <= spare]


def check_case(state: State, one: Need) -> None:
    plan = make_plan(state, one)
    if isinstance(plan, Plan):
        check_plan(state, one, plan)
        return
    alone = replace(state, held=tuple(work for work in state.held if work.need.pins))
    if isinstance(plan, Wait):  # it does fit, once others are done, and at the size that was named
        later = make_plan(alone, one)
        assert isinstance(later, Plan) and later.size == plan.size
        assert len(alone.held) < len(state.held)
        return
    assert plan.short_bytes > 0
    assert isinstance(make_plan(alone, one), TooLarge)  # nobody's end would have helped
    wider = replace(alone, budget_bytes=alone.budget_bytes + plan.short_bytes)
    assert isinstance(make_plan(wider, one), Plan)  # and so much more would
    narrower = replace(alone, budget_bytes=alone.budget_bytes + plan.short_bytes - 1)
    assert isinstance(make_plan(narrower, one), TooLarge)


@settings(derandomize=True, deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(cases())
def test_every_rule_holds(case: tuple[State, Need]) -> None:
    check_case(*case)


@pytest.mark.prove
@settings(derandomize=True, deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(cases())
def test_every_rule_holds_many_times(case: tuple[State, Need]) -> None:
    check_case(*case)
