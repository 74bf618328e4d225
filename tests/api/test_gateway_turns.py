"""Whose turn it is: the queue alone, on a clock of the test."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgpt.errors import CapacityError, RateLimitError
from localgpt.server.turns import Limits, Place, Turns


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Table:
    limits: dict[str, Limits] = field(default_factory=dict)

    def limits_of(self, owner: str) -> Limits:
        return self.limits.get(owner, Limits())


def make(
    *, num_slots: int = 1, max_waiting: int = 100, clock: Clock | None = None, **limits: Limits
) -> Turns:
    return Turns(num_slots=num_slots, max_waiting=max_waiting, limits=Table(limits), clock=clock or Clock())


def is_running(place: Place) -> bool:
    return place.started_at is not None


def test_slots_are_given_at_once_and_then_in_order() -> None:
    turns = make(num_slots=2)
    first, second, third = (turns.enter("a") for _ in range(3))
    assert [is_running(place) for place in (first, second, third)] == [True, True, False]
    assert (turns.num_running, turns.num_waiting) == (2, 1)
    turns.leave(second)
    assert is_running(third)
    turns.leave(first)
    turns.leave(third)
    assert (turns.num_running, turns.num_waiting, turns.idle.is_set()) == (0, 0, True)


def test_work_elsewhere_takes_no_slot_but_is_the_owners() -> None:
    turns = Turns(num_slots=1, num_elsewhere=2, max_waiting=0, limits=Table({"a": Limits(max_parallel=3)}))
    away = [turns.enter("a", is_elsewhere=True) for _ in range(2)]
    assert all(place.settled.is_set() for place in away) and turns.num_elsewhere == 2
    here = turns.enter("a")
    assert is_running(here) and turns.num_running == 1
    with pytest.raises(RateLimitError, match="3 requests of this key"):
        turns.enter("a", is_elsewhere=True)
    with pytest.raises(CapacityError, match="at work on 2 requests"):
        turns.enter("b", is_elsewhere=True)
    turns.leave(here)
    assert not turns.idle.is_set()
    for place in away:
        turns.leave(place)
    assert turns.idle.is_set() and turns.num_elsewhere == 0


def test_owners_take_turns_however_many_requests_one_has() -> None:
    turns = make()
    running = turns.enter("flood")
    waiting = [turns.enter("flood") for _ in range(20)] + [turns.enter("one"), turns.enter("two")]
    order = []
    while waiting:
        turns.leave(running)
        (running,) = [place for place in waiting if is_running(place)]
        waiting.remove(running)
        order.append(running.owner)
    assert order[:4] == ["flood", "one", "two", "flood"]
    turns.leave(running)
    assert turns.idle.is_set()


def test_a_free_slot_goes_to_whom_fewest_run() -> None:
    turns = make(num_slots=3)
    flood = [turns.enter("flood") for _ in range(6)]
    late = [turns.enter("late") for _ in range(2)]
    turns.leave(flood[0])  # flood has two running, one waited longer
    assert is_running(late[0]) or is_running(flood[3])
    turns.leave(flood[1])
    assert is_running(late[0])


def test_a_place_in_the_queue_can_be_left() -> None:
    turns = make()
    running, waiting, last = turns.enter("a"), turns.enter("b"), turns.enter("c")
    turns.leave(waiting)
    turns.leave(running)
    assert is_running(last) and not is_running(waiting) and turns.num_waiting == 0


def test_a_full_queue_says_when_to_come_back() -> None:
    clock = Clock()
    turns = make(max_waiting=1, clock=clock)
    running = turns.enter("a")
    turns.enter("a")
    with pytest.raises(CapacityError) as full:
        turns.enter("a")
    assert not isinstance(full.value, RateLimitError)
    guess = full.value.retry_after_s
    clock.now = 30.0  # requests turn out to take longer than was guessed
    turns.leave(running)
    turns.enter("a")
    with pytest.raises(CapacityError) as full:
        turns.enter("a")
    assert guess is not None and full.value.retry_after_s is not None and full.value.retry_after_s > guess


def test_no_queue_at_all() -> None:
    turns = make(max_waiting=0)
    running = turns.enter("a")
    with pytest.raises(CapacityError):
        turns.enter("b")
    turns.leave(running)
    assert is_running(turns.enter("b"))


async def test_a_flood_makes_room_for_others() -> None:
    turns = make(max_waiting=4)
    turns.enter("flood")
    flood = [turns.enter("flood") for _ in range(4)]
    other = turns.enter("other")  # takes the place of the flood's newest
    assert [place.refusal is not None for place in flood] == [False, False, False, True]
    with pytest.raises(CapacityError):
        await flood[3].turn()
    turns.leave(flood[3])
    turns.enter("other")
    with pytest.raises(CapacityError):  # two each now: nobody gives way
        turns.enter("other")
    turns.leave(other)
    assert turns.num_waiting == 3


def test_parallel_limit_of_an_owner() -> None:
    turns = make(num_slots=2, small=Limits(max_parallel=3))
    places = [turns.enter("small") for _ in range(3)]
    with pytest.raises(RateLimitError, match="3 requests of this key"):
        turns.enter("small")
    turns.enter("other")
    turns.leave(places[2])  # it waited
    turns.enter("small")


def test_minute_limit_of_an_owner() -> None:
    clock = Clock()
    turns = make(num_slots=9, clock=clock, small=Limits(requests_per_minute=2))
    for now in (0.0, 20.0):
        clock.now = now
        turns.leave(turns.enter("small"))
    clock.now = 45.0
    with pytest.raises(RateLimitError) as refused:
        turns.enter("small")
    assert refused.value.retry_after_s == 15.0
    turns.leave(turns.enter("other"))
    clock.now = 60.0
    turns.leave(turns.enter("small"))
    with pytest.raises(RateLimitError):
        turns.enter("small")


def test_closed_turns_let_nobody_in() -> None:
    turns = make()
    running, waiting = turns.enter("a"), turns.enter("a")
    turns.is_closed = True
    with pytest.raises(CapacityError, match="stopping"):
        turns.enter("a")
    turns.leave(running)
    assert is_running(waiting)  # who was let in is served


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 4),
    st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 11)), max_size=60),
)
def test_nothing_is_lost_whatever_happens(num_slots: int, max_waiting: int, steps: list[str | int]) -> None:
    """Letters enter, numbers leave: slots are never idle while somebody waits, and all come free."""
    turns = make(num_slots=num_slots, max_waiting=max_waiting, b=Limits(max_parallel=2))
    places: list[Place] = []
    for step in steps:
        if isinstance(step, str):
            try:
                places.append(turns.enter(step))
            except CapacityError:
                continue
        elif step < len(places):
            turns.leave(places.pop(step))
        held = [place for place in places if place.refusal is None]
        assert turns.num_running == sum(map(is_running, held)) <= num_slots
        assert turns.num_waiting == len(held) - turns.num_running <= max_waiting
        assert turns.num_waiting == 0 or turns.num_running == num_slots
    for place in places:
        turns.leave(place)
    assert turns.num_running == turns.num_waiting == 0 and turns.idle.is_set()
