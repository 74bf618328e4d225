"""The compute backends: what each finds here, or why it finds nothing, and whether a device computes.

A backend is three things: a kind, `find` and `check`. None of them ever fails: a missing driver, a broken
one, one that crashes and one that hangs are all a line of text. Drivers are asked in a child process first.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import torch

from localgpt.compute.check import DeviceCheck, check_layer
from localgpt.compute.probe import CHILDREN, probe
from localgpt.quiet import unheard_warnings

__all__ = ["Backend", "DeviceReport", "Found", "all_backends", "gpu_kind"]

_DRIVER_LIMIT_S: Final = 60.0  # a driver that wakes eight GPUs takes its time
_OPENCL_LIMIT_S: Final = 30.0
_CHECK_LIMIT_S: Final = 120.0  # the kernels are compiled first


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """One device of this machine. `memory_bytes` is its own memory, None where it shares the machine's."""

    device: str
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a backend found. `missing` says why there is nothing; empty when there are devices."""

    devices: tuple[DeviceReport, ...] = ()
    missing: str = ""


class Backend(Protocol):
    """One way to compute."""

    @property
    def kind(self) -> str:
        """First part of its devices' names: cpu, cuda, rocm, mps or opencl."""
        ...

    def find(self) -> Found:
        """The devices of this machine, best first; never fails."""
        ...

    def check(self, device: str) -> DeviceCheck:
        """Run a small network on a device and hold it against float64; never fails."""
        ...


class CpuBackend:
    """The processor, through torch."""

    kind = "cpu"

    def find(self) -> Found:
        """Always one device."""
        name = torch.backends.cpu.get_cpu_capability()
        return Found(devices=(DeviceReport(device="cpu", name=name, memory_bytes=None),))

    def check(self, device: str) -> DeviceCheck:
        """See `Backend`."""
        return check_layer(device)


class GpuBackend:
    """NVIDIA's GPUs, and AMD's under torch's HIP build; torch calls both cuda, and a build knows one of them.

    Args:
        kind: "cuda" or "rocm".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def find(self) -> Found:
        """See `Backend`."""
        if gpu_kind() != self.kind:
            other = f"built for {gpu_kind()}" if gpu_kind() else "built without it"
            return Found(missing=f"this torch ({torch.__version__}) is {other}")
        if failure := _driver_failure(self.kind):
            return Found(missing=failure)
        try:
            with unheard_warnings():  # what torch warns of is told below
                found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        except (RuntimeError, AssertionError) as error:  # whatever torch raises for a driver it cannot use
            return Found(missing=f"torch cannot use the driver ({' '.join(str(error).split())})")
        if not found:
            return Found(missing="the driver finds no GPU that this torch can use")
        return Found(
            devices=tuple(
                DeviceReport(
                    device=f"{self.kind}:{number}", name=gpu.name, memory_bytes=int(gpu.total_memory)
                )
                for number, gpu in enumerate(found)
            )
        )

    def check(self, device: str) -> DeviceCheck:
        """See `Backend`."""
        return check_layer(device.replace("rocm", "cuda"))


class MpsBackend:
    """Apple's GPUs, through torch."""

    kind = "mps"

    def find(self) -> Found:
        """See `Backend`."""
        if not torch.backends.mps.is_available():
            return Found(missing="this torch finds no Apple GPU")
        return Found(devices=(DeviceReport(device="mps", name="Apple GPU", memory_bytes=None),))

    def check(self, device: str) -> DeviceCheck:
        """See `Backend`."""
        return check_layer(device)


class OpenCLBackend:
    """Any device with an OpenCL driver, through our own kernels (`localgpt.compute.opencl`)."""

    kind = "opencl"

    def find(self) -> Found:
        """See `Backend`; asked in a child process each time."""
        script = str(CHILDREN / "opencl_devices.py")
        answer = probe([script], what="the OpenCL driver", limit_s=_OPENCL_LIMIT_S)
        if "failure" in answer:
            return Found(missing=answer["failure"])
        return Found(
            devices=tuple(
                DeviceReport(
                    device=f"opencl:{number}",
                    name=f"{device['name']} ({device['platform']})",
                    memory_bytes=None if device["is_cpu"] else device["memory_bytes"],
                )
                for number, device in enumerate(answer["devices"])
            )
        )

    def check(self, device: str) -> DeviceCheck:
        """See `Backend`; run in a child process, since a broken driver ends the process it is in."""
        module = ["-m", "localgpt.compute.opencl.check", device.partition(":")[2] or "0"]
        answer = probe(module, what="the OpenCL driver", limit_s=_CHECK_LIMIT_S)
        if "failure" in answer:
            return DeviceCheck(works=False, max_error=None, detail=answer["failure"])
        return DeviceCheck(**answer)


def all_backends() -> tuple[Backend, ...]:
    """Every backend, the preferred one first."""
    return GpuBackend("cuda"), GpuBackend("rocm"), MpsBackend(), CpuBackend(), OpenCLBackend()


def gpu_kind() -> str | None:
    """What this torch calls cuda: "cuda" itself, "rocm" in a HIP build, None in a CPU build."""
    if torch.version.hip is not None:
        return "rocm"
    return "cuda" if torch.version.cuda is not None else None


@cache
def _driver_failure(kind: str) -> str:
    """Why the GPU's driver cannot be used; empty when it answers."""
    if kind == "rocm":
        library = str(Path(torch.__file__).parent / "lib" / "libamdhip64.so")
        calls = ("hipInit", "hipGetDeviceCount")
    else:
        library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
        calls = ("cuInit", "cuDeviceGetCount")
    script = str(CHILDREN / "gpu_driver.py")
    answer = probe([script, library, *calls], what="the GPU's driver", limit_s=_DRIVER_LIMIT_S)
    return str(answer.get("failure", ""))
