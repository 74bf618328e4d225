"""Device names to devices. A known device that is absent becomes the CPU, and the choice says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from localgpt.errors import ConfigError

__all__ = ["DeviceChoice", "DeviceReport", "describe_devices", "resolve_device"]

_KNOWN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """A torch device name, and what to tell the user when it is not what was asked for."""

    device: str
    notice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """One device of this machine. `memory_bytes` is its own memory, None where it shares the machine's."""

    device: str
    name: str
    memory_bytes: int | None


def resolve_device(name: str) -> DeviceChoice:
    """The device a name stands for.

    Args:
        name: "auto" (the best there is), "cpu", "cuda", "cuda:N" (CUDA, and ROCm under torch's HIP build) or
            "mps".

    Raises:
        ConfigError: the name is none of these.
    """
    if not _KNOWN.fullmatch(name):
        raise ConfigError(f"unknown device {name!r}; known devices: auto, cpu, cuda, cuda:N, mps")
    if name == "auto":
        return DeviceChoice(device=describe_devices()[0].device)
    if name == "mps" and not torch.backends.mps.is_available():
        return _absent(name, "this torch finds no Apple GPU")
    if name.startswith("cuda"):
        number = int(name.partition(":")[2] or 0)
        if number >= _num_cuda():
            return _absent(name, f"this torch finds {_num_cuda()} CUDA or ROCm devices")
        return DeviceChoice(device=f"cuda:{number}")
    return DeviceChoice(device=name)


def describe_devices() -> list[DeviceReport]:
    """Devices of this machine, the preferred one first; never fails."""
    reports = []
    for number in range(_num_cuda()):
        properties = torch.cuda.get_device_properties(number)
        reports.append(
            DeviceReport(
                device=f"cuda:{number}", name=properties.name, memory_bytes=int(properties.total_memory)
            )
        )
    if torch.backends.mps.is_available():
        reports.append(DeviceReport(device="mps", name="Apple GPU", memory_bytes=None))
    reports.append(
        DeviceReport(device="cpu", name=torch.backends.cpu.get_cpu_capability(), memory_bytes=None)
    )
    return reports


def _num_cuda() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _absent(name: str, why: str) -> DeviceChoice:
    return DeviceChoice(device="cpu", notice=f"the device {name} is not here ({why}); using the CPU instead")
