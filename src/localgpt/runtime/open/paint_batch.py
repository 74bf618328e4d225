"""Pictures of an open painter that are painted at once: steps, stages that are shown, what is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import CancelledRequestError
from localgpt.media.image import encode_png
from localgpt.runtime.open.base import Emit
from localgpt.runtime.open.paint_inputs import PaintInputs
from localgpt.runtime.open.paint_pipelines import LoadedPainter
from localgpt.runtime.open.paint_plans import TILE_SIDE, PaintPlan
from localgpt.runtime.open.paint_stages import (
    Forecast,
    decode_latents,
    forecasting,
    set_tiles,
    shown_size,
    stage_steps,
)
from localgpt.tasks import (
    STAGES,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintStage,
    Progress,
)

__all__ = ["Batch", "Settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A request with nothing left open."""

    request: PaintRequest
    inputs: PaintInputs
    num_steps: int
    guidance_scale: float
    strength: float
    seeds: tuple[int, ...]
    notices: tuple[str, ...]

    @property
    def num_painted_steps(self) -> int:
        """Steps that are made: fewer where a picture is painted over in part."""
        return self.num_steps if self.inputs.picture is None else int(self.num_steps * self.strength)


class Batch:
    """Pictures that are painted at once: from `first` on."""

    def __init__(
        self,
        loaded: LoadedPainter,
        settled: Settled,
        plan: PaintPlan,
        first: int,
        emit: Emit,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._loaded, self._settled, self._plan, self._first = loaded, settled, plan, first
        self._emit, self._is_cancelled = emit, is_cancelled
        self._seeds = settled.seeds[first : first + plan.batch_size]
        self._inputs = settled.inputs.at(plan.width, plan.height)
        self._stages: list[PaintStage] = []
        self._num_steps = 0  # done
        self._pipeline: Any = loaded.from_text
        if self._inputs.picture is not None:
            self._pipeline = loaded.from_image if self._inputs.mask is None else loaded.into_mask

    def paint(self) -> list[PaintedImage]:
        """The finished pictures."""
        set_tiles(self._pipeline, TILE_SIDE if self._plan.is_tiled else None)
        self._stop_if_cancelled()
        fast, owner = self._loaded.fast, self._settled.request.owner
        with fast.painting(self._pipeline, owner), forecasting(self._pipeline.scheduler) as forecast:
            latents = self._pipeline(
                **self._arguments(),
                callback_on_step_end=self._callback(forecast),
                callback_on_step_end_tensor_inputs=fast.callback_names(self._pipeline),
                output_type="latent",
            ).images
        stages = (*self._stages, *self._final_stage())
        return [self._finish(index, latents, stages) for index in range(len(self._seeds))]

    def _arguments(self) -> dict[str, Any]:
        request, plan = self._settled.request, self._plan
        arguments: dict[str, Any] = {
            "prompt": request.prompt,
            "num_inference_steps": self._settled.num_steps,
            "guidance_scale": self._settled.guidance_scale,
            "num_images_per_prompt": len(self._seeds),
            "generator": [torch.Generator().manual_seed(seed) for seed in self._seeds],
        }
        if request.negative_prompt:
            arguments["negative_prompt"] = request.negative_prompt
        if self._takes_size(self._pipeline):
            arguments |= {"width": plan.width, "height": plan.height}
        if self._inputs.picture is not None:
            arguments |= {"image": _pil(self._inputs.picture), "strength": self._settled.strength}
        if self._inputs.mask is not None:
            arguments["mask_image"] = _pil(self._inputs.mask.astype(np.uint8) * 255)
        return arguments

    def _takes_size(self, pipeline: Any) -> bool:
        return pipeline is not self._loaded.from_image or "height" in _parameters(pipeline)

    def _callback(self, forecast: Forecast) -> Callable[..., dict[str, Any]]:
        num_batches = -(-len(self._settled.seeds) // self._plan.batch_size)
        number = self._first // self._plan.batch_size
        wanted = STAGES[: min(2, self._settled.request.num_previews)]

        def callback(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            # One more than asked for, or fewer, as scheduler and strength say.
            num_steps = pipeline.num_timesteps
            self._num_steps = step + 1
            done, total = number * num_steps + step + 1, num_batches * num_steps
            self._emit(Progress(done=float(done), total=float(total), unit="steps"))
            self._stop_if_cancelled()
            assert forecast.latents is not None
            for stage, at in stage_steps(num_steps).items():
                if stage in wanted and at == step + 1:
                    self._show(stage, forecast.latents)
            return self._loaded.fast.after_step(pipeline, step, num_steps, values)

        return callback

    def _show(self, stage: Any, latents: Tensor) -> None:
        """A preview of each picture."""
        size = (self._plan.width, self._plan.height)
        shown = shown_size(stage, *size)
        for index in range(len(self._seeds)):
            image = decode_latents(self._pipeline, latents[index : index + 1], size, shown)
            self._emit(self._preview(stage, index, image))
        height, width = image.shape[:2]
        self._stages.append(PaintStage(name=stage, num_steps=self._num_steps, width=width, height=height))

    def _final_stage(self) -> list[PaintStage]:
        if self._settled.request.num_previews < len(STAGES):
            return []
        width, height = self._plan.width, self._plan.height
        return [PaintStage(name="final", num_steps=self._num_steps, width=width, height=height)]

    def _finish(self, index: int, latents: Tensor, stages: tuple[PaintStage, ...]) -> PaintedImage:
        self._stop_if_cancelled()
        size = (self._plan.width, self._plan.height)
        image = self._inputs.laid_over(decode_latents(self._pipeline, latents[index : index + 1], size))
        preview = self._preview("final", index, image)
        if self._final_stage():
            self._emit(preview)
        return PaintedImage(
            data=preview.data,
            width=preview.width,
            height=preview.height,
            seed=self._seeds[index],
            stages=stages,
        )

    def _preview(self, stage: Any, index: int, image: NDArray[np.uint8]) -> PaintPreview:
        return PaintPreview(
            stage=stage,
            index=self._first + index,
            data=encode_png(image),
            width=image.shape[1],
            height=image.shape[0],
            num_steps=self._num_steps,
        )

    def _stop_if_cancelled(self) -> None:
        if self._is_cancelled():
            raise CancelledRequestError("painting was cancelled")


def _parameters(pipeline: Any) -> Mapping[str, Any]:
    import inspect

    return inspect.signature(pipeline.__call__).parameters


def _pil(image: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(image)
