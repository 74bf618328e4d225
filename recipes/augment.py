"""Picture augmentation on whole batches, on the device the pictures are on.

Shape legend: B batch, H, W source size, S output size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augmentation", "augment", "augment_with_grid", "plain_pixels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly to change a picture; each field is the half-width or probability of a random change."""

    min_area: float = 0.35  # smallest share of the picture a crop may keep
    aspect: float = 0.3  # log aspect ratio of the crop
    rotate: float = 0.08  # radians
    flip: float = 0.5  # probability of mirroring left and right
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.4
    grey: float = 0.1  # probability of losing all colour
    erase: float = 0.25  # probability of a blank rectangle


def plain_pixels(images: Tensor, size: int) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, S, S) float32 in [-1, 1], resized as the product does."""
    pixels = images.permute(0, 3, 1, 2).float()
    if pixels.shape[-1] != size or pixels.shape[-2] != size:
        pixels = F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return pixels.clamp(0, 255) / 127.5 - 1


def augment(images: Tensor, size: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Random crop, turn, mirror, colour change and erasure, different for every picture.

    Args:
        images: (B, H, W, 3) uint8 RGB.
        size: side of the result.
        how: strengths.
        generator: on the pictures' device.

    Returns:
        (B, 3, S, S) float32 in [-1, 1].
    """
    return augment_with_grid(images, size, how, generator)[0]


def augment_with_grid(
    images: Tensor, size: int, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As `augment`, and the sampling grid (B, S, S, 2) that says where each pixel came from."""
    num = len(images)
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(num, device=images.device, generator=generator) * (high - low) + low

    grid = F.affine_grid(_random_affine(how, uniform), [num, 3, size, size], align_corners=False)
    pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    pixels = _change_colours(pixels, how, uniform)
    return _erase(pixels, how, uniform), grid


def _random_affine(how: Augmentation, uniform) -> Tensor:  # type: ignore[no-untyped-def]
    area = uniform(how.min_area, 1.0).sqrt()
    stretch = torch.exp(uniform(-how.aspect, how.aspect) / 2)
    width, height = (area * stretch).clamp(max=1), (area / stretch).clamp(max=1)
    centre_x, centre_y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    angle = uniform(-how.rotate, how.rotate)
    mirror = torch.where(uniform(0, 1) < how.flip, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    first = torch.stack([width * cos * mirror, -width * sin, centre_x], dim=1)
    second = torch.stack([height * sin * mirror, height * cos, centre_y], dim=1)
    return torch.stack([first, second], dim=1)  # (B, 2, 3)


def _change_colours(pixels: Tensor, how: Augmentation, uniform) -> Tensor:  # type: ignore[no-untyped-def]
    def factor(strength: float) -> Tensor:
        return (1 + uniform(-strength, strength))[:, None, None, None]

    pixels = (pixels + 1) * factor(how.brightness) - 1
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * factor(how.contrast)
    grey = pixels.mean(dim=1, keepdim=True)
    colour = factor(how.saturation)
    colour = torch.where((uniform(0, 1) < how.grey)[:, None, None, None], torch.zeros_like(colour), colour)
    return (grey + (pixels - grey) * colour).clamp(-1, 1)


def _erase(pixels: Tensor, how: Augmentation, uniform) -> Tensor:  # type: ignore[no-untyped-def]
    size = pixels.shape[-1]
    side = torch.where(uniform(0, 1) < how.erase, uniform(0.15, 0.45), torch.zeros_like(uniform(0, 1)))
    x0, y0 = uniform(0, 1) * (1 - side), uniform(0, 1) * (1 - side)
    ramp = (torch.arange(size, device=pixels.device) + 0.5) / size
    inside_x = (ramp >= x0[:, None]) & (ramp < (x0 + side)[:, None])
    inside_y = (ramp >= y0[:, None]) & (ramp < (y0 + side)[:, None])
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return pixels.masked_fill(hole, 0.0)
