"""The embedded family in the ledger: what it registers, what its work reserves, and what a budget changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localgpt.compute.memory import Piece
from localgpt.errors import CapacityError
from localgpt.runtime.holdings import Holdings, MemoryOptions
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    AskRequest,
    ChatRequest,
    EmbedRequest,
    ImagePart,
    MemoryStatus,
    Message,
    SamplingOptions,
    TextDelta,
    TextPart,
)
from localgpt.units import MIB
from tests import tiny
from tests.memory_fakes import FakeDevice

SHORT = SamplingOptions(temperature=0.0, max_tokens=4)


def chat(text: str = "Hello") -> ChatRequest:
    return ChatRequest(id="1", messages=(Message.of("user", text),), options=SHORT)


def ask(photo: bytes) -> AskRequest:
    return AskRequest(id="2", image=ImagePart(data=photo), question="What?", options=SHORT)


async def memory_of(service: LocalService) -> MemoryStatus:
    memory = (await service.status()).memory
    assert memory is not None
    return memory


def sizes(memory: MemoryStatus) -> dict[str, int]:
    return {resident.name: resident.nbytes for resident in memory.residents}


async def test_what_is_held_is_what_there_is() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=3)
    memory = await memory_of(service)
    held = sizes(memory)
    status = await service.status()
    assert held["decoder"] + held["encoder"] + held["projector"] == status.models[0].weight_bytes
    assert (
        held["key/value cache"] == 2 * 3 * 128 * 32 * 2 * 4
    )  # layers, slots, positions, width, k and v, float32
    assert all(resident.pinned and resident.place == "device" for resident in memory.residents)
    assert (memory.device, memory.reservations, memory.waiting, memory.notices) == ("cpu", (), (), ())
    assert memory.used_bytes <= memory.budget_bytes <= memory.total_bytes + memory.used_bytes
    await service.close()


async def test_answers_reserve_while_they_are_made() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=2)
    async with aclosing(service.stream(chat())) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, TextDelta):
                (reservation,) = (await memory_of(service)).reservations
                assert (reservation.name, reservation.shape) == ("an answer", "answer to 64 tokens")
                break
    assert (await memory_of(service)).reservations == ()
    await service.run(chat("Hello " * 20))
    peaks = (await memory_of(service)).peaks
    assert [peak.shape for peak in peaks] == ["answer to 128 tokens"]  # the other was not finished
    await service.close()


async def test_pictures_are_remembered_until_the_room_is_needed() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=1)
    ledger = service._holdings.ledger
    answer = await service.run(ask(tiny.make_photo()))
    pictures = {one.name: one for one in (await memory_of(service)).residents}["remembered pictures"]
    read = (16 * 32 + 16) * 4  # tokens, and the vector that descriptions are compared with
    assert pictures.kind == "cache" and not pictures.pinned and pictures.nbytes == read
    await service.run(ask(tiny.make_photo((0, 200, 0))))
    assert sizes(await memory_of(service))["remembered pictures"] == 2 * read
    await service.run(
        EmbedRequest(id="3", inputs=(TextPart(text="a dog"), ImagePart(data=tiny.make_photo())))
    )

    ledger.hold("somebody else", pieces=(Piece(name="all", nbytes=ledger.state().free_bytes - 2 * MIB),))
    assert await service.run(ask(tiny.make_photo())) == answer  # remembered, and nothing had to go
    state = ledger.state()
    room = (state.free_bytes // state.granularity + 1) * state.granularity
    one = replace(service._holdings._need("a test", "test", room))
    async with ledger.reserve(one):
        assert sizes(await memory_of(service))["remembered pictures"] == 0
        assert service._pictures is not None and service._pictures.cache.num_pictures == 0
    ledger.let_go("somebody else")
    assert await service.run(ask(tiny.make_photo())) == answer
    await service.close()


def holdings(budget_mib: int | None, *, total: int = 1 << 30, max_batch_size: int = 4) -> Holdings:
    return Holdings(
        tiny.make_family(),
        max_batch_size=max_batch_size,
        options=MemoryOptions(budget_mib=budget_mib),
        device=FakeDevice(total),
    )


def large_family(context_len: int) -> Any:
    """A slot of 2 MiB for 4096 positions, and 34.5 MiB of work in it."""
    family = tiny.make_family(sees=False)
    config = replace(tiny.DECODER, context_len=context_len)
    family.decoder = tiny.make_decoder(config=config)
    return family


@pytest.mark.parametrize(("budget_mib", "num_slots"), [(200, 4), (150, 4), (149, 3), (113, 3), (64, 1)])
def test_the_batch_is_cut_to_the_budget(budget_mib: int, num_slots: int) -> None:
    made = Holdings(
        large_family(4096),
        max_batch_size=4,
        options=MemoryOptions(budget_mib=budget_mib),
        device=FakeDevice(1 << 30),
    )
    assert made.num_slots == num_slots
    if num_slots == 4:
        assert made.notices == []
        return
    (notice,) = made.notices
    assert notice == (
        f"memory for {num_slots} answers at once instead of 4: "
        f"each takes 36.5 MiB of a budget of {budget_mib}.0 MiB"
    )


async def test_a_smaller_batch_is_what_is_served() -> None:
    service = LocalService(large_family(4096), max_batch_size=4, memory=MemoryOptions(budget_mib=120))
    status = await service.status()
    assert status.max_batch_size == 3 and status.notices[0].startswith("memory for 3 answers at once")
    results = await asyncio.gather(*(service.run(chat()) for _ in range(5)))
    assert len({result.text for result in results}) == 1  # type: ignore[union-attr]
    await service.close()


def test_a_budget_that_is_too_small_says_what_would_do() -> None:
    with pytest.raises(CapacityError) as caught:
        holdings(1)
    message = str(caught.value)
    assert message.startswith("the memory budget is 1.0 MiB, and the models need ")
    least = int(message.rpartition("--memory-budget to ")[2].split()[0])
    assert holdings(least).num_slots >= 1
    with pytest.raises(CapacityError):
        holdings(least - 1)


def test_without_a_budget_a_full_machine_is_warned_of() -> None:
    assert holdings(None).notices == []
    made = holdings(None, total=256 * MIB)  # all of it would be the reserve
    assert made.num_slots == 1 and "close other programs" in made.notices[0]


async def test_peaks_are_kept_in_the_file(tmp_path: Path) -> None:
    options = MemoryOptions(peaks_file=tmp_path / "memory-peaks.json")
    service = LocalService(tiny.make_family(), memory=options)
    service._holdings.ledger.device = MeasuredDevice([5 * MIB])  # type: ignore[assignment]
    await service.run(chat())
    touched = service._runner.touched_bytes  # pages of the cache, which is counted as a whole
    await service.close()
    again = LocalService(tiny.make_family(), memory=options)
    again._holdings.ledger.device = MeasuredDevice([])  # type: ignore[assignment]
    (peak,) = (await memory_of(again)).peaks
    assert (peak.model, peak.shape, peak.nbytes) == (
        "local/tiny",
        "answer to 64 tokens",
        int((5 * MIB - touched) * 1.05),
    )
    await again.close()


class MeasuredDevice(FakeDevice):
    """Says what it is told to have measured."""

    def __init__(self, measured: Sequence[int]) -> None:
        super().__init__(1 << 40)
        self.measured = list(measured)

    def measure(self) -> Any:
        device, nbytes = self, self.measured.pop(0)

        class Meter:
            def peak(self) -> Any:
                from localgpt.compute.memory import Measured

                assert device.total
                return Measured(nbytes=nbytes)

        return Meter()


async def test_answers_do_not_change_with_the_budget() -> None:
    """Parity: with little memory, and with all of it."""
    request = chat("What is the capital of France?")
    wide = LocalService(tiny.make_family())
    least = LocalService(tiny.make_family(), memory=MemoryOptions(budget_mib=10))
    assert await wide.run(request) == await least.run(request)
    await wide.close()
    await least.close()
