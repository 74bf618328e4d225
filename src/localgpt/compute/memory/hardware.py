"""The devices there are: the memory of this machine, and that of a CUDA or ROCm card.

Both read what the system or the allocator counts; nothing is declared. torch's HIP build answers to the same
names as CUDA, so one class serves both. Any thread may call them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from localgpt.compute.memory.device import Device, Holder, Measured, Meter
from localgpt.compute.memory.state import Place
from localgpt.units import KIB, MIB

__all__ = ["CpuDevice", "CudaDevice", "device_of", "reserve_bytes"]

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # what version 1 of control groups writes for "none", and above


def device_of(name: str) -> Device:
    """The device of a name.

    Apple GPUs share the machine's memory. OpenCL cannot tell what is free, so its devices count as if they
    did; a card with memory of its own is bounded by a budget that is set.
    """
    return CudaDevice(name) if name.startswith("cuda") else CpuDevice(name)


def reserve_bytes(device: Device) -> int:
    """What is left to others by default: a twentieth, from 256 MiB to 1 GiB, and 0.5 GiB on a card.

    On a card it covers the desktop, the context and the libraries' workspaces.
    """
    if isinstance(device, CudaDevice):
        return 512 * MIB
    return min(1024 * MIB, max(256 * MIB, device.total_bytes() // 20))


class CpuDevice:
    """The machine's memory as this process may use it: what is available, within its control groups.

    Other programs come and go and the system reclaims for whoever asks, so their memory counts when a budget
    is made and not at each plan.
    """

    granularity = 4 * KIB
    is_shared_out = False

    def __init__(self, name: str = "cpu", *, proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> None:
        self.id = name
        self.name = "cpu" if name == "cpu" else "Apple GPU"
        self._proc, self._cgroups = proc, cgroups

    def total_bytes(self) -> int:
        """The machine's memory, or the lowest limit of a control group."""
        limits = [limit for limit, _ in self._groups()]
        return min([self._meminfo("MemTotal") or _installed_bytes(), *limits])

    def free_bytes(self) -> int:
        """What is available without swapping, within the control groups' limits."""
        left = [max(0, limit - used) for limit, used in self._groups()]
        available = self._meminfo("MemAvailable")
        return min([self.total_bytes() if available is None else available, *left])

    def move(self, holder: Holder, piece: str, source: Place, target: Place) -> float:
        """Have a piece moved."""
        return _timed(lambda: holder.move(piece, source, target, self.id))

    def drop(self, holder: Holder, piece: str) -> None:
        """Have a cache's piece forgotten."""
        holder.drop(piece)

    def measure(self) -> Meter:
        """Watch the process's resident memory and its high-water mark."""
        return _ResidentMeter(self)

    def resident_bytes(self) -> int:
        """Memory of this process now; where the system does not tell, its high-water mark."""
        try:
            pages = int((self._proc / "self/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return self.high_water_bytes()
        return pages * os.sysconf("SC_PAGE_SIZE")

    def high_water_bytes(self) -> int:
        """The most this process ever had; on Windows, which does not tell, all it could have."""
        if sys.platform == "win32":
            return self.total_bytes()
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * KIB

    def _meminfo(self, field: str) -> int | None:
        try:
            for line in (self._proc / "meminfo").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * KIB
        except (OSError, ValueError, IndexError):
            pass
        return None

    def _groups(self) -> list[tuple[int, int]]:
        """Limit and use, in bytes, of this process's control group and those around it."""
        found = []
        for folder, names in self._group_folders():
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and limit < _UNLIMITED:
                found.append((limit, used or 0))
        return found

    def _group_folders(self) -> list[tuple[Path, tuple[str, str]]]:
        try:
            lines = (self._proc / "self/cgroup").read_text().splitlines()
        except OSError:
            return []
        folders: list[tuple[Path, tuple[str, str]]] = []
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and not controllers:
                root, names = self._cgroups, ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                root, names = self._cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            own = Path(path.lstrip("/"))
            folders += [(root / part, names) for part in (own, *own.parents)]
        return folders


class _ResidentMeter:
    """A bound of the peak: how far the whole process rose, which reads bodies and pictures meanwhile, too.

    Taken for the work's own peak, somebody else's allocation would be reserved for it ever after.
    """

    def __init__(self, device: CpuDevice) -> None:
        self._device = device
        self._before = device.resident_bytes()

    def peak(self) -> Measured:
        rise = self._device.high_water_bytes() - self._before
        return Measured(nbytes=max(0, rise), is_bound=True)


class CudaDevice:
    """A CUDA or ROCm card, as its driver and torch's allocator count it."""

    granularity = 2 * MIB  # of the allocator's segments
    is_shared_out = True

    def __init__(self, name: str) -> None:
        self.id = name
        self._device = torch.device(name)
        self.name = torch.cuda.get_device_name(self._device)

    def total_bytes(self) -> int:
        """The card's memory."""
        return torch.cuda.mem_get_info(self._device)[1]

    def free_bytes(self) -> int:
        """What the driver has left, and what the allocator holds without using it."""
        cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return torch.cuda.mem_get_info(self._device)[0] + cached

    def move(self, holder: Holder, piece: str, source: Place, target: Place) -> float:
        """Have a piece moved, and what it occupied given back to the driver."""
        took_s = _timed(lambda: holder.move(piece, source, target, self.id), self._synchronize)
        if source == "device":
            torch.cuda.empty_cache()
        return took_s

    def drop(self, holder: Holder, piece: str) -> None:
        """Have a cache's piece forgotten."""
        holder.drop(piece)
        torch.cuda.empty_cache()

    def measure(self) -> Meter:
        """Watch the allocator's peak."""
        return _AllocatorMeter(self._device)

    def _synchronize(self) -> None:
        torch.cuda.synchronize(self._device)


class _AllocatorMeter:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> Measured:
        return Measured(nbytes=max(0, torch.cuda.max_memory_allocated(self._device) - self._before))


def _timed(move: Callable[[], None], wait: Callable[[], None] = lambda: None) -> float:
    start = time.perf_counter()
    move()
    wait()
    return time.perf_counter() - start


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # ValueError: "max", which is no limit
        return None


def _installed_bytes() -> int:
    """Memory of a machine without /proc; where nothing is told, a size that bounds nothing."""
    if sys.platform == "win32":
        return _UNLIMITED
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
