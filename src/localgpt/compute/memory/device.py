"""What a ledger asks of a device, and of those who own what lies on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localgpt.compute.memory.state import Place

__all__ = ["Device", "Holder", "Measured", "Meter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The most that work took above what was there before; with `is_bound`, it took at most that."""

    nbytes: int
    is_bound: bool = False


class Meter(Protocol):
    """A measurement under way."""

    def peak(self) -> Measured:
        """End it: the peak since `Device.measure`."""


class Holder(Protocol):
    """Whoever owns a resident. Called in the ledger's own thread, never while the resident is in use."""

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        """Bring a piece to another place; after it returns, the old place's memory is free.

        Raises:
            LocalGPTError: it cannot be done; the piece is where it was.
        """

    def drop(self, piece: str) -> None:
        """Forget a cache's piece."""


class Device(Protocol):
    """One memory that is shared out. `total_bytes` and the two below never fail."""

    id: str  # as torch names it, for example "cuda:0"
    name: str  # the hardware's, for learned peaks
    granularity: int  # allocations take multiples of this
    is_shared_out: bool  # whether others' memory is subtracted from the budget at each plan

    def total_bytes(self) -> int:
        """All of the device's memory, or what this process may have of it."""

    def free_bytes(self) -> int:
        """What could be allocated now."""

    def move(self, holder: Holder, piece: str, source: Place, target: Place) -> float:
        """Have a piece moved, whole; the seconds it took.

        Raises:
            LocalGPTError: it could not be moved.
        """

    def drop(self, holder: Holder, piece: str) -> None:
        """Have a cache's piece forgotten."""

    def measure(self) -> Meter:
        """Begin to measure what is allocated from now on. Two meters at a time disturb each other."""
