"""Pictures on their way: what a noisy latent will become, and latents as pixels.

Shape legend: B pictures, C channels of a latent, H and W of a picture in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import BackendError
from localgpt.runtime.open.paint_plans import is_upcast
from localgpt.tasks import StageName

__all__ = ["Forecast", "decode_latents", "forecasting", "set_tiles", "shown_size", "stage_steps"]

_STAGE_PARTS: Final[dict[StageName, float]] = {"sketch": 0.25, "middle": 0.6}  # of the steps
_STAGE_SIDES: Final[dict[StageName, int]] = {"sketch": 256, "middle": 512}  # pixels of the longer side


class Forecast:
    """The latents that the denoiser expects at the end, as of its last step; None before the first."""

    def __init__(self) -> None:
        self.latents: Tensor | None = None


@contextmanager
def forecasting(scheduler: Any) -> Iterator[Forecast]:
    """Watch the steps of a scheduler of diffusers.

    Latents between two steps are noisy; a preview shows the picture that is expected from them.
    """
    forecast, plain = Forecast(), scheduler.step

    @functools.wraps(plain)  # pipelines look at its signature to find out what it takes
    def step(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        is_whole = kwargs.pop("return_dict", True)
        done = plain(model_output, timestep, sample, *args, return_dict=True, **kwargs)
        forecast.latents = _expected(scheduler, done, model_output, timestep, sample)
        return done if is_whole else (done.prev_sample,)

    scheduler.step = step
    try:
        yield forecast
    finally:
        del scheduler.step


def set_tiles(pipeline: Any, side: int | None) -> None:
    """Have the autoencoder work on overlapping tiles of that many pixels a side, or on whole pictures.

    Diffusers takes the size of the training for a tile, which for SDXL is the whole picture.
    """
    vae = pipeline.vae
    if side is None:
        vae.disable_tiling()
        return
    vae.enable_tiling()
    vae.tile_sample_min_size = side
    vae.tile_latent_min_size = side // pipeline.vae_scale_factor


def stage_steps(num_steps: int) -> dict[StageName, int]:
    """After how many steps each stage but the last is shown; at least one, at most all."""
    return {name: max(1, round(part * num_steps)) for name, part in _STAGE_PARTS.items()}


def shown_size(stage: StageName, width: int, height: int) -> tuple[int, int]:
    """Width and height at which a stage is shown."""
    scale = min(1.0, _STAGE_SIDES[stage] / max(width, height))
    return round(width * scale), round(height * scale)


def decode_latents(
    pipeline: Any, latents: Tensor, size: tuple[int, int], shown: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """One picture's latents as pixels.

    Args:
        pipeline: whose autoencoder it is.
        latents: (1, C, h, w), or packed to (1, h x w / 4, 4 C) as Flux has them.
        size: width and height of the picture.
        shown: width and height at which it is wanted; smaller latents are decoded, which costs less.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BackendError: the autoencoder gave no numbers.
    """
    vae, scale = pipeline.vae, pipeline.vae_scale_factor
    if latents.ndim == 3:
        latents = pipeline._unpack_latents(latents, size[1], size[0], scale)
    if vae.dtype == torch.float16 and is_upcast(pipeline):
        vae.to(torch.float32)  # the autoencoder of SDXL overflows in half precision; it stays so
    latents = _unscaled(latents.to(vae.dtype), vae.config)
    if shown is not None and shown != size:
        smaller = [max(1, side // scale) for side in reversed(shown)]
        latents = torch.nn.functional.interpolate(latents, smaller, mode="bilinear", antialias=True)
    with torch.no_grad():
        pixels = vae.decode(latents, return_dict=False)[0][0].float()
    if not torch.isfinite(pixels).all():
        raise BackendError(
            "the autoencoder gave no numbers, which happens in half precision; load the model without --fp16"
        )
    pixels = ((pixels / 2 + 0.5).clamp(0.0, 1.0) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def _unscaled(latents: Tensor, config: Any) -> Tensor:
    """Latents as the autoencoder made them, from those of unit variance that are denoised."""
    latents = latents / config.scaling_factor
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        latents = latents * latents.new_tensor(std).view(1, -1, 1, 1)
        return latents + latents.new_tensor(mean).view(1, -1, 1, 1)
    shift: float = config.get("shift_factor") or 0.0
    return latents + shift


def _expected(scheduler: Any, done: Any, model_output: Tensor, timestep: Any, sample: Tensor) -> Tensor:
    """The end of the way, from where a step began and what the denoiser said there."""
    found: Tensor | None = getattr(done, "pred_original_sample", None)
    if found is not None:
        return found
    if "FlowMatch" in type(scheduler).__name__:
        sigma: Tensor = scheduler.sigmas[scheduler.step_index - 1].to(sample.device, sample.dtype)
        return sample - sigma * model_output
    if getattr(scheduler, "alphas_cumprod", None) is None:
        last: Tensor = done.prev_sample
        return last
    signal = scheduler.alphas_cumprod[int(timestep)].to(sample.device, torch.float32)
    kind = scheduler.config.prediction_type
    x, out = sample.float(), model_output.float()
    if kind == "epsilon":
        out = (x - (1 - signal).sqrt() * out) / signal.sqrt()
    elif kind == "v_prediction":
        out = signal.sqrt() * x - (1 - signal).sqrt() * out
    return out.to(sample.dtype)
