"""A device that is a set of numbers, and fails the test the moment anything exceeds it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from localgpt.compute.memory import Holder, Measured, Piece
from localgpt.compute.memory.state import Place
from localgpt.errors import BackendError


class Inline(Executor):
    """Runs what it is given at once, so that a test's order is always the same."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@dataclass
class FakeDevice:
    """Counts what lies on it in whole grains; `log` has every move and drop."""

    total: int
    host_total: int = 0
    granularity: int = 1
    is_shared_out: bool = False
    foreign: int = 0  # what other programs took
    id: str = "fake:0"
    name: str = "Fake"
    used: int = 0
    host_used: int = 0
    peak: int = 0  # highest use since the last `measure`
    most: int = 0  # highest use ever
    log: list[tuple[str, str, Place, Place]] = field(default_factory=list)
    seconds_per_byte: float = 1e-9

    def total_bytes(self) -> int:
        return self.total

    def free_bytes(self) -> int:
        return self.total - self.used - self.foreign

    def move(self, holder: Holder, piece: str, source: Place, target: Place) -> float:
        holder.move(piece, source, target, self.id)
        return self.seconds_per_byte * holder.sizes[piece]  # type: ignore[attr-defined]

    def drop(self, holder: Holder, piece: str) -> None:
        holder.drop(piece)

    def measure(self) -> FakeMeter:
        self.peak = self.used
        return FakeMeter(self, self.used)

    def charge(self, nbytes: int) -> int:
        return -(-nbytes // self.granularity) * self.granularity

    def take(self, nbytes: int) -> None:
        self.used += self.charge(nbytes)
        self.peak, self.most = max(self.peak, self.used), max(self.most, self.used)
        assert self.used + self.foreign <= self.total, f"{self.used:,} of {self.total:,} bytes are used"

    def give(self, nbytes: int) -> None:
        self.used -= self.charge(nbytes)
        assert self.used >= 0

    def host(self, nbytes: int) -> None:
        self.host_used += self.charge(nbytes) if nbytes > 0 else -self.charge(-nbytes)
        assert 0 <= self.host_used <= self.host_total, f"{self.host_used:,} bytes are pinned"


@dataclass
class FakeMeter:
    device: FakeDevice
    before: int

    def peak(self) -> Measured:
        return Measured(nbytes=self.device.peak - self.before)


class FakeHolder:
    """Owns pieces of a resident and puts them where it is told; `guard` is asked before each move."""

    def __init__(self, device: FakeDevice, name: str, pieces: tuple[Piece, ...]) -> None:
        self.device, self.name = device, name
        self.sizes = {piece.name: piece.nbytes for piece in pieces}
        self.places: dict[str, Place] = {}
        self.guard: Callable[[str], None] = lambda name: None
        self.fails = False
        for piece in pieces:
            self._put(piece.name, piece.place)

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        self.guard(self.name)
        if self.fails:
            raise BackendError("the card fell off the bus")
        assert self.places[piece] == source
        self.device.log.append((self.name, piece, source, target))
        self._put(piece, target)
        self._free(piece, source)

    def drop(self, piece: str) -> None:
        self.guard(self.name)
        self.device.log.append((self.name, piece, "device", "disk"))
        self._free(piece, self.places.pop(piece))

    def _put(self, piece: str, place: Place) -> None:
        if place == "device":
            self.device.take(self.sizes[piece])
        elif place == "host":
            self.device.host(self.sizes[piece])
        self.places[piece] = place

    def _free(self, piece: str, place: Place) -> None:
        if place == "device":
            self.device.give(self.sizes[piece])
        elif place == "host":
            self.device.host(-self.sizes[piece])
