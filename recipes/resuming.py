"""All of a run in one file, so that an interrupted one goes on: weights, optimizers, how far it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["load_run", "save_run", "save_whole"]


def save_run(
    path: Path, parts: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], **told: float
) -> None:
    """Write `path`.safetensors; an older one stays until the new one is whole."""
    tensors = {
        f"{name}/{key}": tensor.contiguous()
        for name, part in parts.items()
        for key, tensor in part.state_dict().items()
    }
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{number}/{index}/{key}"] = torch.as_tensor(value).contiguous()
    save_whole(tensors, path.with_suffix(".safetensors"), told=json.dumps(told))


def save_whole(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> None:
    """Write tensors so that the file has its name only once all of it is there."""
    unfinished = path.with_suffix(".part")
    save_file(dict(tensors), unfinished, metadata=metadata or None)
    unfinished.replace(path)


def load_run(path: Path, parts: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Put a run where it was.

    Returns:
        What `save_run` was told; empty where there is no such run.
    """
    file = path.with_suffix(".safetensors")
    if not file.exists():
        return {}
    tensors = load_file(file)
    for name, part in parts.items():
        part.load_state_dict(_under(f"{name}/", tensors))
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under(f"optimizer/{number}/", tensors).items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor
        rates = [group["peak_lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["peak_lr"] = rate
    with safe_open(file, framework="pt") as opened:  # how far it was is in the file of the weights: no other
        told: dict[str, Any] = json.loads(opened.metadata()["told"])  # file can be older than they are
    return told


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
