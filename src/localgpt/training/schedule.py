"""Learning-rate schedule over a run measured in steps or in minutes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch.optim import Optimizer

__all__ = ["Budget", "set_lr", "trapezoid"]


@dataclass(slots=True, kw_only=True)
class Budget:
    """How long a run lasts: a number of steps (repeatable), or minutes of wall clock."""

    steps: int | None = None
    minutes: float | None = None
    step: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a budget needs either steps or minutes, and not both")

    @property
    def elapsed_minutes(self) -> float:
        """Wall clock since the run began."""
        return (time.monotonic() - self.started) / 60

    @property
    def progress(self) -> float:
        """Share of the run that is over, 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.step / self.steps)
        assert self.minutes is not None
        return min(1.0, self.elapsed_minutes / self.minutes)

    @property
    def is_over(self) -> bool:
        """Whether no further step should run."""
        return self.progress >= 1.0


def trapezoid(progress: float, *, warmup: float, decay: float, floor: float = 0.0) -> float:
    """Warm-up, plateau, linear decay.

    Args:
        progress: 0 to 1.
        warmup: share of the run to rise from 0 to 1.
        decay: share of the run to fall from 1 to `floor` at the end.
        floor: factor at the end.

    Returns:
        Factor for the peak learning rate, 0 to 1.
    """
    if progress < warmup:
        return progress / warmup
    if progress > 1 - decay:
        return floor + (1 - floor) * (1 - progress) / decay
    return 1.0


def set_lr(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
