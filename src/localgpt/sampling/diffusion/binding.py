"""Words that keep to their places while a picture is painted, and what attention looked for where.

Two ways, both on the steps where there is much noise, for what is where is settled there:

* What attention is told: scores of a thing's words are raised in its place and lowered elsewhere (paint with
  words, Balaji et al. 2022, arXiv:2211.01324). This costs next to nothing.
* Gradients: the noisy picture is moved so that a thing's words are attended to in its place (Chen et al.
  2023, arXiv:2304.03373), and no thing is forgotten beside another (attend and excite, Chefer et al. 2023,
  arXiv:2301.13826); and, where a judge is given, so that the picture expected in that place looks like the
  thing to an encoder of pictures and words. Each costs about three steps of the same size.

Shape legend: B pictures, N = side^2 patches, T words, K things with a place.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.models.painter import Attending
from localgpt.sampling.diffusion.flow import Flow

__all__ = ["Binder", "BindingOptions", "Bound", "Judge"]

Judge = Callable[[Tensor], Tensor]  # clean pictures (B, 3, S, S) to how badly they show the things, (B,)


@dataclass(frozen=True, slots=True)
class Bound:
    """A thing with a place: which of the T words it has, and (x0, y0, x1, y1) in 0..1 of the picture."""

    words: tuple[int, ...]
    box: tuple[float, float, float, float]

    def mask(self, side: int, device: torch.device) -> Tensor:
        """(N,) 1 in its place and 0 elsewhere; patches on an edge belong to both by their share."""
        x0, y0, x1, y1 = self.box
        across, down = (_shares(*edges, side, device) for edges in ((x0, x1), (y0, y1)))
        return (down[:, None] * across[None]).flatten()


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingOptions:
    """How strongly; a painter's config.json holds what suits it under "binding"."""

    bias: float = 3.0  # on scores, at noise alone; less with less noise
    gradient: float = 0.06  # how far a picture moves at once, as a share of its own size
    num_gradients: int = 1  # before each step
    until: float = 0.45  # level of noise below which nothing is done
    judge_weight: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BindingOptions:
        """Inverse of `to_dict`; unknown keys are left alone."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


class Binder:
    """Guides the steps of one batch; implements `flow.Guide`.

    Args:
        things: with their places; none where attention is only watched.
        options: how strongly.
        keeps_maps: whether `maps` shall tell where each word was looked for.
        judge: an encoder's opinion; see there.
        most_side: pixels along a side of the largest pictures that gradients move; larger ones, which were
            sketched before, are only told. None moves all.
    """

    def __init__(
        self,
        things: Sequence[Bound] = (),
        options: BindingOptions | None = None,
        *,
        keeps_maps: bool = False,
        judge: Judge | None = None,
        most_side: int | None = None,
    ) -> None:
        self._things, self._options = tuple(things), options or BindingOptions()
        self._keeps_maps, self._judge, self._most_side = keeps_maps, judge, most_side
        self._sums: dict[int, Tensor] = {}  # by N
        self._counts: dict[int, int] = defaultdict(int)
        self.seconds = 0.0  # that gradients took

    def before_step(self, flow: Flow, noisy: Tensor, level: float, span: float) -> tuple[Tensor, object]:
        """The noisy pictures, moved or not, and what attention is told in the step."""
        is_guided = bool(self._things) and level > self._options.until
        may_move = self._most_side is None or noisy.shape[-1] <= self._most_side
        if is_guided and may_move and self._options.gradient > 0:
            began = time.perf_counter()
            for _ in range(self._options.num_gradients):
                noisy = self._moved(flow, noisy, level, span)
            self.seconds += time.perf_counter() - began
        if not is_guided and not self._keeps_maps:
            return noisy, None
        bias = self._bias(noisy, flow, level) if is_guided and self._options.bias > 0 else None
        if bias is None and not self._keeps_maps:
            return noisy, None
        return noisy, Attending(bias=bias, keeps_maps=self._keeps_maps)

    def after_step(self, attending: object) -> None:
        """Remember where was looked."""
        if not isinstance(attending, Attending) or not attending.maps:
            return
        total = torch.stack(attending.maps).mean(dim=0).float()
        num = total.shape[1]
        self._sums[num] = self._sums[num] + total if num in self._sums else total
        self._counts[num] += 1

    def maps(self, side: int) -> Tensor:
        """Where each word was looked for, over all steps: (B, T, side, side); sums over words are 1.

        Args:
            side: of the grid that all are brought to.
        """
        grids = []
        for num, total in self._sums.items():
            own = round(num**0.5)
            grid = (total / self._counts[num]).mT.reshape(len(total), -1, own, own)
            grids.append(F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False))
        return torch.stack(grids).mean(dim=0)

    def _moved(self, flow: Flow, noisy: Tensor, level: float, span: float) -> Tensor:
        with torch.enable_grad():
            start = noisy.detach().requires_grad_()
            bias = self._bias(start, flow, level) if self._options.bias > 0 else None
            attending = Attending(bias=bias, keeps_maps=True)
            clean = flow.asked(start, level, span, attending)
            energy = self.energy(torch.stack(attending.maps).mean(dim=0))
            if self._judge is not None and self._options.judge_weight > 0:
                energy = energy + self._options.judge_weight * self._judge(clean)
            (gradient,) = torch.autograd.grad(energy.sum(), start)
        size = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        length = noisy.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved: Tensor = noisy - self._options.gradient * level * length * gradient / size
        return moved

    def energy(self, maps: Tensor) -> Tensor:
        """How far attention (B, N, T) is from where the things belong, (B,); 0 where all is in place."""
        side = round(maps.shape[1] ** 0.5)
        outside, strongest = [], []
        for thing in self._things:
            attended = maps[:, :, list(thing.words)].mean(dim=2)
            mask = thing.mask(side, maps.device).to(maps.dtype)
            inside = (attended * mask).sum(dim=1) / attended.sum(dim=1).clamp(min=1e-12)
            outside.append((1 - inside).square())
            strongest.append((attended * mask).amax(dim=1))
        peaks = torch.stack(strongest)  # (K, B)
        forgotten = F.relu(1 - peaks / peaks.detach().mean(dim=0).clamp(min=1e-12)).sum(dim=0)
        return torch.stack(outside).sum(dim=0) + forgotten

    def _bias(self, noisy: Tensor, flow: Flow, level: float) -> Tensor:
        """(1, N, T)."""
        side = noisy.shape[-1] // flow.patch_size
        bias = torch.zeros(1, side * side, flow.words.features.shape[1], device=noisy.device)
        for thing in self._things:
            told = self._options.bias * level * (2 * thing.mask(side, noisy.device) - 1)
            bias[0, :, list(thing.words)] = told[:, None].expand(-1, len(thing.words))
        return bias


def _shares(first: float, last: float, side: int, device: torch.device) -> Tensor:
    """How much of each of `side` equal parts of 0..1 lies between two places, (side,)."""
    edges = torch.arange(side + 1, device=device, dtype=torch.float32) / side
    return ((edges[1:].clamp(max=last) - edges[:-1].clamp(min=first)) * side).clamp(min=0)
