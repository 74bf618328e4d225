"""An encoder's opinion of what a picture shows where: CLIP guidance by place (Liu et al. 2021, 2112.05744).

Differs: what is compared with a thing's words is its own place in the picture, so that the encoder, which is
poor at telling left from right, only has to know the thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.models.encoder import JointEncoder

__all__ = ["PlaceJudge", "vectors_of"]

_SIDE: Final = 96  # pixels of a place as the encoder sees it; its features have a stride of 16


class PlaceJudge:
    """How little the places of pictures look like their things; implements `binding.Judge`.

    Args:
        encoder: whose weights take no gradients.
        vectors: (K, E) of unit length, of the words of each thing.
        boxes: (x0, y0, x1, y1) of each in 0..1 of the picture.
    """

    def __init__(
        self, encoder: JointEncoder, vectors: Tensor, boxes: Sequence[tuple[float, float, float, float]]
    ) -> None:
        self._encoder, self._vectors, self._boxes = encoder, vectors, tuple(boxes)

    def __call__(self, clean: Tensor) -> Tensor:
        """(B, 3, S, S) in about [-1, 1] to (B,): one less the cosine, summed over the things."""
        side = clean.shape[-1]
        total = clean.new_zeros(len(clean))
        for vector, (x0, y0, x1, y1) in zip(self._vectors, self._boxes, strict=True):
            rows, columns = (
                slice(round(first * side), max(round(first * side) + 1, round(last * side)))
                for first, last in ((y0, y1), (x0, x1))
            )
            place = clean[:, :, rows, columns].clamp(-1, 1)
            seen = F.interpolate(place, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
            total = total + 1 - self._encoder.encode_image(seen.to(self._encoder.dtype)).float() @ vector
        return total


@torch.no_grad()
def vectors_of(encoder: JointEncoder, token_ids: Sequence[Sequence[int]]) -> Tensor:
    """Vectors (K, E) of unit length of some texts, each without padding."""
    device = encoder.device
    found = [
        encoder.encode_text(torch.tensor([list(ids)], device=device), torch.tensor([len(ids)], device=device))
        for ids in token_ids
    ]
    return torch.cat(found)
