"""Linear layers: a plain one, and one with int8 weights for CPU decoding.

Notable: the int8 layer quantizes activations per row, not per tensor, so that a row's result does not depend
on the other rows in its batch (batched answers equal single ones). Weights have one scale per output channel.
The fast kernel is torch's fbgemm; the plain one beside it is the oracle of the parity tests.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.quiet import unheard_warnings

__all__ = [
    "Int8Embedding",
    "Int8Linear",
    "Linear",
    "dequantize_weight",
    "fbgemm_available",
    "hear_deprecations",
    "quantize_",
    "quantize_weight",
]

# Activations are scaled to [-1, 1] row by row, then held as unsigned 8-bit steps around 128.
_ACTIVATION_SCALE = 1.0 / 127.0
_ACTIVATION_ZERO_POINT = 128
# Columns whose products, at most 127 * 127 each, add up below 2 ** 24: float32 holds each such sum exactly.
_EXACT_COLUMNS = 1040


class Linear(nn.Linear):
    """Linear layer without bias by default; weights are cast to the input's dtype (mixed precision)."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = False) -> None:
        super().__init__(n_in, n_out, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to `input` (..., n_in); returns (..., n_out) in the input's dtype."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 with one scale per output channel (axis 0).

    Args:
        weight: (n_out, ...) floating point.

    Returns:
        (int8 of the same shape in [-127, 127], float32 scale (n_out,)); `weight ~ int8 * scale`.
    """
    flat = weight.detach().float().flatten(1)
    scale = flat.abs().amax(dim=1).clamp(min=1e-12) / 127.0
    quantized = (flat / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return quantized.view(weight.shape), scale


def dequantize_weight(weight: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Inverse of `quantize_weight`: (n_out, ...) int8 and (n_out,) float32 to floating point."""
    return (weight.float() * scale.view(-1, *[1] * (weight.dim() - 1))).to(dtype)


@cache
def fbgemm_available() -> bool:
    """Whether torch's x86 int8 kernels can run here without overflow (they need VNNI to be exact)."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return "avx512_vnni" in flags or "avx_vnni" in flags


class Int8Linear(nn.Module):
    """Linear layer with int8 weights and int8 activations quantized row by row.

    Args:
        weight: (n_out, n_in) int8.
        weight_scale: (n_out,) float32.
        bias: (n_out,) float32 or None.
        kernel: "fbgemm" (fast, x86 CPU), "plain" (same arithmetic in torch, any CPU) or None to choose.

    Source: dynamic quantization as in Jacob et al. 2017, arXiv:1712.05877.
    Differs: activations are scaled per row, so results are independent of the batch.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(
        self, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None, *, kernel: str | None = None
    ) -> None:
        super().__init__()
        self.n_out, self.n_in = weight.shape
        self.kernel = kernel or ("fbgemm" if fbgemm_available() else "plain")
        self.register_buffer("weight_scale", weight_scale.float(), persistent=False)
        self.register_buffer("bias", None if bias is None else bias.float(), persistent=False)
        if self.kernel == "fbgemm":
            self._packed = _prepack(weight, self.weight_scale)
        else:
            self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x` (..., n_in) float; returns (..., n_out) float32."""
        rows = x.reshape(-1, self.n_in).float()
        row_scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        rows = rows / row_scale
        if self.kernel == "fbgemm":
            out = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                rows, _ACTIVATION_SCALE, _ACTIVATION_ZERO_POINT, self._packed
            )
        else:
            steps = (rows / _ACTIVATION_SCALE).round_()
            out = _whole_sums(steps, self.weight.float()) * (self.weight_scale * _ACTIVATION_SCALE)
        out = out * row_scale
        if self.bias is not None:
            out = out + self.bias
        return out.view(*x.shape[:-1], self.n_out)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the stored weights and scales."""
        return self.n_out * self.n_in + self.n_out * 4


def _whole_sums(steps: Tensor, weight: Tensor) -> Tensor:
    """(rows, n_in) by (n_out, n_in), both whole numbers; each row is exact in itself."""
    parts = zip(steps.split(_EXACT_COLUMNS, dim=1), weight.split(_EXACT_COLUMNS, dim=1), strict=True)
    sums = [F.linear(*part) for part in parts]
    out = sums[0]
    for more in sums[1:]:
        out = out + more
    return out


class Int8Embedding(nn.Module):
    """Token table with int8 rows, one scale each.

    Args:
        weight: (V, C) int8.
        weight_scale: (V,) float32.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, weight: Tensor, weight_scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("weight_scale", weight_scale.float(), persistent=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Rows of `token_ids` (...) int64 as (..., C) float32."""
        return self.weight[token_ids].float() * self.weight_scale[token_ids][..., None]


def quantize_(module: nn.Module, *, kernel: str | None = None) -> None:
    """Replace every `Linear` below `module` by an `Int8Linear` of the same weights, in place."""
    for name, child in module.named_children():
        if isinstance(child, Linear):
            weight, scale = quantize_weight(child.weight)
            bias = None if child.bias is None else child.bias.detach()
            setattr(module, name, Int8Linear(weight, scale, bias, kernel=kernel))
        else:
            quantize_(child, kernel=kernel)


def hear_deprecations() -> None:
    """Let torch say once, unheard, that these kernels are deprecated, before a thread loads with them.

    It says so on the first use in a process. Python's filters of warnings are shared by all threads, so
    another thread that changes them at the wrong moment would let it be heard.
    """
    if "fbgemm" in torch.backends.quantized.supported_engines:
        _prepack(torch.ones(1, 1, dtype=torch.int8), torch.ones(1))


def _prepack(weight: Tensor, weight_scale: Tensor) -> torch.ScriptObject:
    previous = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with unheard_warnings():  # these ops are deprecated in torch, hence our own small interface
            zero_points = torch.zeros(weight.shape[0], dtype=torch.int64)
            quantized = torch._make_per_channel_quantized_tensor(
                weight, weight_scale.double(), zero_points, 0
            )
            return torch.ops.quantized.linear_prepack(quantized, None)
    finally:
        torch.backends.quantized.engine = previous
