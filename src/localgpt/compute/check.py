"""Does a device really compute? A small layer is run on it and held against float64 on the CPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.nn.linear import Int8Linear, fbgemm_available, quantize_weight

__all__ = ["TOLERANCE", "DeviceCheck", "check_int8", "check_layer", "compare", "int8_kernel"]

TOLERANCE = 1e-4  # float32, a reduction of 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """What came of running something. `max_error` is the largest difference from the reference."""

    works: bool
    max_error: float | None
    detail: str  # empty when it works
    time_ms: float | None = None  # of a second run; a device's first one prepares much


def check_layer(device: str) -> DeviceCheck:
    """Run matrix products, a GELU and a softmax in float32 on a device of torch; never fails."""
    try:
        x, weight = _inputs()
        expected = _layer(x.double(), weight.double())
        _layer(x.to(device), weight.to(device)).cpu()
        start = time.perf_counter()
        got = _layer(x.to(device), weight.to(device)).cpu().double()
        time_ms = (time.perf_counter() - start) * 1e3
    except (RuntimeError, NotImplementedError, AssertionError) as error:  # whatever a backend raises
        return DeviceCheck(works=False, max_error=None, detail=" ".join(str(error).split()))
    return compare(got, expected, time_ms=time_ms)


def check_int8() -> DeviceCheck:
    """Run the int8 kernel this CPU takes, beside the plain arithmetic; never fails."""
    try:
        x, weight = _inputs()
        quantized, scale = quantize_weight(weight)
        fast = Int8Linear(quantized, scale)(x).double()
        plain = Int8Linear(quantized, scale, kernel="plain")(x).double()
    except RuntimeError as error:
        return DeviceCheck(works=False, max_error=None, detail=" ".join(str(error).split()))
    return compare(fast, plain)


def compare(got: Tensor, expected: Tensor, *, time_ms: float | None = None) -> DeviceCheck:
    """Hold what a device made against the reference, both float64 on the CPU."""
    error = float((got - expected).abs().max())
    works = error <= TOLERANCE
    detail = "" if works else f"differs from the reference by {error:.1e}, expected at most {TOLERANCE:.0e}"
    max_error = error if math.isfinite(error) else None  # JSON has no other numbers
    return DeviceCheck(works=works, max_error=max_error, detail=detail, time_ms=time_ms)


def int8_kernel() -> str:
    """The kernel that decodes int8 weights here: "fbgemm" (fast) or "plain"."""
    return "fbgemm" if fbgemm_available() else "plain"


def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, generator=generator)
    return x, torch.randn(64, 64, generator=generator) / 8


def _layer(x: Tensor, weight: Tensor) -> Tensor:
    hidden = F.gelu(x @ weight, approximate="tanh")
    return torch.softmax(hidden @ x.T, dim=-1) @ x
