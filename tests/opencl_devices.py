"""The OpenCL device that tests run on, or the reason why they are skipped."""

from __future__ import annotations

from functools import cache

import pytest

from localgpt.compute.backends import Found, OpenCLBackend
from localgpt.compute.opencl.device import OpenCLDevice

BOTH_KINDS = (1, 8)  # lanes: as on a CPU, and in groups that share sums as on a GPU


@cache
def find() -> Found:
    return OpenCLBackend().find()


@cache
def open_device(lanes: int = 1) -> OpenCLDevice:
    """The first device, its kernels compiled once for all tests; skips the test where there is none."""
    require()
    return OpenCLDevice(0, lanes=lanes)


def require() -> None:
    """Skip the test where there is no OpenCL device."""
    if find().missing:
        pytest.skip(f"OpenCL cannot be tested: {find().missing}")
