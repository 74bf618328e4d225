"""How large loaded models are: parameters, bytes, and the kind of weights, each tensor counted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from localgpt.nn.linear import Int8Linear
from localgpt.nn.weight_only import Int4WeightLinear

__all__ = ["Counted", "Footprint", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Size of a set of models."""

    num_params: int
    weight_bytes: int
    dtype: str  # of most parameters: "int8", "float16", "float32" ...


@runtime_checkable
class Counted(Protocol):
    """A model whose weights are no tensors of torch, and who counts them itself."""

    num_params: int
    weight_bytes: int
    weight_dtype: str


def measure(*models: Any) -> Footprint:
    """Add up models, each an `nn.Module`, `Counted` or None; tied and shared tensors count once."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    counted = [model for model in models if not isinstance(model, nn.Module) and isinstance(model, Counted)]
    num_params = weight_bytes = 0
    by_dtype: dict[str, int] = {}
    seen: set[int] = set()
    for other in counted:
        num_params += other.num_params
        weight_bytes += other.weight_bytes
        by_dtype[other.weight_dtype] = by_dtype.get(other.weight_dtype, 0) + other.num_params
    for model in modules:
        for tensor in _tensors(model):
            if tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            if isinstance(tensor, nn.Parameter) or tensor.dtype == torch.int8:  # not scales and statistics
                num_params += tensor.numel()
            weight_bytes += tensor.nbytes
            dtype = str(tensor.dtype).removeprefix("torch.")
            by_dtype[dtype] = by_dtype.get(dtype, 0) + tensor.numel()
        for layer in model.modules():
            if isinstance(layer, Int4WeightLinear):  # two or more weights in each number
                num_params += layer.n_in * layer.n_out
                by_dtype["int4"] = by_dtype.get("int4", 0) + layer.n_in * layer.n_out
            if isinstance(layer, Int8Linear) and layer.kernel == "fbgemm":  # its weights are no tensor
                num_weights = layer.n_in * layer.n_out
                num_params += num_weights
                weight_bytes += num_weights
                by_dtype["int8"] = by_dtype.get("int8", 0) + num_weights
    dtype = max(by_dtype, key=lambda name: by_dtype[name], default="none")
    return Footprint(num_params=num_params, weight_bytes=weight_bytes, dtype=dtype)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
