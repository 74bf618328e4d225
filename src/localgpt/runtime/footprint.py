"""How large loaded models are: parameters, bytes, and the kind of weights, each tensor counted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from localgpt.nn.linear import Int8Linear

__all__ = ["Footprint", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Size of a set of models."""

    num_params: int
    weight_bytes: int
    dtype: str  # of most parameters: "int8", "float16", "float32" ...


def measure(*models: nn.Module | None) -> Footprint:
    """Add up the models that are there; tied and shared tensors count once."""
    num_params = weight_bytes = 0
    by_dtype: dict[str, int] = {}
    seen: set[int] = set()
    for model in models:
        for tensor in _tensors(model) if model is not None else ():
            if tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            if isinstance(tensor, nn.Parameter) or tensor.dtype == torch.int8:  # not scales and statistics
                num_params += tensor.numel()
            weight_bytes += tensor.nbytes
            dtype = str(tensor.dtype).removeprefix("torch.")
            by_dtype[dtype] = by_dtype.get(dtype, 0) + tensor.numel()
        for layer in model.modules() if model is not None else ():
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
