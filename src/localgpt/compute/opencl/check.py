"""Does an OpenCL device really compute? `python -m localgpt.compute.opencl.check N` prints a `DeviceCheck`.

An int8 matrix product with a GELU and one without run on the device and are held against float64.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

import numpy as np
import torch

from localgpt.compute.check import DeviceCheck, compare
from localgpt.compute.opencl.device import OpenCLDevice
from localgpt.compute.opencl.kernels import Activation, Kernels, Weights
from localgpt.errors import LocalGPTError
from localgpt.nn.linear import quantize_weight

__all__ = ["check_opencl"]

_ROWS, _WIDTH = 8, 64


def check_opencl(number: int) -> DeviceCheck:
    """Run the two products; never fails, unless the driver ends the process."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, _WIDTH, generator=generator)
    weight, scale = quantize_weight(torch.randn(_WIDTH, _WIDTH, generator=generator) / 8)
    exact = weight.double() * scale.double()[:, None]
    hidden = torch.nn.functional.gelu(x.double() @ exact.T, approximate="tanh")
    try:
        got, time_ms = _run(OpenCLDevice(number), x, weight, scale)
    except LocalGPTError as error:
        return DeviceCheck(works=False, max_error=None, detail=" ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001 - whatever a driver and its binding raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return DeviceCheck(works=False, max_error=None, detail=reason)
    return compare(got, hidden @ exact.T, time_ms=time_ms)


def _run(
    device: OpenCLDevice, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """What the device makes of it, and the milliseconds of a second run, when all is compiled."""
    kernels = Kernels(device)
    matrix = Weights(device, {}).place(weight, scale)
    inputs = device.upload(x.numpy())
    hidden, out = device.empty(x.numel()), device.empty(x.numel())
    for _ in range(2):
        start = time.perf_counter()
        kernels.linear(inputs, matrix, hidden, num_rows=_ROWS, activation=Activation.GELU_TANH)
        kernels.linear(hidden, matrix, out, num_rows=_ROWS)
        got = device.read(out, tuple(x.shape))
        time_ms = (time.perf_counter() - start) * 1e3
    return torch.from_numpy(got.astype(np.float64)), time_ms


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(check_opencl(int(sys.argv[1])))))
