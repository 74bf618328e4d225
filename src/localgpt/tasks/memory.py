"""How a service's memory is shared out, as values that travel: what `status` tells about the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "MemoryPlace",
    "MemoryStatus",
    "PeakStatus",
    "PlanStatus",
    "PlanStep",
    "ReservationStatus",
    "ResidentStatus",
    "WaitingStatus",
]

MemoryPlace = Literal["device", "host", "disk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentStatus:
    """Something that is held between requests. `place` is where most of it is."""

    name: str
    kind: Literal["weights", "cache"]
    nbytes: int
    device_bytes: int  # of them, on the device
    place: MemoryPlace
    pinned: bool  # stays: fixed, or in use by an open connection
    reload_s: float  # to bring all of it back, by measured speed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationStatus:
    """Work under way."""

    name: str
    shape: str
    nbytes: int
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStatus:
    """Work that waits for memory."""

    name: str
    nbytes: int
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakStatus:
    """What a shape of work was learned to take, with a margin; measured 0 times, it is a bound."""

    model: str
    shape: str
    dtype: str
    nbytes: int
    num_measured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One piece that was moved; a cache that goes to "disk" was dropped."""

    resident: str
    piece: str
    nbytes: int
    source: MemoryPlace
    target: MemoryPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStatus:
    """What was moved so that some work could start; `streamed` blocks stayed away and passed through."""

    name: str
    shape: str
    reserved_bytes: int
    steps: tuple[PlanStep, ...]
    streamed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatus:
    """One device's ledger at one moment."""

    device: str
    total_bytes: int  # of the device, or what this process may have of it
    budget_bytes: int
    used_bytes: int  # residents and reservations
    free_bytes: int  # of the budget
    foreign_bytes: int  # of the budget, taken by other programs
    residents: tuple[ResidentStatus, ...]
    reservations: tuple[ReservationStatus, ...]
    waiting: tuple[WaitingStatus, ...]
    peaks: tuple[PeakStatus, ...]
    plans: tuple[PlanStatus, ...]  # the latest last
    notices: tuple[str, ...]
