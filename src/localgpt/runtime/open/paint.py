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
from typing import TYPE_CHECKING, Final

import torch

from localgpt.compute.memory.state import Size
from localgpt.errors import InputError
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.paint_batch import Batch, Settled
from localgpt.runtime.open.paint_inputs import read_inputs
from localgpt.runtime.open.paint_pipelines import LoadedPainter, load_painter
from localgpt.runtime.open.paint_plans import PaintPlan, Shape, plans_for, size_of
from localgpt.runtime.open.paint_progressive import ProgressiveBatch
from localgpt.runtime.open.prepared import Prepared
from localgpt.tasks import (
    ModelStatus,
    Notice,
    PaintedImage,
    PaintRequest,
    PaintResult,
    Request,
    Result,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Painter", "load"]

_DEFAULT_STRENGTH: Final = 0.6
_MAX_FRESH_SEED: Final = 2**32
_NUM_PREPARED: Final = 8  # requests that wait with their pictures decoded


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
        context_len = self._loaded.from_text.tokenizer.model_max_length
        return self._checkpoint.status(self.tasks, self._footprint, context_len=context_len)

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
        make = ProgressiveBatch if self._is_progressive(settled, plan) else Batch
        for first in range(0, settled.request.num_images, plan.batch_size):
            batch = make(self._loaded, settled, plan, first, emit, is_cancelled)
            try:
                images += batch.paint()
                continue
            except torch.OutOfMemoryError:
                if not self._loaded.fast.give_up_graphs("there was too little memory to paint beside graphs"):
                    raise
            # Anew, after the error, which held what its frames held.
            images += make(self._loaded, settled, plan, first, emit, is_cancelled).paint()
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

    def _settle(self, request: Request) -> Settled:
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
        settled = Settled(
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

    def _plans(self, settled: Settled) -> list[PaintPlan]:
        return plans_for(settled.request, self._shape, settled.inputs.picture_size)

    def _is_progressive(self, settled: Settled, plan: PaintPlan) -> bool:
        """Whether stages are painted: as asked for, else where the picture is larger than the model's own."""
        if settled.inputs.picture is not None:
            return False
        wanted = settled.request.is_progressive
        return plan.width * plan.height > self._shape.native_side**2 if wanted is None else wanted

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
