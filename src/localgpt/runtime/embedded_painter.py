"""The family's own painter as an `OpenModel`: small, best at rendered things and simple scenes.

* Up to `most_leaps` steps are leaps, which have guidance in them; more are small steps with guidance beside
  them, at about twice the time each. What a request leaves open follows from what it asks: leaps, unless a
  guidance scale or something to avoid is named.
* Pictures are painted at the size that was learned and made larger or smaller by the upsampler.
* Each picture has its own seed; its noise is drawn on the CPU, so that it is the same alone and among others.
* Cancelling is noticed after each step and each tile.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import torch

from localgpt.checkpoints.family import build_encoder, build_painter, build_text_tower, read_tokenizer
from localgpt.checkpoints.layout import FamilyLayout
from localgpt.compute.memory.state import Size
from localgpt.errors import CheckpointError, InputError
from localgpt.runtime.embedded_painting import MAX_SIDE, Painting, PaintJob, Skills
from localgpt.runtime.footprint import measure
from localgpt.runtime.members import family_name
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.paint_inputs import PaintInputs, read_inputs
from localgpt.runtime.open.prepared import Prepared
from localgpt.sampling.diffusion.binding import BindingOptions
from localgpt.sampling.diffusion.reading import read_prompt
from localgpt.tasks import ModelStatus, Notice, PaintedImage, PaintRequest, PaintResult, Request, Result
from localgpt.units import MIB

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EmbeddedPainter", "PainterSettings", "load"]

_DEFAULT_STRENGTH: Final = 0.7
_MAX_FRESH_SEED: Final = 2**32
_ALIVE: Final = 30  # of a layer, alive at once, in widths
_ALIVE_FOR_GRADIENTS: Final = 44  # the same for every layer at once
_TILE_BYTES: Final = 192 * MIB  # of enlarging one
_NUM_PREPARED: Final = 8  # requests that wait with their pictures decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class PainterSettings:
    """What suits a painter's weights; config.json holds it."""

    num_steps: int = 8
    most_leaps: int = 8
    num_guided_steps: int = 24  # where a request asks for what leaps cannot do
    guidance_scale: float = 3.0
    side: int = 512  # of a picture whose size is left open
    binds_words: bool = True
    binding: BindingOptions = field(default_factory=BindingOptions)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PainterSettings:
        """From config.json; keys of other purposes are left alone."""
        known = {one.name for one in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in known}
        if "binding" in chosen:
            chosen["binding"] = BindingOptions.from_dict(chosen["binding"])
        return cls(**chosen)


def load(checkpoint: OpenCheckpoint, layout: FamilyLayout) -> EmbeddedPainter:
    """Read the member, and the part of the family's encoder that reads its prompts.

    Raises:
        CheckpointError: it is incomplete or broken, or was trained with another encoder.
    """
    config = layout.configs["painter"]
    tower, fingerprint = build_text_tower(layout)
    if config.get("text_tower") != fingerprint:
        raise CheckpointError(
            f"{layout.path}: the painter was trained to read another encoder's text tower than the family's; "
            "take both from one release, or train the painter again"
        )
    is_half = checkpoint.fp16 and checkpoint.device.startswith("cuda")
    dtype = torch.float16 if is_half else torch.float32
    try:
        settings = PainterSettings.from_dict(config)
        painter, upsampler = build_painter(config["painter"], layout.read_member("painter"), dtype)
        encoder = None
        if settings.binding.judge_weight > 0:
            encoder, _ = build_encoder(
                layout.configs["encoder"], layout.read_member("encoder"), torch.float32
            )
            assert encoder is not None
            encoder = encoder.to(checkpoint.device).eval().requires_grad_(False)
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{layout.path}: the painter does not fit its config ({reason})") from None
    skills = Skills(
        painter=painter.to(checkpoint.device),
        upsampler=upsampler.to(checkpoint.device),
        tower=tower.to(checkpoint.device, dtype),
        tokenizer=read_tokenizer(layout),
        encoder=encoder,
    )
    return EmbeddedPainter(checkpoint, skills, settings)


class EmbeddedPainter:
    """One loaded painter; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        skills: its networks.
        settings: what suits them.
    """

    tasks: tuple[str, ...] = ("paint",)
    notices: tuple[str, ...] = ()
    cache_bytes = 0

    def __init__(self, checkpoint: OpenCheckpoint, skills: Skills, settings: PainterSettings) -> None:
        self.id = checkpoint.id
        self._checkpoint, self._skills, self._settings = checkpoint, skills, settings
        self._footprint = measure(*self.modules.values())
        self._ready = Prepared(self._settle, num_kept=_NUM_PREPARED)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Its networks."""
        skills = self._skills
        parts: dict[str, nn.Module] = {
            "painter": skills.painter, "upsampler": skills.upsampler, "text_tower": skills.tower,
        }  # fmt: skip
        return parts if skills.encoder is None else {**parts, "encoder": skills.encoder}

    @property
    def dtype(self) -> str:
        """Of most weights."""
        return self._footprint.dtype

    def status(self) -> ModelStatus:
        """What it is."""
        own = measure(self._skills.painter, self._skills.upsampler)
        context_len = self._skills.painter.config.text_len
        return self._checkpoint.status(self.tasks, own, context_len=context_len)

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What painting takes: at once, one picture after the other, and smaller where the size is open.

        Raises:
            InputError: the request cannot be painted.
        """
        job, _ = self._ready.look(request)
        sides = [(job.side, "")]
        if job.request.width is None and job.inputs.picture is None:
            native = self._skills.painter.config.size
            told = "Memory is short: {0} x {0} pixels instead of {1} x {1}."
            smaller = [side for side in (384, native) if side < job.side]
            sides += [(side, told.format(side, job.side)) for side in smaller]
        batches = dict.fromkeys((job.request.num_images, 1))
        return tuple(
            Size(shape=f"{side}x{side} x{batch}", nbytes=self._bytes(job, side, batch), notice=notice)
            for side, notice in sides
            for batch in batches
        )

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Paint.

        Raises:
            CancelledRequestError: nobody waits any more.
            InputError: the request cannot be painted.
        """
        began = time.perf_counter()
        job, told = self._ready.take(request)
        area, _, batch = size.shape.partition(" x")
        job = job.at(int(area.partition("x")[0]))
        notices = tuple(filter(None, (*told, size.notice)))
        for text in notices:
            emit(Notice(text=text))
        images: list[PaintedImage] = []
        binding_s = 0.0
        for first in range(0, job.request.num_images, int(batch)):
            painting = Painting(self._skills, job, (first, int(batch)), emit, is_cancelled)
            images += painting.paint()
            binding_s += painting.binding_seconds
        return PaintResult(
            images=tuple(images),
            seconds=time.perf_counter() - began,
            model=family_name(self.id),
            num_steps=job.num_steps,
            guidance_scale=job.guidance_scale,
            notices=notices,
            binds_words=bool(job.bound),
            binding_seconds=binding_s,
        )

    def drop_caches(self) -> None:
        """It remembers nothing."""

    def release(self) -> None:
        """Let go of the networks."""
        self._ready.clear()
        del self._skills

    def _settle(self, request: Request) -> tuple[PaintJob, tuple[str, ...]]:
        """A request with nothing left open, and what its caller should know.

        Raises:
            InputError: it asks for what this painter cannot do; `param` names it.
        """
        name = family_name(self.id)
        if not isinstance(request, PaintRequest):
            raise InputError(f"the model {name} was to paint; expected a request to paint", param="model")
        if request.is_progressive is False:
            raise InputError(
                f"is_progressive is false, and {name} always paints stages of growing size; leave it out",
                param="is_progressive",
            )
        settings, skills = self._settings, self._skills
        inputs = read_inputs(request)
        side = _side_of(request, inputs, settings.side, name)
        is_open = request.guidance_scale is None and not request.negative_prompt
        num_steps = request.steps_of(settings.num_steps if is_open else settings.num_guided_steps)
        leaps = num_steps <= settings.most_leaps
        if leaps and not is_open:
            param = "negative_prompt" if request.negative_prompt else "guidance_scale"
            raise InputError(
                f"{param} is set, and {name} paints {num_steps} large steps, which have their own guidance; "
                f"expected num_steps above {settings.most_leaps}, or neither",
                param=param,
            )
        scale = settings.guidance_scale if request.guidance_scale is None else request.guidance_scale
        if request.negative_prompt and scale <= 1.0:
            raise InputError(
                f"guidance_scale is {scale}, and without guidance nothing is avoided; expected above 1 with "
                "negative_prompt",
                param="negative_prompt",
            )
        prompt = read_prompt(skills.painter, skills.tower, skills.tokenizer, request.prompt)
        wants_binding = settings.binds_words if request.binds_words is None else request.binds_words
        bound = tuple(prompt.bound()) if wants_binding else ()
        notices = []
        if prompt.num_left_out:
            notices.append(
                f"The prompt is {prompt.num_left_out} tokens longer than the model reads "
                f"({skills.painter.config.text_len}); its end was left out."
            )
        if request.binds_words and not bound:
            notices.append("The prompt does not say where one thing is to another, so no words were bound.")
        job = PaintJob(
            request=request,
            inputs=inputs,
            side=side,
            num_steps=num_steps,
            leaps=leaps,
            guidance_scale=0.0 if leaps else scale,
            strength=request.strength or (_DEFAULT_STRENGTH if request.mask is None else 1.0),
            seed=secrets.randbelow(_MAX_FRESH_SEED) if request.seed is None else request.seed,
            prompt=prompt,
            bound=bound,
            binding=settings.binding,
        )
        return job, tuple(notices)

    def _bytes(self, job: PaintJob, side: int, batch: int) -> int:
        """Upper estimate of what painting takes."""
        config = self._skills.painter.config
        itemsize = self._skills.painter.dtype.itemsize
        rows = batch * (1 if job.leaps else 2)
        num = config.grid_size**2
        scores = 3 * config.n_head * num * (num + config.text_len)
        layer = rows * (num * config.n_embd * _ALIVE + scores)
        sketch = num // 4
        scores = 3 * config.n_head * sketch * (sketch + config.text_len)
        moving = batch * config.n_layer * (sketch * config.n_embd * _ALIVE_FOR_GRADIENTS + scores)
        pixels = rows * config.size**2 * (4 * config.n_smooth + 24)
        largest = config.size
        while largest < side:
            largest *= 2
        pictures = batch * 3 * (2 * largest**2 + 4 * side**2)
        judging = 256 * MIB if job.bound and self._skills.encoder is not None else 0
        painting = itemsize * (layer + pixels) + (4 * moving if job.bound else 0) + judging
        return max(painting, _TILE_BYTES * batch) + 4 * pictures


def _side_of(request: PaintRequest, inputs: PaintInputs, usual: int, name: str) -> int:
    """Of the square that is painted.

    Raises:
        InputError: it is no square, or too large.
    """
    squares = f"{name} paints squares of 64 to {MAX_SIDE} pixels"
    if request.width is not None and request.height is not None:
        if request.width != request.height:
            size = f"width and height are {request.width} and {request.height}"
            raise InputError(f"{size}; {squares}, expected two equal sides", param="width")
        if request.width > MAX_SIDE:
            raise InputError(f"width is {request.width}; {squares}, expected at most that", param="width")
        return request.width
    if inputs.picture_size is None:
        return usual
    width, height = inputs.picture_size
    if width != height:
        raise InputError(
            f"the picture has {width} x {height} pixels; {squares}, expected a square picture, or width and "
            "height to make it one",
            param="image",
        )
    return min(MAX_SIDE, max(64, round(width / 8) * 8))
