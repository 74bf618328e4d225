"""What lies where in a rendered scene, cell by cell: a signal that teaches the trunk places, not just names.

Shape legend: N scenes, M side of the stored map, B batch, G side of the feature grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.pictures import PictureSet

__all__ = ["CellHead", "CellMaps"]

MAP_SIDE = 48


@dataclass(frozen=True, slots=True)
class CellMaps:
    """Noun and colour number of whatever is on top at each place; 0 is background or unknown.

    Built from the `objects` of a set's samples: `[noun, colour, x0, y0, x1, y1]` in the order of painting,
    numbers from 1 (0 for no clear colour), box edges in 0..1.
    """

    maps: Tensor  # (N, 2, M, M) int16
    num_nouns: int
    num_colours: int

    @classmethod
    def of(cls, pictures: PictureSet, device: str) -> CellMaps | None:
        """Maps of a set; None where its samples tell no objects."""
        if not any(sample.get("objects") for sample in pictures.samples):
            return None
        maps = torch.zeros(len(pictures.images), 2, MAP_SIDE, MAP_SIDE, dtype=torch.int16)
        for sample in pictures.samples:
            for noun, colour, *box in sample.get("objects") or ():
                x0, y0, x1, y1 = (round(edge * MAP_SIDE) for edge in box)
                maps[int(sample["image"]), :, y0:y1, x0:x1] = torch.tensor([noun, colour], dtype=torch.int16)[
                    :, None, None
                ]
        most = maps.amax(dim=(0, 2, 3)).tolist()
        return cls(maps.to(device), most[0], most[1])

    def targets(self, numbers: Tensor, grid: Tensor, side: int) -> Tensor:
        """Targets under the same warp as the pictures.

        Args:
            numbers: (B,) pictures of the set.
            grid: (B, S, S, 2) sampling grid of `recipes.augment.augment`.
            side: G.

        Returns:
            (B, 2, G, G) int64.
        """
        step = grid.shape[1] // side
        centres = grid[:, step // 2 :: step, step // 2 :: step][:, :side, :side]
        warped = F.grid_sample(
            self.maps[numbers].float(), centres, mode="nearest", padding_mode="zeros", align_corners=False
        )
        return warped.long()


class CellHead(nn.Module):
    """Training-only classifier of every grid cell: noun and colour."""

    def __init__(self, n_in: int, maps: CellMaps) -> None:
        super().__init__()
        self.noun = nn.Linear(n_in, maps.num_nouns + 1)
        self.colour = nn.Linear(n_in, maps.num_colours + 1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the cells, background counting as much as all objects together.

        Args:
            features: (B, G * G, n_in).
            targets: (B, 2, G, G) int64.
        """
        total: Any = 0.0
        for head, target in ((self.noun, targets[:, 0]), (self.colour, targets[:, 1])):
            logits = head(features).float().flatten(0, 1)
            each = F.cross_entropy(logits, target.flatten(), reduction="none", label_smoothing=0.05)
            is_object = target.flatten() > 0
            share = is_object.float().mean().clamp(0.02, 0.98)
            weight = torch.where(is_object, 0.7 / share, 0.3 / (1 - share))
            total = total + (each * weight).mean()
        return total / 2
