"""What a ledger knows, as plain values: what is held where, what is reserved, what is asked for.

All of it is frozen, so that a plan can be made, tested and thrown away without touching anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Held", "Kind", "Need", "Piece", "Place", "Resident", "Size", "Speeds", "State"]

Place = Literal["device", "host", "disk"]
"""Where a piece is: the device's memory, pinned memory of the machine, or no memory at all."""

Kind = Literal["weights", "cache"]
"""Weights are moved and come back; a cache is dropped and made again."""

_IDLE_HALF_S = 60.0  # after this long unused, a reload counts half


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The smallest part of a resident that moves on its own."""

    name: str
    nbytes: int
    place: Place = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Something that occupies memory between requests."""

    name: str
    kind: Kind
    pieces: tuple[Piece, ...]
    last_used_s: float = 0.0  # of the ledger's clock
    remake_s: float = 0.0  # of a cache: what it took to make
    is_fixed: bool = False  # stays where it is while its owner lives
    is_partial: bool = False  # its pieces may be streamed one by one while it works (large denoisers)

    @property
    def nbytes(self) -> int:
        """Bytes of all pieces, wherever they are."""
        return sum(piece.nbytes for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One way to do a piece of work. `nbytes` is the most its activations take, above every resident."""

    shape: str  # names it among the learned peaks, for example "1024x1024 x1"
    nbytes: int
    notice: str = ""  # tells the user that this is less than was asked for; empty for what was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is asked of the ledger before work starts.

    `sizes` go from what was asked for to the least that is worth doing. A need that `pins` serves an open
    connection: what it uses stays on the device until it ends, and nobody waits for that.
    """

    name: str
    model: str
    dtype: str
    sizes: tuple[Size, ...]
    residents: tuple[str, ...] = ()
    pins: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A reservation under way."""

    id: int
    need: Need
    size: Size
    nbytes: int  # activations, and the buffers through which pieces are streamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Bytes per second onto the device, measured; the defaults hold until something was moved."""

    host: float = 12e9  # pinned memory over PCIe 3.0 x16 or 4.0 x8
    disk: float = 1e9  # a SATA disk or a slow NVMe


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One device at one moment."""

    budget_bytes: int
    host_budget_bytes: int = 0  # pinned memory that may be used; 0: weights go straight to disk
    granularity: int = 1  # the allocator hands out multiples of this
    foreign_bytes: int = 0  # of the budget, but taken by other programs
    now_s: float = 0.0
    speeds: Speeds = field(default_factory=Speeds)
    residents: tuple[Resident, ...] = ()
    held: tuple[Held, ...] = ()

    def charge(self, nbytes: int) -> int:
        """What an allocation really takes."""
        return -(-nbytes // self.granularity) * self.granularity

    def bytes_in(self, place: Place) -> int:
        """What all pieces in a place take."""
        return sum(
            self.charge(piece.nbytes)
            for resident in self.residents
            for piece in resident.pieces
            if piece.place == place
        )

    @property
    def used_bytes(self) -> int:
        """Residents on the device, and every reservation."""
        return self.bytes_in("device") + sum(self.charge(held.nbytes) for held in self.held)

    @property
    def free_bytes(self) -> int:
        """What is left of the budget; negative when others took more than was left."""
        return self.budget_bytes - self.foreign_bytes - self.used_bytes

    def resident(self, name: str) -> Resident:
        """The resident of that name.

        Raises:
            KeyError: there is none.
        """
        for resident in self.residents:
            if resident.name == name:
                return resident
        raise KeyError(name)

    def reload_s(self, piece: Piece, *, target: Place = "host") -> float:
        """Seconds that bringing a piece back to the device takes, from where it is or would be."""
        place = target if piece.place == "device" else piece.place
        return piece.nbytes / (self.speeds.disk if place == "disk" else self.speeds.host)

    def cost(self, resident: Resident, piece: Piece) -> float:
        """How much would be lost by taking a piece away: its reload time, less the longer it was idle."""
        if resident.kind == "cache":
            reload_s = resident.remake_s * piece.nbytes / max(resident.nbytes, 1)
        else:
            reload_s = self.reload_s(piece, target="host" if self.host_budget_bytes else "disk")
        idle_s = max(0.0, self.now_s - resident.last_used_s)
        return reload_s / (1.0 + idle_s / _IDLE_HALF_S)
