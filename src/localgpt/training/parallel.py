"""Data-parallel training: one process a GPU, the same weights everywhere, gradients averaged once a step.

Started by `torchrun`, which sets RANK, LOCAL_RANK and WORLD_SIZE; without it every function here is a single
process's no-op. Differs from `DistributedDataParallel`: nothing hooks into the backward pass, so accumulated
and compiled passes need no special care, at the price of not hiding the exchange behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Group", "join_group"]


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of one run. `rank` 0 writes logs and files."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes logs and files."""
        return self.rank == 0

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the group; a missing one counts as zero."""
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(pieces, gradients, strict=True)])

    def agree(self, value: float, device: str) -> float:
        """The first process's value, so that all leave a loop at the same step."""
        if self.size == 1:
            return value
        told: Tensor = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return float(told)

    def leave(self) -> None:
        """Wait for the others and end the group."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def join_group(device: str) -> Group:
    """The group this process was started in.

    Args:
        device: "cuda" binds this process to the GPU of its local rank; "cpu" exchanges through gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Group()
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Group(rank=int(os.environ["RANK"]), size=size)
