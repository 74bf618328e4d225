"""Linear layers whose weights alone are quantized: int8 per channel, int4 per group.

Notable: activations stay as they are, so nothing has to be calibrated, and what is saved is the bandwidth
that decoding is bound by. torch has kernels for both (`_weight_int8pack_mm`, `_weight_int4pack_mm`), which
compute in bfloat16, and `few_rows` has others, by Triton; the plain path beside them spreads the weights out
and multiplies, and is the oracle of the parity tests.

Shape legend: N outputs, K inputs, G inputs of a group.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GROUP_SIZES", "Int4WeightLinear", "Int8WeightLinear", "Kernel", "group_size", "quantize_groups"]

GROUP_SIZES = (64, 32)  # the first that the inputs can be divided into
_ZERO_POINT = 8  # of four unsigned bits
_LEVELS = 15
_FEW_ROWS = 32  # with more, weights that are spread out once are quicker
_TRITON_ROWS = 8  # the same of its kernels, which read weights anew for each row
_PER_WORD = 8

Kernel = Literal["triton", "torch", "plain"]


class Int8WeightLinear(nn.Module):
    """Linear layer with int8 weights and one scale for each output.

    Args:
        weight: (N, K) int8.
        weight_scale: (N,) floating point.
        bias: (N,) or None.
        kernel: "torch" or "triton" for its kernel where there are few rows, "plain" never.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None, *, kernel: Kernel = "plain"
    ) -> None:
        super().__init__()
        self.n_out, self.n_in = weight.shape
        self.kernel = kernel
        self._interpreted = kernel == "triton" and _load_triton()
        self.register_buffer("weight", weight.contiguous(), persistent=False)
        self.register_buffer("weight_scale", weight_scale.to(torch.bfloat16), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x` (..., K); returns (..., N) in its dtype."""
        rows = x.reshape(-1, self.n_in)
        is_there = self.kernel == "triton" and (rows.is_cuda or self._interpreted)
        if is_there and len(rows) <= _TRITON_ROWS:
            made = torch.ops.localgpt.int8_rows(rows, self.weight, self.weight_scale, self.bias)
            return made.to(x.dtype).view(*x.shape[:-1], self.n_out)
        if self.kernel == "torch" and len(rows) <= _FEW_ROWS:
            halves = rows.to(torch.bfloat16)
            out = torch._weight_int8pack_mm(halves, self.weight, self.weight_scale).to(x.dtype)
        else:
            out = F.linear(rows, self.weight.to(rows.dtype)) * self.weight_scale.to(rows.dtype)
        if self.bias is not None:
            out = out + self.bias.to(out.dtype)
        return out.view(*x.shape[:-1], self.n_out)

    def dequantized(self) -> Tensor:
        """The weights (N, K) as float32."""
        return self.weight.float() * self.weight_scale.float()[:, None]


class Int4WeightLinear(nn.Module):
    """Linear layer with four-bit weights, a scale and a zero for each group of inputs.

    A weight is `(q - 8) * scale + zero` with q from 0 to 15.

    Args:
        quantized: (N, K) uint8 from 0 to 15.
        scale_and_zero: (K / G, N, 2) bfloat16.
        bias: (N,) or None.
        kernel: "torch" packs the weights for its kernel on their device, "triton" eight into a word, "plain"
            two into a byte.
    """

    packed: Tensor
    scale_and_zero: Tensor
    bias: Tensor | None

    def __init__(
        self,
        quantized: Tensor,
        scale_and_zero: Tensor,
        bias: Tensor | None = None,
        *,
        kernel: Kernel = "plain",
    ) -> None:
        super().__init__()
        self.n_out, self.n_in = quantized.shape
        self.group_size = self.n_in // scale_and_zero.shape[0]
        self.kernel = kernel
        self._interpreted = kernel == "triton" and _load_triton()
        if kernel == "triton":
            packed = _packed_words(quantized, self.group_size)
            scale_and_zero = scale_and_zero.to(torch.bfloat16).transpose(0, 1)  # (N, K / G, 2)
        else:
            packed = _packed_for_torch(quantized) if kernel == "torch" else _packed(quantized)
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("scale_and_zero", scale_and_zero.contiguous(), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x` (..., K); returns (..., N) in its dtype."""
        rows = x.reshape(-1, self.n_in)
        if self.kernel == "triton" and (rows.is_cuda or self._interpreted):
            if len(rows) <= _TRITON_ROWS:
                made = torch.ops.localgpt.int4_rows(rows, self.packed, self.scale_and_zero, self.bias)
                return made.to(x.dtype).view(*x.shape[:-1], self.n_out)
            spread = torch.ops.localgpt.int4_spread(self.packed, self.scale_and_zero)
            out = F.linear(rows, spread.to(rows.dtype))
        elif self.kernel == "torch":
            multiply = (
                torch.ops.aten._weight_int4pack_mm_for_cpu
                if rows.device.type == "cpu"
                else torch.ops.aten._weight_int4pack_mm
            )
            halves = rows.to(torch.bfloat16)
            out = multiply(halves, self.packed, self.group_size, self.scale_and_zero).to(x.dtype)
        else:
            out = F.linear(rows, self.dequantized().to(rows.dtype))
        if self.bias is not None:
            out = out + self.bias.to(out.dtype)
        return out.view(*x.shape[:-1], self.n_out)

    def dequantized(self) -> Tensor:
        """The weights (N, K) as float32; not of torch's layout."""
        assert self.kernel != "torch"
        if self.kernel == "triton":
            quantized = _unpacked_words(self.packed, self.group_size)
            return _spread(quantized, self.scale_and_zero.transpose(0, 1))
        low, high = self.packed & 0xF, self.packed >> 4
        quantized = torch.stack((low, high), dim=-1).view(self.n_out, self.n_in)
        return _spread(quantized, self.scale_and_zero)


def quantize_groups(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Four-bit weights between each group's least and largest.

    Args:
        weight: (N, K) floating point; K is a multiple of `group`.
        group: G.

    Returns:
        (uint8 (N, K) from 0 to 15, bfloat16 (K / G, N, 2) of scale and zero).
    """
    groups = weight.detach().float().view(weight.shape[0], -1, group)  # (N, K / G, G)
    least, most = groups.amin(dim=-1), groups.amax(dim=-1)
    # Rounded first, so that what is kept of them is what the weights were rounded by.
    scale = ((most - least) / _LEVELS).clamp(min=1e-8).to(torch.bfloat16)
    zero = (least + _ZERO_POINT * scale.float()).to(torch.bfloat16)
    steps = (groups - zero.float()[..., None]) / scale.float()[..., None] + _ZERO_POINT
    quantized = steps.round().clamp(0, _LEVELS).to(torch.uint8).view(weight.shape)
    return quantized, torch.stack((scale, zero), dim=-1).transpose(0, 1).contiguous()


def group_size(n_in: int) -> int | None:
    """Inputs of a group for a layer of so many; None where none divides them."""
    return next((size for size in GROUP_SIZES if n_in % size == 0), None)


def _load_triton() -> bool:
    """Import that library, which a layer wants now, and not before; whether its interpreter stands for it.

    Raises:
        ImportError: it is not installed.
    """
    from localgpt.nn import few_rows

    if not few_rows.is_there:
        raise ImportError("Triton is not installed, whose kernels are wanted")
    return few_rows.is_interpreted


def _spread(quantized: Tensor, scale_and_zero: Tensor) -> Tensor:
    scale, zero = (part.transpose(0, 1).float()[..., None] for part in scale_and_zero.unbind(-1))
    groups = quantized.view(quantized.shape[0], scale_and_zero.shape[0], -1).float()
    return ((groups - _ZERO_POINT) * scale + zero).view(quantized.shape)


def _packed(quantized: Tensor) -> Tensor:
    pairs = quantized.view(quantized.shape[0], -1, 2)
    return pairs[..., 0] | (pairs[..., 1] << 4)


def _packed_words(quantized: Tensor, group: int) -> Tensor:
    """Four-bit weights as Triton's kernels read them.

    Args:
        quantized: (N, K) uint8 from 0 to 15.
        group: G.

    Returns:
        (N, K / 8) int32.
    """
    n_out, n_in = quantized.shape
    places = quantized.view(n_out, n_in // group, _PER_WORD, group // _PER_WORD)
    low, high = places[:, :, 0::2], places[:, :, 1::2]
    # A byte holds two neighbouring places, the lowest byte of a word the first two.
    as_bytes = (low | (high << 4)).transpose(2, 3).contiguous()  # (N, K / G, G / 8, 4)
    return as_bytes.view(torch.int32).view(n_out, n_in // _PER_WORD)


def _unpacked_words(packed: Tensor, group: int) -> Tensor:
    """Inverse of `_packed_words`: (N, K) uint8."""
    n_out, num_words = packed.shape
    as_bytes = packed.view(torch.uint8).view(n_out, -1, group // _PER_WORD, _PER_WORD // 2)
    places = torch.stack((as_bytes & 0xF, as_bytes >> 4), dim=-1)  # (N, K / G, G / 8, 4, 2)
    return places.flatten(3).transpose(2, 3).reshape(n_out, num_words * _PER_WORD)


def _packed_for_torch(quantized: Tensor) -> Tensor:
    if quantized.device.type == "cpu":
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(quantized.int(), 8)
    pairs = quantized.view(quantized.shape[0], -1, 2)
    tiles = next(tiles for tiles in (8, 4, 2) if quantized.shape[1] % (tiles * 16) == 0)
    both = ((pairs[..., 0] << 4) | pairs[..., 1]).contiguous()
    return torch.ops.aten._convert_weight_to_int4pack(both, tiles)
