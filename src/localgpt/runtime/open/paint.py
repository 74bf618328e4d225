"""Open painters: SD 1.5, SDXL, SD-Turbo, SD 3 and Flux classes by the pipelines of diffusers.

* Each picture has its own seed, and its noise is drawn on the CPU, so that it is the same alone and among
  others, and on every device, up to rounding.
* What a request leaves open: steps and guidance of the model's class; 0.6 of a picture to begin from is
  painted over, and all of what is inside a mask. Outside a mask every pixel stays.
* A preview shows the picture that the denoiser expects at that moment, from smaller latents.
* Cancelling is noticed between two steps, and between two pictures that are decoded.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.compute.memory.state import Size
from localgpt.errors import CancelledRequestError, InputError
from localgpt.media.image import encode_png
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.paint_inputs import PaintInputs, read_inputs
from localgpt.runtime.open.paint_pipelines import LoadedPainter, load_painter
from localgpt.runtime.open.paint_plans import TILE_SIDE, PaintPlan, Shape, plans_for, size_of
from localgpt.runtime.open.paint_stages import (
    Forecast,
    decode_latents,
    forecasting,
    set_tiles,
    shown_size,
    stage_steps,
)
from localgpt.runtime.open.prepared import Prepared
from localgpt.tasks import (
    STAGES,
    ModelStatus,
    Notice,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintResult,
    PaintStage,
    Progress,
    Request,
    Result,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Painter", "load"]

_DEFAULT_STRENGTH: Final = 0.6
_MAX_FRESH_SEED: Final = 2**32
_NUM_PREPARED: Final = 8  # requests that wait with their pictures decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
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


def load(checkpoint: OpenCheckpoint) -> Painter:
    """Read a painter.

    Raises:
        CheckpointError: the folder is incomplete or broken, or of a class that is not run here.
    """
    return Painter(checkpoint, load_painter(checkpoint))


class Painter:
    """One loaded painter; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its pipelines.
    """

    tasks: tuple[str, ...] = ("paint",)

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedPainter) -> None:
        self.id = checkpoint.id
        self._checkpoint, self._loaded = checkpoint, loaded
        self._shape = Shape.of(loaded.from_text, loaded.denoiser)
        self._footprint = measure(*self._networks().values())
        self._ready = Prepared(self._settle, num_kept=_NUM_PREPARED)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Denoiser, autoencoder and text encoders, as far as they do not rest and are not streamed."""
        resting, streamed = self._loaded.fast.resting, self._loaded.streamed
        parts = {name: part for name, part in self._networks().items() if part not in resting}
        if streamed is None:
            return parts
        return {
            name: streamed.resident if part is self._loaded.denoiser else part for name, part in parts.items()
        }

    @property
    def notices(self) -> tuple[str, ...]:
        """What differs from what was asked for, and what is done for speed."""
        return tuple(filter(None, (*self._loaded.notices, self._loaded.fast.refusal)))

    @property
    def dtype(self) -> str:
        """Of the denoiser."""
        return str(self._loaded.dtype).removeprefix("torch.")

    @property
    def cache_bytes(self) -> int:
        """What is remembered of texts, and graphs."""
        return self._loaded.fast.cache_bytes

    def status(self) -> ModelStatus:
        """What it is."""
        return ModelStatus(
            id=self.id,
            tasks=self.tasks,
            num_params=self._footprint.num_params,
            weight_bytes=self._footprint.weight_bytes,
            context_len=self._loaded.from_text.tokenizer.model_max_length,
            num_image_tokens=0,
            created=self._checkpoint.created,
            licence=self._checkpoint.licence,
        )

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What painting takes: at once, tile by tile, one picture after the other, smaller.

        Raises:
            InputError: the request cannot be painted.
        """
        settled = self._ready.look(request)
        num_at_once = 2 if self._uses_guidance(settled.guidance_scale) else 1
        fast = self._loaded.fast
        reading = measure(*fast.resting).weight_bytes if fast.resting else 0  # encoders, while they are back
        return tuple(
            size_of(
                plan,
                self._shape,
                num_at_once=num_at_once,
                reading_bytes=reading,
                has_graphs=fast.switches.graphs,
            )
            for plan in self._plans(settled)
        )

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Paint.

        Raises:
            CancelledRequestError: nobody waits any more.
            InputError: the request cannot be painted.
        """
        began = time.perf_counter()
        settled = self._ready.take(request)
        plan = next(plan for plan in self._plans(settled) if plan.shape == size.shape)
        notices = tuple(filter(None, (*self.notices, *settled.notices, size.notice)))
        for text in notices:
            emit(Notice(text=text))
        images: list[PaintedImage] = []
        for first in range(0, settled.request.num_images, plan.batch_size):
            batch = _Batch(self._loaded, settled, plan, first, emit, is_cancelled)
            images += batch.paint()
        late = tuple(text for text in self.notices if text not in notices)
        for text in late:
            emit(Notice(text=text))
        return PaintResult(
            images=tuple(images),
            seconds=time.perf_counter() - began,
            model=self.id,
            num_steps=settled.num_steps,
            guidance_scale=settled.guidance_scale,
            notices=(*notices, *late),
        )

    def drop_caches(self) -> None:
        """Forget both."""
        self._loaded.fast.drop_caches()

    def release(self) -> None:
        """Let go of the networks."""
        self._ready.clear()
        del self._loaded

    def _networks(self) -> dict[str, nn.Module]:
        parts = self._loaded.from_text.components.items()
        return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}

    def _settle(self, request: Request) -> _Settled:
        if not isinstance(request, PaintRequest):
            raise InputError(f"the model {self.id} paints; expected a request to paint", param="model")
        for name in ("binds_words", "wants_heat_maps"):
            if getattr(request, name):
                raise InputError(f"{name} is set; {self.id} cannot do that, expected it unset", param=name)
        defaults, inputs = self._loaded.defaults, read_inputs(request)
        guidance = defaults.guidance_scale if request.guidance_scale is None else request.guidance_scale
        if request.guidance_scale and not defaults.takes_scale:
            raise InputError(
                f"guidance_scale is {request.guidance_scale}; {self.id} paints without guidance, expected 0",
                param="guidance_scale",
            )
        if request.negative_prompt and not self._uses_guidance(guidance):
            hint = "; raise guidance_scale above 1" if defaults.has_guidance else ""
            raise InputError(
                f"{self.id} paints without guidance here and cannot avoid what negative_prompt says{hint}",
                param="negative_prompt",
            )
        strength = request.strength or (_DEFAULT_STRENGTH if request.mask is None else 1.0)
        seed = secrets.randbelow(_MAX_FRESH_SEED) if request.seed is None else request.seed
        settled = _Settled(
            request=request,
            inputs=inputs,
            num_steps=request.steps_of(defaults.num_steps),
            guidance_scale=guidance,
            strength=strength,
            seeds=tuple(seed + index for index in range(request.num_images)),
            notices=self._notices_about(request),
        )
        if settled.num_painted_steps < 1:
            raise InputError(
                f"strength {strength} of {settled.num_steps} steps leaves none to paint; expected at least "
                f"{1 / settled.num_steps:.3g}, or more steps",
                param="strength",
            )
        return settled

    def _plans(self, settled: _Settled) -> list[PaintPlan]:
        return plans_for(settled.request, self._shape, settled.inputs.picture_size)

    def _uses_guidance(self, scale: float) -> bool:
        return self._loaded.defaults.has_guidance and scale > 1.0

    def _notices_about(self, request: PaintRequest) -> tuple[str, ...]:
        """Which part of the words no text encoder reads."""
        pipeline = self._loaded.from_text
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        tokenizers = [found for name in names if (found := getattr(pipeline, name, None)) is not None]
        widest = max(tokenizers, key=lambda tokenizer: tokenizer.model_max_length)
        limit = min(widest.model_max_length, 256 if widest is not tokenizers[0] else 10**6)
        notices = []
        for name, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
            if text and (num := len(widest(text, truncation=False).input_ids)) > limit:
                notices.append(f"The {name} has {num} tokens; the model reads the first {limit} of them.")
        return tuple(notices)


class _Batch:
    """Pictures that are painted at once: from `first` on."""

    def __init__(
        self,
        loaded: LoadedPainter,
        settled: _Settled,
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
        if self._pipeline is not self._loaded.from_image or "height" in _parameters(self._pipeline):
            arguments |= {"width": plan.width, "height": plan.height}
        if self._inputs.picture is not None:
            arguments |= {"image": _pil(self._inputs.picture), "strength": self._settled.strength}
        if self._inputs.mask is not None:
            arguments["mask_image"] = _pil(self._inputs.mask.astype(np.uint8) * 255)
        return arguments

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
