"""Optimizers: Muon for hidden matrices, AdamW for everything else.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", with decoupled weight
decay (Liu et al. 2025, arXiv:2502.16982). Differs: matrices of one shape are orthogonalised together in one
batch, and a fused qkv matrix is treated as its three parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

__all__ = ["Muon", "OptimizerOptions", "build_optimizers", "orthogonalize", "step_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerOptions:
    """Peak learning rates and decays; the schedule multiplies all rates by one factor."""

    muon_lr: float = 0.02
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.3
    adam_lr: float = 2e-3
    adam_betas: tuple[float, float] = (0.9, 0.95)
    adam_weight_decay: float = 0.0


def orthogonalize(matrices: Tensor, *, num_steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices by a quintic Newton-Schulz iteration.

    Args:
        matrices: (N, R, C) floating point.
        num_steps: iterations; 5 bring all singular values into about [0.7, 1.2].

    Returns:
        (N, R, C) in bfloat16 on accelerators, float32 on the CPU.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    norm: Tensor = x.norm(dim=(1, 2), keepdim=True)
    x = x / (norm + 1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(Optimizer):
    """Momentum whose update matrices are orthogonalised.

    Args:
        params: 2-D parameters; a parameter with attribute `muon_parts` = n is treated as n stacked matrices.
        lr: step size; an update has unit spectral norm times sqrt(max(1, rows / columns)).
        momentum: Nesterov momentum.
        weight_decay: decoupled, multiplied by `lr`.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = self._momentum(parameter, group["momentum"])
                parts = getattr(parameter, "muon_parts", 1)
                rows, columns = parameter.shape[0] // parts, parameter[0].numel()
                by_shape[rows, columns].append((parameter, update.reshape(parts, rows, columns)))
            for (rows, columns), entries in by_shape.items():
                stacked = orthogonalize(torch.cat([update for _, update in entries]))
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                pieces = torch.split(stacked, [update.shape[0] for _, update in entries])
                for (parameter, _), piece in zip(entries, pieces, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(piece.reshape(parameter.shape).to(parameter.dtype), alpha=-scale)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        state: dict[str, Any] = self.state[parameter]
        assert parameter.grad is not None
        buffer = state.setdefault("momentum", torch.zeros_like(parameter.grad))
        buffer.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)


def build_optimizers(module: nn.Module, options: OptimizerOptions) -> list[Optimizer]:
    """Muon for the hidden matrices of `module`, AdamW for embeddings, norms, gates, convolutions and biases.

    Weight decay of AdamW touches only parameters with two or more axes.
    """
    matrices, tables, vectors = [], [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.dim() == 2 and not _is_table(name):
            if name.endswith("c_attn.weight"):
                parameter.muon_parts = 3  # type: ignore[attr-defined]
            matrices.append(parameter)
        elif parameter.dim() >= 2:
            tables.append(parameter)
        else:
            vectors.append(parameter)
    optimizers: list[Optimizer] = []
    if matrices:
        optimizers.append(
            Muon(
                matrices,
                lr=options.muon_lr,
                momentum=options.muon_momentum,
                weight_decay=options.muon_weight_decay,
            )
        )
    groups = [
        {"params": tables, "weight_decay": options.adam_weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        fused = next(module.parameters()).is_cuda
        optimizers.append(AdamW(groups, lr=options.adam_lr, betas=options.adam_betas, fused=fused))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def step_all(
    optimizers: Iterable[Optimizer], parameters: Iterable[nn.Parameter], *, max_norm: float = float("inf")
) -> bool:
    """Clip the gradients, let every optimizer step, and clear the gradients.

    Args:
        optimizers: of a run.
        parameters: whose joint gradient norm counts.
        max_norm: a larger norm is scaled down to this.

    Returns:
        False, and no step, where the norm is not finite: one bad batch must not spoil a run.
    """
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    is_finite = bool(torch.isfinite(norm))
    for optimizer in optimizers:
        if is_finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return is_finite


def _is_table(name: str) -> bool:
    return any(part in name for part in ("wte", "lm_head", "positions", "gate_logits", "keep_score"))
