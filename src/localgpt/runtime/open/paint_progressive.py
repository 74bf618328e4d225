"""Pictures painted in three stages of growing size: sketch, middle, final.

The sketch is painted from noise at half the side; its latents are made larger, noise is laid over them in
part, and what that hid is painted anew, twice. What is where is settled where it is cheap and where models
were trained, so that a picture larger than a model's own shows a thing once (SDEdit, Meng et al. 2022,
arXiv:2108.01073, for the noise in part; here on latents that were made larger).

How we differ from one run at full size: of the steps about half are made at a quarter of the area.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.runtime.open.paint_batch import Batch
from localgpt.runtime.open.paint_plans import TILE_SIDE
from localgpt.runtime.open.paint_stages import Forecast, decode_latents, forecasting, set_tiles
from localgpt.tasks import STAGES, PaintedImage, PaintStage, Progress, StageName

__all__ = ["ProgressiveBatch"]

_SIDES: Final[dict[StageName, float]] = {"sketch": 0.5, "middle": 0.75, "final": 1.0}  # of the picture's own
_PARTS: Final[dict[StageName, float]] = {"sketch": 0.5, "middle": 0.45, "final": 0.35}  # of the steps
_SIDE_STEP: Final = 16  # pixels; every class of models takes multiples of it


class ProgressiveBatch(Batch):
    """As `Batch`, of a text alone."""

    def paint(self) -> list[PaintedImage]:
        """The finished pictures."""
        clean: Tensor | None = None
        for stage in STAGES:
            self._stop_if_cancelled()
            clean = self._paint_stage(stage, clean)
            if stage != "final":
                self._show_stage(stage, clean)
        assert clean is not None
        set_tiles(self._pipeline, TILE_SIDE if self._plan.is_tiled else None)
        stages = (*self._stages, *self._final_stage())
        return [self._finish(index, clean, stages) for index in range(len(self._seeds))]

    def _paint_stage(self, stage: StageName, before: Tensor | None) -> Tensor:
        """Clean latents (B, C, h, w) of a stage, from those of the one before."""
        width, height = self._size_at(stage)
        num_steps = self._settled.num_steps
        pipeline = self._loaded.from_text if before is None else self._loaded.from_image
        arguments = {**self._arguments(), "width": width, "height": height}
        if before is None:
            arguments["num_inference_steps"] = max(1, round(num_steps * _PARTS[stage]))
        else:
            scale = pipeline.vae_scale_factor
            arguments |= {
                "image": _larger(before, (height // scale, width // scale)),
                "strength": max(_PARTS[stage], 1.0 / num_steps),
            }
            if not self._takes_size(pipeline):
                del arguments["width"], arguments["height"]
        fast, owner = self._loaded.fast, self._settled.request.owner
        with fast.painting(pipeline, owner), forecasting(pipeline.scheduler) as forecast:
            latents: Tensor = pipeline(
                **arguments,
                callback_on_step_end=self._step_of(stage, forecast),
                callback_on_step_end_tensor_inputs=fast.callback_names(pipeline),
                output_type="latent",
            ).images
        if latents.ndim == 3:  # packed, as Flux has them
            latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
        return latents

    def _step_of(self, stage: StageName, forecast: Forecast) -> Callable[..., dict[str, Any]]:
        num_before = self._num_steps

        def callback(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            self._num_steps = num_before + step + 1
            later = STAGES[STAGES.index(stage) + 1 :]
            left = sum(max(1, int(_PARTS[one] * self._settled.num_steps)) for one in later)
            whole = num_before + pipeline.num_timesteps + left
            num_batches = -(-len(self._settled.seeds) // self._plan.batch_size)
            number = self._first // self._plan.batch_size
            total = float(num_batches * whole)
            done = min(float(number * whole + self._num_steps), total)
            self._emit(Progress(done=done, total=total, unit="steps"))
            self._stop_if_cancelled()
            return self._loaded.fast.after_step(pipeline, step, pipeline.num_timesteps, values)

        return callback

    def _show_stage(self, stage: StageName, clean: Tensor) -> None:
        if stage not in STAGES[: self._settled.request.num_previews]:
            return
        size = self._size_at(stage)
        set_tiles(self._pipeline, TILE_SIDE if self._plan.is_tiled else None)
        for index in range(len(self._seeds)):
            image = decode_latents(self._pipeline, clean[index : index + 1], size)
            self._emit(self._preview(stage, index, image))
        self._stages.append(PaintStage(name=stage, num_steps=self._num_steps, width=size[0], height=size[1]))

    def _size_at(self, stage: StageName) -> tuple[int, int]:
        if stage == "final":
            return self._plan.width, self._plan.height
        sides = (self._plan.width, self._plan.height)
        width, height = (
            max(_SIDE_STEP, round(_SIDES[stage] * side / _SIDE_STEP) * _SIDE_STEP) for side in sides
        )
        return width, height


def _larger(latents: Tensor, size: tuple[int, int]) -> Tensor:
    made = torch.nn.functional.interpolate(latents.float(), size, mode="bicubic", antialias=True)
    return made.to(latents.dtype)
