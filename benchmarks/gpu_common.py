"""What benchmarks for graphics cards share: the cap, the clock, rounds in turn, what machine it was."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import torch

__all__ = [
    "CAP_BYTES",
    "GIB",
    "Rounds",
    "TimeUpError",
    "cap_memory",
    "copy_bytes_per_s",
    "free_all",
    "lift_cap",
    "machine",
    "matmul_flops",
    "new_parser",
    "peak_of",
    "psnr",
    "stopped_at",
    "tell",
    "wait",
]

GIB: Final = 2**30
CAP_BYTES: Final = 8 * GIB
_LIBRARIES: Final = ("torch", "transformers", "diffusers", "triton")
_COPY_BYTES: Final = 1 << 30
_COPIES: Final = 8  # in one timing


class TimeUpError(BaseException):
    """The time of a benchmark is over; no `Exception`, so that what a compiler catches does not hold it."""


@contextmanager
def stopped_at(until: float) -> Iterator[None]:
    """Stop what runs in it, in the main thread, once that time of `time.perf_counter` has come.

    Raises:
        TimeUpError: it has.
    """
    left = until - time.perf_counter()
    if left <= 0:
        raise TimeUpError
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TimeUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def new_parser(text: str) -> argparse.ArgumentParser:
    """Options that all of them have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=3, help="after a first one that is not counted")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="stop after so long, and tell what there is"
    )
    parser.add_argument("--tiny", action="store_true", help="the true classes in tiny shapes, to see it run")
    parser.add_argument("--json", action="store_true")
    return parser


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on, and with."""
    found: dict[str, Any] = {
        "device": str(device),
        "name": platform.processor() or "cpu",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "weights": "random, of the true shape: speed and memory say something, pictures and words do not",
    }
    if device.type == "cuda":
        found["name"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda or torch.version.hip
        found["memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / GIB, 1)
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def cap_memory(device: torch.device, nbytes: int = CAP_BYTES) -> str:
    """Have torch's allocator refuse more than so much; what was done, in words."""
    if device.type != "cuda":
        return "none: the device is no card"
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, nbytes / total), device)
    return f"{nbytes / GIB:g} GiB of torch's allocator"


def lift_cap(device: torch.device) -> None:
    """All of the card again."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_all(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


@contextmanager
def peak_of(device: torch.device) -> Iterator[dict[str, float | None]]:
    """The most that was allocated and reserved meanwhile, in GiB; None where the device does not tell."""
    found: dict[str, float | None] = {"allocated_gib": None, "reserved_gib": None}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        found["allocated_gib"] = round(torch.cuda.max_memory_allocated(device) / GIB, 3)
        found["reserved_gib"] = round(torch.cuda.max_memory_reserved(device) / GIB, 3)


def copy_bytes_per_s(device: torch.device, nbytes: int = _COPY_BYTES) -> float:
    """Bytes that a copy on the device reads and writes in a second, the best of five; of random bytes."""
    source = torch.randint(0, 256, (nbytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        wait(device)
        start = time.perf_counter()
        for _ in range(_COPIES):
            target.copy_(source)
        wait(device)
        best = min(best, (time.perf_counter() - start) / _COPIES)
    return 2 * nbytes / best


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations a second of a matrix product of random numbers, the best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        wait(device)
        start = time.perf_counter()
        torch.matmul(a, b)
        wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def psnr(picture: Any, other: Any) -> float | None:
    """Decibels between two pictures of uint8; None where they are the same."""
    error = float(((picture.astype("float64") - other.astype("float64")) ** 2).mean())
    return None if error == 0 else round(10 * float(torch.log10(torch.tensor(255.0**2 / error))), 2)


@dataclass
class Rounds:
    """Sides that are run in turn; one that fails is told and left out from then on.

    Args:
        device: waited for around each run.
        rounds: counted; one before is not.
        until: of `time.perf_counter`; whatever runs then is stopped, and nothing is begun after it.
    """

    device: torch.device
    rounds: int
    until: float
    times: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)

    def run(self, sides: Mapping[str, Callable[[], Any]]) -> None:
        """Run all of them; what each gave last is kept."""
        names = list(sides)
        for number in range(self.rounds + 1):
            for step in range(len(names)):
                name = names[(number + step) % len(names)]
                if time.perf_counter() > self.until:
                    return
                if name not in self.failed:
                    self._once(name, sides[name], is_counted=number > 0)

    def _once(self, name: str, side: Callable[[], Any], *, is_counted: bool) -> None:
        wait(self.device)
        start = time.perf_counter()
        try:
            with stopped_at(self.until):
                self.last[name] = side()
                wait(self.device)
        except TimeUpError:
            print(f"{name}: stopped after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        except Exception as error:  # noqa: BLE001 - told, and the other sides go on
            line = (str(error).strip().splitlines() or [""])[0]
            self.failed[name] = f"{type(error).__name__}: {line[:400]}"
            traceback.print_exc()
            print(f"FAILED {name}: {self.failed[name]}", file=sys.stderr, flush=True)
        else:
            self._count(name, time.perf_counter() - start, is_counted=is_counted)
            return
        free_all(self.device)  # after the error, which holds what its frames held

    def _count(self, name: str, seconds: float, *, is_counted: bool) -> None:
        print(f"{name}: {seconds:.3f} s", file=sys.stderr, flush=True)  # is there if it is stopped
        if is_counted:
            self.times.setdefault(name, []).append(seconds)
        else:
            self.first[name] = seconds

    def seconds(self, name: str) -> float | None:
        """Median of a side."""
        return statistics.median(self.times[name]) if self.times.get(name) else None

    def row(self, name: str) -> dict[str, Any]:
        """What is told of a side's times."""
        if name in self.failed:
            return {"failed": self.failed[name]}
        if not self.times.get(name):
            return {"failed": "there was no time left to measure it"} | (
                {"first_seconds": round(self.first[name], 2)} if name in self.first else {}
            )
        return {
            "seconds": round(statistics.median(self.times[name]), 4),
            "least": round(min(self.times[name]), 4),
            "most": round(max(self.times[name]), 4),
            "rounds": len(self.times[name]),
            "first_seconds": round(self.first[name], 2),
        }


def tell(found: dict[str, Any], args: argparse.Namespace, lines: list[str]) -> None:
    """Print an object or a table; ends with status 1 if a part failed."""
    if args.tiny:
        print("a dry run of tiny shapes: figures mean nothing", file=sys.stderr)
    if args.json:
        print(json.dumps(found))
    else:
        print("\n".join(lines))
    if failures := list(_failures(found)):
        sys.exit("failed: " + "; ".join(failures))


def _failures(found: Any, where: str = "") -> Iterator[str]:
    if isinstance(found, dict):
        if "failed" in found:
            yield f"{where.strip()}: {found['failed']}"
        for name, value in found.items():
            yield from _failures(value, f"{where} {name}")
