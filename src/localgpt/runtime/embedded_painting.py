"""One batch of the family's own painter: steps, stages that are shown, larger pictures, heat maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import CancelledRequestError
from localgpt.media.image import encode_png
from localgpt.runtime.open.base import Emit
from localgpt.runtime.open.paint_inputs import PaintInputs
from localgpt.sampling.diffusion.binding import Binder, BindingOptions, Bound
from localgpt.sampling.diffusion.cascade import Cascade, CascadePlan
from localgpt.sampling.diffusion.enlarging import enlarge
from localgpt.sampling.diffusion.flow import Flow, Words
from localgpt.sampling.diffusion.judging import PlaceJudge, vectors_of
from localgpt.sampling.diffusion.reading import Prompt, nothing, read_prompt
from localgpt.tasks import (
    STAGES,
    HeatMap,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintStage,
    Progress,
    StageName,
)

if TYPE_CHECKING:
    from localgpt.media.text.tokenizer import Tokenizer
    from localgpt.models.encoder import JointEncoder, TextEncoder
    from localgpt.models.painter import Painter, Upsampler

__all__ = ["MAX_SIDE", "PaintJob", "Painting", "Skills"]

MAX_SIDE: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """The networks that painting takes; `encoder` is there where it is asked what it thinks of places."""

    painter: Painter
    upsampler: Upsampler
    tower: TextEncoder
    tokenizer: Tokenizer
    encoder: JointEncoder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintJob:
    """A request with nothing left open. `guidance_scale` is 0 where steps are leaps."""

    request: PaintRequest
    inputs: PaintInputs
    side: int
    num_steps: int
    leaps: bool
    guidance_scale: float
    strength: float
    seed: int
    prompt: Prompt
    bound: tuple[Bound, ...]
    binding: BindingOptions

    def at(self, side: int) -> PaintJob:
        """The same at another size."""
        return replace(self, side=side)

    @property
    def plan(self) -> CascadePlan:
        """Its levels of noise: fewer steps where a picture is painted over in part."""
        if self.inputs.picture is None:
            return CascadePlan.of(self.num_steps)
        return CascadePlan.of(max(1, round(self.num_steps * self.strength)), strength=self.strength)


class Painting:
    """Pictures that are painted at once.

    Args:
        skills: the networks.
        job: what to paint.
        part: the first of the job's pictures, and how many at most.
        emit: takes progress and previews.
        is_cancelled: nobody waits any more.
    """

    def __init__(
        self,
        skills: Skills,
        job: PaintJob,
        part: tuple[int, int],
        emit: Emit,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._skills, self._job, self._emit, self._is_cancelled = skills, job, emit, is_cancelled
        self._first = part[0]
        last = min(job.request.num_images, sum(part))
        self._seeds = [job.seed + number for number in range(self._first, last)]
        self._inputs = job.inputs.at(job.side, job.side)
        self._plan = job.plan
        self._num_steps = 0
        self._stages: list[PaintStage] = []
        self._binder = Binder(
            job.bound,
            job.binding,
            keeps_maps=job.request.wants_heat_maps,
            judge=self._judge(),
            most_side=skills.painter.config.sketch_size,
        )

    @property
    def binding_seconds(self) -> float:
        """What gradients took."""
        return self._binder.seconds

    def paint(self) -> list[PaintedImage]:
        """The finished pictures.

        Raises:
            CancelledRequestError: nobody waits any more.
        """
        self._stop_if_cancelled()
        config = self._skills.painter.config
        generators = [torch.Generator().manual_seed(seed) for seed in self._seeds]
        cascade = Cascade(self._flow(), config, self._plan, generators)
        begin, is_painted = self._begin()
        painted = cascade.run(
            begin=begin, is_painted=is_painted, show=self._show, after_step=self._after_step
        )
        stages = (*self._stages, *self._final_stage())
        heat_maps = self._heat_maps()
        return [
            self._finish(index, painted[index : index + 1], stages, heat_maps[index] if heat_maps else ())
            for index in range(len(self._seeds))
        ]

    def _flow(self) -> Flow:
        job, skills, num = self._job, self._skills, len(self._seeds)
        against: Words | None = None
        if not job.leaps and job.guidance_scale not in (0.0, 1.0):
            avoided = job.request.negative_prompt
            read = read_prompt(skills.painter, skills.tower, skills.tokenizer, avoided).words
            against = (read if avoided else nothing(skills.painter)).repeated(num)
        is_watched = bool(job.bound) or job.request.wants_heat_maps
        return Flow(
            denoiser=skills.painter,
            words=job.prompt.words.repeated(num),
            against=against,
            guidance_scale=job.guidance_scale if against is not None else 1.0,
            leaps=job.leaps,
            guide=self._binder if is_watched else None,
            patch_size=skills.painter.config.patch_size,
        )

    def _judge(self) -> PlaceJudge | None:
        encoder, job = self._skills.encoder, self._job
        if encoder is None or not job.bound:
            return None
        places = job.prompt.places()
        phrases = [job.prompt.text[one.start : one.end] for one in places]
        vectors = vectors_of(encoder, [self._skills.tokenizer.encode(phrase) for phrase in phrases])
        return PlaceJudge(encoder, vectors, [one.box for one in places])

    def _begin(self) -> tuple[Tensor | None, Tensor | None]:
        """The picture to begin from, (B, 3, S, S), and where it is painted over, (S, S)."""
        size, device = self._skills.painter.config.size, self._skills.painter.device
        inputs = self._inputs.at(size, size)
        if inputs.picture is None:
            return None, None
        pixels = torch.from_numpy(inputs.picture.copy()).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1
        begin = pixels.expand(len(self._seeds), -1, -1, -1)
        if inputs.mask is None:
            return begin, None
        return begin, torch.from_numpy(inputs.mask.copy()).to(begin)

    def _after_step(self, num_steps: int) -> None:
        self._num_steps = num_steps
        done = self._first * self._plan.num_steps + num_steps * len(self._seeds)
        total = self._job.request.num_images * self._plan.num_steps
        self._emit(Progress(done=float(done), total=float(total), unit="steps"))
        self._stop_if_cancelled()

    def _show(self, stage: StageName, num_steps: int, clean: Tensor) -> None:
        """A preview of each picture, where it is wanted."""
        if stage not in STAGES[: min(2, self._job.request.num_previews)]:
            return
        side = clean.shape[-1]
        for index in range(len(self._seeds)):
            self._emit(self._preview(stage, index, _bytes_of(clean[index : index + 1])))
        self._stages.append(PaintStage(name=stage, num_steps=num_steps, width=side, height=side))

    def _final_stage(self) -> tuple[PaintStage, ...]:
        if self._job.request.num_previews < len(STAGES):
            return ()
        side = self._job.side
        return (PaintStage(name="final", num_steps=self._num_steps, width=side, height=side),)

    def _finish(
        self, index: int, painted: Tensor, stages: tuple[PaintStage, ...], heat_maps: tuple[HeatMap, ...]
    ) -> PaintedImage:
        upsampler, pixels = self._skills.upsampler, painted.to(self._skills.painter.dtype)
        larger = enlarge(upsampler, pixels, self._job.side, before_tile=self._stop_if_cancelled)
        preview = self._preview("final", index, self._inputs.laid_over(_bytes_of(larger)))
        if self._job.request.num_previews == len(STAGES):
            self._emit(preview)
        return PaintedImage(
            data=preview.data,
            width=preview.width,
            height=preview.height,
            seed=self._seeds[index],
            stages=stages,
            heat_maps=heat_maps,
        )

    def _preview(self, stage: StageName, index: int, image: NDArray[np.uint8]) -> PaintPreview:
        height, width = image.shape[:2]
        return PaintPreview(
            stage=stage,
            index=self._first + index,
            data=encode_png(image),
            width=width,
            height=height,
            num_steps=self._num_steps,
        )

    def _heat_maps(self) -> list[tuple[HeatMap, ...]]:
        """Of each picture, one for each word of the prompt."""
        if not self._job.request.wants_heat_maps:
            return []
        side = self._skills.painter.config.grid_size
        found = []
        for grid in self._binder.maps(side).cpu():
            named = [(word, grid[list(tokens)].sum(dim=0)) for word, tokens in self._job.prompt.named()]
            found.append(
                tuple(
                    HeatMap(word=word, data=encode_png(_grey(values)), width=side, height=side)
                    for word, values in named
                )
            )
        return found

    def _stop_if_cancelled(self) -> None:
        if self._is_cancelled():
            raise CancelledRequestError("the request to paint was cancelled")


def _bytes_of(pixels: Tensor) -> NDArray[np.uint8]:
    """(1, 3, S, S) in [-1, 1] to (S, S, 3)."""
    levels = ((pixels[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    image: NDArray[np.uint8] = levels.permute(1, 2, 0).cpu().numpy()
    return image


def _grey(values: Tensor) -> NDArray[np.uint8]:
    """Shares of attention (S, S) as a grey picture whose brightest place is white."""
    levels = (values / values.max().clamp(min=1e-12) * 255).round().to(torch.uint8)
    image: NDArray[np.uint8] = levels.numpy()
    return image
