"""Device names to devices. A known device that is absent becomes the CPU, and the choice says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localgpt.compute.backends import (
    CpuBackend,
    DeviceReport,
    Found,
    GpuBackend,
    MpsBackend,
    OpenCLBackend,
    gpu_kind,
)
from localgpt.errors import ConfigError

__all__ = ["DeviceChoice", "describe_devices", "resolve_device"]

_KNOWN = re.compile(r"auto|cpu|mps|(cuda|rocm|opencl)(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """A device, and what to tell the user when it is not what was asked for.

    `device` is "cpu", "mps", "cuda:N" (what torch calls GPUs of both kinds) or "opencl:N".
    """

    device: str
    notice: str | None = None


def resolve_device(name: str) -> DeviceChoice:
    """The device a name stands for.

    Args:
        name: "auto" (the best that torch has here), "cpu", "mps"; or "cuda", "rocm" or "opencl", alone or
            with ":N". Under torch's HIP build "rocm" and "cuda" are the same devices.

    Raises:
        ConfigError: the name is none of these.
    """
    if not _KNOWN.fullmatch(name):
        raise ConfigError(
            f"unknown device {name!r}; known devices: auto, cpu, cuda, cuda:N, rocm, rocm:N, opencl, "
            "opencl:N, mps"
        )
    if name == "auto":
        return DeviceChoice(device=_for_torch(describe_devices()[0].device))
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return DeviceChoice(device="cpu")
    found = _find(kind)
    if int(number or 0) < len(found.devices):
        return DeviceChoice(device=_for_torch(found.devices[int(number or 0)].device))
    why = found.missing or f"the last one is {found.devices[-1].device}"
    return DeviceChoice(device="cpu", notice=f"the device {name} is not here ({why}); using the CPU instead")


def describe_devices() -> list[DeviceReport]:
    """Devices that torch computes on, the preferred one first; never fails."""
    kind = gpu_kind()
    gpus = _find(kind).devices if kind else ()
    return [*gpus, *_find("mps").devices, *_find("cpu").devices]


def _find(kind: str) -> Found:
    if kind == "opencl":
        return OpenCLBackend().find()
    if kind == "mps":
        return MpsBackend().find()
    if kind == "cpu":
        return CpuBackend().find()
    is_alias = kind == "cuda" and gpu_kind() == "rocm"
    return GpuBackend("rocm" if is_alias else kind).find()


def _for_torch(device: str) -> str:
    return device.replace("rocm", "cuda")
