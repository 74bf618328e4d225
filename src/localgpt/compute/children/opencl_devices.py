"""The OpenCL devices of this machine as JSON; run as a child process, and light: no torch.

GPUs and accelerators come first, CPUs last; among equals the order is the loader's. `opencl:N` is the N-th.
"""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = ["describe", "in_order"]


def in_order(cl: Any) -> list[Any]:
    """Every device pyopencl finds; a platform that fails is left out."""
    devices = []
    for platform in cl.get_platforms():
        try:
            devices += platform.get_devices()
        except cl.Error:
            continue
    return sorted(devices, key=lambda device: bool(device.type & cl.device_type.CPU))


def describe() -> dict[str, object]:
    """Devices with their names and memory, or why there are none."""
    try:
        import pyopencl as cl
    except ImportError as error:
        if error.name == "pyopencl":
            return {"failure": "pyopencl is not installed: pip install 'localgpt[opencl]'"}
        return {"failure": f"pyopencl cannot be loaded ({error})"}
    try:
        devices = in_order(cl)
    except cl.Error as error:
        if "PLATFORM_NOT_FOUND" in str(error):
            return {"failure": "no OpenCL driver is installed"}
        return {"failure": f"OpenCL fails ({' '.join(str(error).split())})"}
    if not devices:
        return {"failure": "the OpenCL drivers here find no device"}
    return {
        "devices": [
            {
                "name": " ".join(device.name.split()),
                "platform": " ".join(device.platform.name.split()),
                "is_cpu": bool(device.type & cl.device_type.CPU),
                "memory_bytes": int(device.global_mem_size),
            }
            for device in devices
        ]
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()))
