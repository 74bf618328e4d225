"""Which quantized layer stands for a linear one, by what was asked for and which kernels the device has.

Notable: kernels are judged, the quickest first, with small layers whose results are held against the plain
path. torch's kernel for int8 is not asked on a card: there it is right, and slower than the plain path.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Final, Literal

import torch
from torch import Tensor, nn

from localgpt.nn.launching import overlapping
from localgpt.nn.linear import quantize_weight
from localgpt.nn.weight_only import Int4WeightLinear, Int8WeightLinear, Kernel, group_size, quantize_groups

__all__ = ["Bits", "kernel_of", "quantized_linear"]

logger = logging.getLogger(__name__)
Bits = Literal["int8", "int4"]
_ON_CARDS: Final[dict[Bits, tuple[Kernel, ...]]] = {"int8": ("triton",), "int4": ("triton", "torch")}
_ELSEWHERE: Final[tuple[Kernel, ...]] = ("torch",)
# Outputs, inputs and rows of layers to judge by: one where tiles come out uneven, and for cards a wide and a
# deep one.
_JUDGED: Final = ((64, 1088, 1), (8192, 512, 3), (64, 9280, 1))


def quantized_linear(weight: Tensor, bias: Tensor | None, bits: Bits) -> nn.Module | None:
    """A layer of quantized weights, on the device where they are; None where no group divides the inputs.

    Args:
        weight: (N, K) floating point.
        bias: (N,) or None.
        bits: of the weights.
    """
    kernel = kernel_of(str(weight.device), bits)
    if bits == "int8":
        quantized, scale = quantize_weight(weight)
        return Int8WeightLinear(quantized, scale, bias, kernel=kernel)
    size = group_size(weight.shape[1])
    if size is None:
        return None
    four_bits, scale_and_zero = quantize_groups(weight, size)
    fits = weight.shape[0] % 16 == 0 and weight.shape[1] % 32 == 0  # what torch's kernels take
    return Int4WeightLinear(
        four_bits, scale_and_zero, bias, kernel="plain" if kernel == "torch" and not fits else kernel
    )


@cache
def kernel_of(device: str, bits: Bits) -> Kernel:
    """What multiplies such weights on a device: the quickest kernel that is there and right, else "plain"."""
    kernels = _ON_CARDS[bits] if _is_card(device) else _ELSEWHERE
    return next((kernel for kernel in kernels if _is_right(kernel, device, bits)), "plain")


def _is_right(kernel: Kernel, device: str, bits: Bits) -> bool:
    """Whether a kernel is there and multiplies as the plain path does."""
    shapes = _JUDGED if _is_card(device) else _JUDGED[:1]
    try:
        return all(_is_right_at(*shape, kernel, device, bits) for shape in shapes)
    except torch.OutOfMemoryError:  # says nothing of the kernels, and is not to be remembered
        raise
    except ImportError:
        return False
    except Exception:  # whatever a compiler of kernels does where something of it is missing
        logger.warning("the kernel %s for %s weights does not run on %s", kernel, bits, device, exc_info=True)
        return False


def _is_right_at(n_out: int, n_in: int, num_rows: int, kernel: Kernel, device: str, bits: Bits) -> bool:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(n_out, n_in, generator=random).to(device)
    rows = (torch.randn(num_rows, n_in, generator=random) / n_in**0.5).to(device, torch.bfloat16)
    layer, plain = _layer(weight, bits, kernel), _layer(weight, bits, "plain")(rows).float()
    found = [layer(rows)]
    with overlapping():  # as in graphs
        found.append(layer(rows))
    if all(torch.allclose(out.float(), plain, rtol=0.02, atol=0.05) for out in found):
        return True
    logger.warning("the kernel %s for %s weights is wrong on %s", kernel, bits, device)
    return False


def _is_card(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _layer(weight: Tensor, bits: Bits, kernel: Kernel) -> nn.Module:
    if bits == "int8":
        return Int8WeightLinear(*quantize_weight(weight), kernel=kernel)
    return Int4WeightLinear(*quantize_groups(weight, 64), kernel=kernel)
