"""A picture in three stages: a small sketch, the same at full size and noised again in part, the finish.

The sketch settles what is where, at a quarter of the cost of a step; it is made larger, brought back to a
level of noise where shapes are still open, and painted to the end. What is shown on the way is what the
painter expects at that moment; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.models.painter import PainterConfig
from localgpt.sampling.diffusion.flow import Flow, Kept, levels, noise_of, renoised

__all__ = ["Cascade", "CascadePlan", "Shown"]

Stage = Literal["sketch", "middle"]
Shown = Callable[[Stage, int, Tensor], None]  # stage, steps made, clean pictures (B, 3, s, s)
_BACK_TO: Final = 0.8  # level of noise from which a sketch is painted over at full size


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePlan:
    """Levels of noise of the sketch and of the whole, each down to 0; an empty one is no sketch."""

    sketch: tuple[float, ...]
    whole: tuple[float, ...]

    @classmethod
    def of(cls, num_steps: int, *, strength: float | None = None) -> CascadePlan:
        """Share out the steps: half of them for the sketch.

        Args:
            num_steps: of both together, 1 or more; one alone makes no sketch.
            strength: level of noise to begin from with a picture instead.
        """
        if strength is not None:
            return cls(sketch=(), whole=tuple(levels(num_steps, first=strength)))
        num_sketch = num_steps // 2
        if num_sketch == 0:
            return cls(sketch=(), whole=tuple(levels(num_steps)))
        whole = levels(num_steps - num_sketch, first=_BACK_TO)
        return cls(sketch=tuple(levels(num_sketch)), whole=tuple(whole))

    @property
    def num_steps(self) -> int:
        """Of both together."""
        return max(0, len(self.sketch) - 1) + len(self.whole) - 1

    def shown_after(self) -> dict[int, Stage]:
        """After which step which stage is shown."""
        num_sketch, num_whole = max(0, len(self.sketch) - 1), len(self.whole) - 1
        middle = num_sketch + max(1, num_whole // 2)
        if num_sketch:
            return {num_sketch: "sketch", middle: "middle"}
        if num_whole < 3:
            return {1: "sketch"} if num_whole == 2 else {}
        return {max(1, num_whole // 4): "sketch", max(2, num_whole // 2): "middle"}


class Cascade:
    """Paints one batch.

    Args:
        flow: how steps are made.
        config: of the painter.
        plan: levels of noise.
        generators: of each picture's noise; they are used up in the same way whoever else is in the batch.
    """

    def __init__(
        self, flow: Flow, config: PainterConfig, plan: CascadePlan, generators: Sequence[torch.Generator]
    ) -> None:
        self._flow, self._config, self._plan, self._generators = flow, config, plan, generators
        self._device = flow.words.features.device
        self._num_steps = 0

    def run(
        self,
        *,
        begin: Tensor | None = None,
        is_painted: Tensor | None = None,
        show: Shown = lambda *_: None,
        after_step: Callable[[int], None] = lambda _: None,
    ) -> Tensor:
        """Paint.

        Args:
            begin: (B, 3, S, S) in [-1, 1] to begin from, where the plan has no sketch.
            is_painted: (S, S), 0 where `begin` stays; None where all of it may change.
            show: told the stages as they are reached.
            after_step: told the number of steps made; what it raises ends the work.

        Returns:
            (B, 3, S, S) in [-1, 1].
        """
        self._num_steps = 0
        shown = self._plan.shown_after()

        def stepped(_: int, clean: Tensor) -> None:
            self._num_steps += 1
            after_step(self._num_steps)
            if (stage := shown.get(self._num_steps)) is not None:
                show(stage, self._num_steps, clean.clamp(-1, 1))

        if self._plan.sketch:
            noise = noise_of(self._generators, self._config.sketch_size, self._device)
            sketch = self._flow.run(noise, self._plan.sketch, stepped)
            begin = _larger(sketch.clamp(-1, 1), self._config.size)
        noise = noise_of(self._generators, self._config.size, self._device)
        start = noise if begin is None else renoised(begin, noise, self._plan.whole[0])
        kept = None if begin is None or is_painted is None else Kept(begin, noise, is_painted)
        return self._flow.run(start, self._plan.whole, stepped, kept=kept).clamp(-1, 1)


def _larger(pixels: Tensor, side: int) -> Tensor:
    return F.interpolate(pixels, size=(side, side), mode="bicubic", align_corners=False).clamp(-1, 1)
