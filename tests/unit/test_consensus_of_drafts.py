"""Which of several drafts is told: agreement of texts, likeness, seeds, and what a failure does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localgpt.engine.sequence import Sequence
from localgpt.errors import DeadlineError, LocalGPTError
from localgpt.runtime import drafting
from localgpt.runtime.drafting import NUM_DRAFTS, draft_options
from localgpt.runtime.local import LocalService
from localgpt.sampling.consensus import agreement, most_agreed
from localgpt.tasks import (
    ChatRequest,
    ChatResult,
    DescribeRequest,
    Finished,
    ImagePart,
    Message,
    SamplingOptions,
)
from tests import tiny


def test_agreement_is_one_for_the_same_words_and_falls_with_each_other_word() -> None:
    told = "a dog runs on the grass"
    assert agreement(told, "A dog runs on the grass.") == pytest.approx(1.0)
    near, far = agreement(told, "a dog runs on the beach"), agreement(told, "a cat sits on a chair")
    assert 1.0 > near > far > 0.0
    assert agreement(told, "") == 0.0
    assert agreement("一只狗在跑", "一只狗在草地上跑") > agreement("一只狗在跑", "两个人坐着")


def test_a_repeated_word_gains_nothing() -> None:
    assert agreement("dog dog dog dog", "a dog runs") < agreement("a dog sits", "a dog runs")


def test_the_draft_that_the_others_share_most_with_is_taken() -> None:
    drafts = [
        "a man rides a horse",
        "a dog runs on grass",
        "two dogs run on grass",
        "a dog runs on the grass",
    ]
    assert most_agreed(drafts) in (1, 3)
    assert most_agreed(["same", "same"]) == 0
    assert most_agreed(["alone"]) == 0


def test_likeness_decides_where_drafts_agree_on_what_is_not_there() -> None:
    drafts = ["a dog runs", "a dog runs", "a cat runs"]
    assert most_agreed(drafts, [0.1, 0.1, 0.1]) == 0
    assert most_agreed(drafts, [0.0, 0.0, 0.9]) == 2


def test_seeds_are_fixed_at_temperature_zero_and_follow_the_requests_otherwise() -> None:
    greedy = draft_options(SamplingOptions(temperature=0.0))
    assert [options.seed for options in greedy] == list(range(NUM_DRAFTS))
    assert [options.temperature for options in greedy] == [0.5] * 12 + [0.7] * 12
    seeded = draft_options(SamplingOptions(temperature=0.9, seed=7))
    assert [options.seed for options in seeded] == list(range(7, 7 + NUM_DRAFTS))
    assert {options.temperature for options in seeded} == {0.9}
    hot = draft_options(SamplingOptions(temperature=1.2, seed=7))
    assert {options.temperature for options in hot} == {1.2}
    fresh = draft_options(SamplingOptions(temperature=0.3))
    assert [options.seed for options in fresh] == [None] * NUM_DRAFTS  # each is drawn anew


def _request(**options: Any) -> DescribeRequest:
    sampling = SamplingOptions(temperature=0, max_tokens=8, **options)
    image = ImagePart(data=tiny.make_photo(), media_type="image/png")
    return DescribeRequest(id="1", image=image, language="en", options=sampling)


async def test_what_is_told_is_one_of_the_drafts_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []
    make_drafts = drafting.make_drafts

    async def watched(*args: Any, **kwargs: Any) -> list[drafting.Draft]:
        drafts = await make_drafts(*args, **kwargs)
        made.append([draft.writer.text for draft in drafts])
        return drafts

    monkeypatch.setattr("localgpt.runtime.local.make_drafts", watched)
    service = LocalService(tiny.make_family())
    events = [event async for event in service.stream(_request())]
    again = await service.run(_request())
    await service.close()
    last = events[-1]
    assert isinstance(last, Finished)
    assert made[0] == made[1]
    assert len(set(made[0])) > 4
    assert last.result.text == again.text
    assert again.text in made[0]
    assert "".join(getattr(event, "text", "") for event in events[:-1]) == again.text


async def test_a_draft_that_fails_fails_the_description_with_its_own_words() -> None:
    class Broken:
        num_slots = 4

        def __init__(self) -> None:
            self.num = 0

        async def generate(self, request: Any, *, deadline: float | None) -> Any:
            self.num += 1
            if self.num == 3:
                raise DeadlineError("too late")
            await asyncio.sleep(0)
            return
            yield

    from localgpt.engine.sequence import GenerationRequest

    generation = GenerationRequest(token_ids=[1], options=SamplingOptions(), max_tokens=4)
    with pytest.raises(LocalGPTError, match="too late"):
        await drafting.make_drafts(Broken(), generation, lambda: None)  # type: ignore[arg-type, return-value]


async def test_a_chat_that_comes_meanwhile_does_not_wait_behind_all_drafts() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=2)
    scheduler = service._engine._engine.scheduler
    add, loop, drafts_are_made = scheduler.add, asyncio.get_running_loop(), asyncio.Event()
    is_draft: list[bool] = []
    num_waiting: list[int] = []

    def watched(sequence: Sequence) -> None:
        is_draft.append(sequence.request.image_tokens is not None)
        add(sequence)
        num_waiting.append(scheduler.num_waiting)
        if len(is_draft) == 3:  # the first one, which is alone, and one for each slot
            loop.call_soon_threadsafe(drafts_are_made.set)

    scheduler.add = watched  # type: ignore[method-assign]
    describing = asyncio.create_task(service.run(_request()))
    await drafts_are_made.wait()
    options = SamplingOptions(max_tokens=1)
    await service.run(ChatRequest(id="2", messages=(Message.of("user", "Hi"),), options=options))
    await describing
    await service.close()
    assert sorted(is_draft) == [False] + [True] * NUM_DRAFTS
    assert is_draft.index(False) < NUM_DRAFTS
    assert max(num_waiting) <= 2 + 1  # one for each slot, and the chat


async def test_what_the_first_draft_read_is_not_told_as_known_before() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=2)
    first = await service.run(_request())
    await service.close()
    assert isinstance(first, ChatResult)
    assert first.usage.cached_tokens == 0


async def test_a_picture_is_decoded_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    service = LocalService(tiny.make_family())
    assert service._pictures is not None
    work: list[str] = []
    for name in ("read_pixels", "read"):
        real = getattr(service._pictures, name)

        def counted(*args: Any, name: str = name, real: Any = real) -> Any:
            work.append(name)
            return real(*args)

        monkeypatch.setattr(service._pictures, name, counted)
    await service.run(_request())
    await service.close()
    assert work == ["read_pixels", "read"]


async def test_no_memory_is_held_while_the_look_at_the_picture_waits_for_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = LocalService(tiny.make_family())
    held: list[int] = []
    best_of = LocalService._best_of

    async def watched(self: LocalService, *args: Any) -> drafting.Draft:
        held.append(len(self.ledger.state().held))
        return await best_of(self, *args)

    monkeypatch.setattr(LocalService, "_best_of", watched)
    await service.run(_request())
    await service.close()
    assert held == [0]
