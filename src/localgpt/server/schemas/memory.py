"""`GET /v1/memory`: the ledger of the device's memory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgpt.server.schemas.common import Reply

__all__ = [
    "MemoryPeak",
    "MemoryPlan",
    "MemoryReply",
    "MemoryReservation",
    "MemoryResident",
    "MemoryStep",
    "MemoryWaiting",
]

Place = Literal["device", "host", "disk"]
Bytes = Annotated[int, Field(serialization_alias="bytes")]


class MemoryResident(Reply):
    """What is held between requests."""

    name: str
    kind: Literal["weights", "cache"]
    nbytes: Bytes
    device_bytes: int  # of them, on the device
    place: Place  # of most of it
    pinned: bool  # never taken away: always served here, or in use by an open connection
    reload_s: float  # to read all of it again, by measured speed


class MemoryReservation(Reply):
    """Work under way."""

    name: str
    shape: str
    nbytes: Bytes
    pinned: bool


class MemoryWaiting(Reply):
    """Work that waits for memory, the longest first."""

    name: str
    nbytes: Bytes
    waited_s: float


class MemoryPeak(Reply):
    """What a shape of work was learned to take; measured 0 times, it is a bound."""

    model: str
    shape: str
    dtype: str
    nbytes: Bytes
    num_measured: int


class MemoryStep(Reply):
    """A piece that was moved; a cache that went to "disk" was dropped."""

    resident: str
    piece: str
    nbytes: Bytes
    source: Place
    target: Place


class MemoryPlan(Reply):
    """What was moved so that some work could start; `streamed` blocks stayed away and passed through."""

    name: str
    shape: str
    reserved_bytes: int
    steps: list[MemoryStep]
    streamed: list[str]


class MemoryReply(Reply):
    """One device's memory. Until the models are loaded, `ready` is false and the figures are 0."""

    ready: bool
    device: str
    total_bytes: int = 0
    budget_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0
    foreign_bytes: int = 0  # of the budget, taken by other programs
    residents: tuple[MemoryResident, ...] = ()
    reservations: tuple[MemoryReservation, ...] = ()
    waiting: tuple[MemoryWaiting, ...] = ()
    peaks: tuple[MemoryPeak, ...] = ()
    plans: tuple[MemoryPlan, ...] = ()  # the last ones that moved something
    notices: tuple[str, ...] = ()
