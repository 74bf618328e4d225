"""A ledger's state with something of everything, for tests of those who show it."""

from __future__ import annotations

from localgpt.tasks import (
    MemoryStatus,
    PeakStatus,
    PlanStatus,
    PlanStep,
    ReservationStatus,
    ResidentStatus,
    WaitingStatus,
)
from localgpt.units import MIB

__all__ = ["a_memory"]


def a_memory() -> MemoryStatus:
    """A device of 2 GiB with the family, a moved model, work under way and work that waits."""
    residents = (
        ResidentStatus(
            name="decoder",
            kind="weights",
            nbytes=120 * MIB,
            device_bytes=120 * MIB,
            place="device",
            pinned=True,
            reload_s=0.126,
        ),
        ResidentStatus(
            name="remembered pictures",
            kind="cache",
            nbytes=8 * MIB,
            device_bytes=8 * MIB,
            place="device",
            pinned=False,
            reload_s=0.9,
        ),
        ResidentStatus(
            name="painter",
            kind="weights",
            nbytes=1024 * MIB,
            device_bytes=256 * MIB,
            place="host",
            pinned=False,
            reload_s=1.5,
        ),
    )
    step = PlanStep(resident="painter", piece="blocks.1", nbytes=768 * MIB, source="device", target="host")
    return MemoryStatus(
        device="cpu",
        total_bytes=4096 * MIB,
        budget_bytes=2048 * MIB,
        used_bytes=512 * MIB,
        free_bytes=1536 * MIB,
        foreign_bytes=0,
        residents=residents,
        reservations=(
            ReservationStatus(name="an answer", shape="answer to 64 tokens", nbytes=128 * MIB, pinned=False),
        ),
        waiting=(WaitingStatus(name="a picture", nbytes=3072 * MIB, waited_s=1.25),),
        peaks=(PeakStatus(model="m", shape="picture", dtype="float32", nbytes=60 * MIB, num_measured=3),),
        plans=(
            PlanStatus(
                name="an answer",
                shape="answer to 64 tokens",
                reserved_bytes=128 * MIB,
                steps=(step,),
                streamed=("painter.blocks.2",),
            ),
        ),
        notices=("Memory is short: 768 px instead of 1024.",),
    )
