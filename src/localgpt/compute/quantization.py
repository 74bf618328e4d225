"""Which quantized layer stands for a linear one, by what was asked for and which kernels the device has."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import torch
from torch import Tensor, nn

from localgpt.nn.linear import quantize_weight
from localgpt.nn.weight_only import Int4WeightLinear, Int8WeightLinear, Kernel, group_size, quantize_groups

__all__ = ["Bits", "quantized_linear"]

Bits = Literal["int8", "int4"]
_BOTH: Final[tuple[Kernel, Kernel]] = ("torch", "plain")


def quantized_linear(weight: Tensor, bias: Tensor | None, bits: Bits) -> nn.Module | None:
    """A layer of quantized weights, on the device where they are; None where no group divides the inputs.

    Args:
        weight: (N, K) floating point.
        bias: (N,) or None.
        bits: of the weights.
    """
    has_kernels = _has_kernels(str(weight.device), bits)
    if bits == "int8":
        quantized, scale = quantize_weight(weight)
        return Int8WeightLinear(quantized, scale, bias, kernel="torch" if has_kernels else "plain")
    size = group_size(weight.shape[1])
    if size is None:
        return None
    four_bits, scale_and_zero = quantize_groups(weight, size)
    fits = weight.shape[0] % 16 == 0 and weight.shape[1] % 32 == 0  # what torch's kernels take
    return Int4WeightLinear(
        four_bits, scale_and_zero, bias, kernel="torch" if has_kernels and fits else "plain"
    )


@cache
def _has_kernels(device: str, bits: Bits) -> bool:
    """Whether torch multiplies such weights on a device: asked with a small layer, whose result is judged."""
    layers: list[nn.Module]
    weight = torch.linspace(-1, 1, 64 * 128, device=device).view(64, 128)
    rows = torch.linspace(-1, 1, 128, device=device).to(torch.bfloat16)[None]
    try:
        if bits == "int8":
            quantized, scale = quantize_weight(weight)
            layers = [Int8WeightLinear(quantized, scale, kernel=kernel) for kernel in _BOTH]
        else:
            four_bits, both = quantize_groups(weight, 64)
            layers = [Int4WeightLinear(four_bits, both, kernel=kernel) for kernel in _BOTH]
        out, expected = (layer(rows).float() for layer in layers)
    except torch.OutOfMemoryError:  # says nothing of the kernels, and is not to be remembered
        raise
    except (RuntimeError, AttributeError):
        return False
    return bool(torch.allclose(out, expected, rtol=0.02, atol=0.05))
