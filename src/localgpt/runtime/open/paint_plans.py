"""How large a picture is painted, how many at once, and what memory that takes: from a request and a model.

A size that was asked for is painted or refused. One that was left open is the model's own, or smaller where
memory is short. Where it is short, the autoencoder works tile by tile and pictures are painted one by one
before anything gets smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from localgpt.compute.memory.state import Size
from localgpt.errors import InputError
from localgpt.tasks import PaintRequest

__all__ = ["TILE_SIDE", "PaintPlan", "Shape", "is_upcast", "plans_for", "size_of"]

_SMALLER: Final = (0.75, 0.5)  # of a side, where memory is short
_LEAST_SIDE: Final = 256  # pixels; never made smaller than this
_PICTURE_ROOM: Final = 1.5  # a picture to begin from may be larger than the model's own area by this
# Tensors alive at once of the first block's width; upper estimates, which measured peaks replace.
_DENOISER_TENSORS: Final = 48
_AUTOENCODER_TENSORS: Final = 12
TILE_SIDE: Final = 512  # pixels of what the autoencoder works on at once where memory is short


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a model decides about sizes."""

    native_side: int  # pixels
    side_step: int  # sides are multiples of it
    latent_scale: int  # pixels per latent, along a side
    denoiser_width: int  # channels
    autoencoder_width: int
    nbytes: int  # of a number
    autoencoder_nbytes: int

    @classmethod
    def of(cls, pipeline: Any, denoiser: Any) -> Shape:
        """Of a pipeline of diffusers."""
        scale = int(pipeline.vae_scale_factor)
        config, vae = denoiser.config, pipeline.vae
        is_transformer = "block_out_channels" not in config
        sample_size = config.get("sample_size") or getattr(pipeline, "default_sample_size", 64)
        width = config.num_attention_heads * config.attention_head_dim if is_transformer else 0
        return cls(
            native_side=int(sample_size) * scale,
            side_step=max(8, scale * 2) if is_transformer else max(8, scale),
            latent_scale=scale,
            denoiser_width=width or config.block_out_channels[0],
            autoencoder_width=vae.config.block_out_channels[0],
            nbytes=denoiser.dtype.itemsize,
            autoencoder_nbytes=4 if is_upcast(pipeline) else vae.dtype.itemsize,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintPlan:
    """One way to paint a request."""

    width: int
    height: int
    batch_size: int
    is_tiled: bool
    notice: str = ""

    @property
    def shape(self) -> str:
        """Its name among the sizes that memory is asked for."""
        tiles = " tiled" if self.is_tiled else ""
        return f"{self.width}x{self.height} x{self.batch_size}{tiles}"


def plans_for(request: PaintRequest, shape: Shape, picture_size: tuple[int, int] | None) -> list[PaintPlan]:
    """Ways to paint a request, the best first.

    Args:
        request: what is asked for.
        shape: of the model.
        picture_size: width and height of the picture to begin from.

    Raises:
        InputError: a side is no multiple of what the model takes.
    """
    width, height = _asked_size(request, shape, picture_size)
    notice = ""
    if request.width is None and picture_size not in (None, (width, height)):
        assert picture_size is not None
        notice = (
            f"The picture of {picture_size[0]} x {picture_size[1]} was made {width} x {height} for the model."
        )
    plans = list(_at_size(request, width, height, notice))
    if request.width is None and picture_size is None:
        for part in _SMALLER:
            side = _round(shape.native_side * part, shape.side_step)
            if _LEAST_SIDE <= side < width:
                told = f"Memory is short: {side} x {side} pixels instead of {width} x {height}."
                plans.append(PaintPlan(width=side, height=side, batch_size=1, is_tiled=True, notice=told))
    return plans


def size_of(
    plan: PaintPlan, shape: Shape, *, num_at_once: int, reading_bytes: int = 0, has_graphs: bool = False
) -> Size:
    """What a plan takes of memory.

    Args:
        plan: width, height and pictures at once.
        shape: of the model.
        num_at_once: pictures that the denoiser sees for each that is painted: 2 with guidance.
        reading_bytes: what is on the device while the words are read, and not afterwards.
        has_graphs: what denoising takes stays while the picture is decoded.
    """
    latents = (plan.width // shape.latent_scale) * (plan.height // shape.latent_scale)
    rows = plan.batch_size * num_at_once
    denoising = rows * latents * shape.denoiser_width * shape.nbytes * _DENOISER_TENSORS
    area = plan.width * plan.height
    if plan.is_tiled:
        area = min(area, TILE_SIDE**2)
    decoding = area * shape.autoencoder_width * shape.autoencoder_nbytes * _AUTOENCODER_TENSORS
    painting = denoising + decoding if has_graphs else max(denoising, decoding)
    pictures = 3 * plan.width * plan.height * 5 * plan.batch_size
    return Size(shape=plan.shape, nbytes=max(painting, reading_bytes) + pictures, notice=plan.notice)


def is_upcast(pipeline: Any) -> bool:
    """Whether an autoencoder of half precision decodes in float32: that of SDXL, which overflows otherwise.

    Diffusers takes `force_upcast` to be on where a checkpoint does not tell, and then goes by it in the
    pipelines of SDXL alone, which are those that have `upcast_vae`.
    """
    return hasattr(pipeline, "upcast_vae") and bool(pipeline.vae.config.get("force_upcast", False))


def _asked_size(request: PaintRequest, shape: Shape, picture_size: tuple[int, int] | None) -> tuple[int, int]:
    if request.width is not None and request.height is not None:
        for name, side in (("width", request.width), ("height", request.height)):
            if side % shape.side_step:
                near = max(shape.side_step, _round(side, shape.side_step))
                raise InputError(
                    f"{name} is {side}; this model paints sides that are multiples of {shape.side_step}, "
                    f"such as {near}",
                    param=name,
                )
        return request.width, request.height
    if picture_size is None:
        side = _round(shape.native_side, shape.side_step)
        return side, side
    width, height = picture_size
    most = _PICTURE_ROOM * shape.native_side**2
    scale = min(1.0, (shape.native_side**2 / (width * height)) ** 0.5) if width * height > most else 1.0
    least = max(64, shape.side_step)
    return tuple(max(least, _round(side * scale, shape.side_step)) for side in picture_size)  # type: ignore[return-value]


def _at_size(request: PaintRequest, width: int, height: int, notice: str) -> Iterator[PaintPlan]:
    """The same pictures with less and less memory; nobody sees a difference but in time."""
    ways = [(request.num_images, False), (request.num_images, True), (1, True)]
    if max(width, height) <= TILE_SIDE:  # one tile holds it
        ways = [(request.num_images, False), (1, False)]
    for batch_size, is_tiled in dict.fromkeys(ways):
        yield PaintPlan(width=width, height=height, batch_size=batch_size, is_tiled=is_tiled, notice=notice)


def _round(side: float, step: int) -> int:
    return max(step, round(side / step) * step)
