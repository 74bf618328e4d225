"""Training of the painter: flow matching on composed icons and photographs, then few large steps.

Data: the folder that `python -m recipes.paint_data` writes, which may go on writing meanwhile; `init` is the
family folder whose text tower reads the prompts and does not learn. Gives `painter.safetensors`,
`painter.json`, sheets of pictures, a record; `latest.safetensors` holds all of a run that was interrupted,
and the same command goes on from it.

Recipe: the picture is predicted, the velocity's error is minimised, levels of noise are logit-normal (Esser
et al. 2024, arXiv:2403.03206); half as large pictures in every step, for the sketches; words are left out of
one picture in ten. In the last part of the run the painter also learns where its own steps lead: a step of
one length is taught by two of half that length, made by the running average of the weights, and the shortest
ones by small steps with guidance (Frans et al. 2024, arXiv:2410.12557). So guidance is in the large steps.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.models.encoder import TextEncoder
from localgpt.models.painter import Painter, PainterConfig
from localgpt.sampling.diffusion.flow import Words
from localgpt.sampling.diffusion.reading import nothing, read_ids
from localgpt.training.optimizer import OptimizerOptions, build_optimizers, step_all
from localgpt.training.schedule import set_lr, trapezoid
from recipes.common import RunLog, RunOptions
from recipes.paint_data.shards import Shards
from recipes.painting import load_tower, write_sheet
from recipes.resuming import load_run, save_run, save_whole

__all__ = ["PainterRun", "PainterStep", "train_painter"]

_LEAST_SIGMA = 0.05  # errors of the velocity are told from differences; below it they would be mostly noise
_SHORT_LEAP = (0.06, 0.14)  # lengths of leaps that are taught by small steps with guidance
_LONG_LEAP = (0.12, 1.0)  # of those that are taught by two of half their length


@dataclass(frozen=True, slots=True, kw_only=True)
class PainterRun:
    """Sizes of a run."""

    config: PainterConfig = field(default_factory=PainterConfig)
    minutes: float = 23.0
    batch_size: int = 384
    num_sketches: int = 192  # half as large pictures, in every step
    num_leaps: int = 128
    leap_share: float = 0.22  # of the run, its end
    word_drop: float = 0.1
    guidance_scale: float = 2.5  # of the small steps that teach leaps
    sigma_mean: float = 0.6  # of the logit-normal levels; sketches have less to hide
    sketch_sigma_mean: float = 0.1
    sigma_std: float = 1.0
    ema: float = 0.9995
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(muon_lr=0.02, muon_weight_decay=0.02, adam_lr=1e-3)
    )
    max_norm: float = 1.0
    warmup: float = 0.02
    decay: float = 0.35
    least_pictures: int = 8000  # there before the run begins
    capacity: int = 200_000  # pictures that are kept on the device
    sheets: int = 10
    sheet_steps: int = 24
    sheet_prompts: int = 20
    save_every_s: float = 120.0

    @classmethod
    def of_size(cls, size: str) -> PainterRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        config = PainterConfig(
            size=64, patch_size=8, n_patch_embd=16, n_embd=64, n_layer=2, n_head=2, n_smooth=4,
            n_text_embd=32, n_text_layer=1, n_text_head=2, n_upsampler=8, n_upsampler_block=1, n_feature=0,
        )  # fmt: skip
        return cls(
            config=config, minutes=1.0, batch_size=8, num_sketches=4, num_leaps=4, least_pictures=1,
            capacity=64, sheets=0, sheet_steps=2, sheet_prompts=2, ema=0.9,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a step begins: noisy pictures (B, 3, S, S), their levels and the step's length (B,), words."""

    noisy: Tensor
    sigma: Tensor
    span: Tensor
    words: Words


class PainterStep:
    """Losses of one batch.

    Args:
        options: device and seed.
        run: sizes.
        tower: reads the prompts.
    """

    def __init__(self, options: RunOptions, run: PainterRun, tower: TextEncoder) -> None:
        self.options, self.run, self.tower = options, run, tower
        self.generator = torch.Generator(options.device).manual_seed(options.seed)
        self.shards = Shards(options.data, "train", options.device, capacity=run.capacity)
        self.painter = Painter(run.config).to(options.device)
        self.average = copy.deepcopy(self.painter).requires_grad_(False).eval()
        self._plain = copy.deepcopy(self.average)  # never compiled: prompts have many lengths
        if options.device.startswith("cuda"):
            torch._dynamo.config.recompile_limit = 64  # one for each shape and kind of call
            for model in (self.painter, self.average):
                for block in model.blocks:
                    block.compile(dynamic=False)

    def flow_losses(self) -> dict[str, Tensor]:
        """Flow matching of whole pictures and of sketches."""
        size = self.run.config.size
        return {
            "whole": self._flow_loss(self.run.batch_size, size, self.run.sigma_mean),
            "sketch": self._flow_loss(self.run.num_sketches, size // 2, self.run.sketch_sigma_mean),
        }

    def leap_loss(self, *, is_sketch: bool) -> Tensor:
        """How far leaps are from where two smaller ones lead: half of them short, the others longer."""
        size = self.run.config.size // (2 if is_sketch else 1)
        pictures, ids, lengths = self.shards.draw(self.run.num_leaps, self.generator)
        clean, words = _pixels(pictures, size), read_ids(self.painter, self.tower, ids, lengths)
        half = self.run.num_leaps // 2
        sigma = self._random(self.run.num_leaps).clamp(min=0.05)
        sigma = torch.where(self._random(self.run.num_leaps) < 0.25, 1.0, sigma)  # all pictures begin there
        short = _SHORT_LEAP[0] + (_SHORT_LEAP[1] - _SHORT_LEAP[0]) * self._random(half)
        ratio = _LONG_LEAP[1] / _LONG_LEAP[0]
        longer = _LONG_LEAP[0] * ratio ** self._random(self.run.num_leaps - half)
        span = torch.minimum(torch.cat([short, longer]), sigma)
        noisy = self._noised(clean, sigma)
        with torch.no_grad():
            taught = read_ids(
                self.average, self.tower, ids, lengths
            )  # the teacher reads with its own weights
            targets = []
            for rows, is_short in ((slice(0, half), True), (slice(half, None), False)):
                start = _Start(noisy[rows], sigma[rows], span[rows], _rows(taught, rows))
                targets.append(self._two_steps(start, is_short=is_short))
            target = torch.cat(targets)
        expected = self.painter(noisy, sigma, span, words.features, words.is_there)
        return _velocity_error(expected, target, sigma)

    @torch.no_grad()
    def plain_average(self) -> Painter:
        """The running average as a painter for pictures and prompts of any shape."""
        torch._foreach_copy_(list(self._plain.parameters()), list(self.average.parameters()))
        return self._plain

    @torch.no_grad()
    def held_out_losses(self, shards: Shards, *, num_batches: int = 8) -> dict[str, float]:
        """The average's flow-matching loss on pictures with held-out colours and relations, by level."""
        generator = torch.Generator(self.options.device).manual_seed(0)
        size, average = self.run.config.size, self.plain_average()
        found = {}
        for level in (0.9, 0.7, 0.4):
            total = 0.0
            for _ in range(num_batches):
                pictures, ids, lengths = shards.draw(min(32, self.run.batch_size), generator)
                clean = _pixels(pictures, size)
                sigma = torch.full((len(clean),), level, device=clean.device)
                noise = torch.randn(clean.shape, device=clean.device, generator=generator)
                words = read_ids(average, self.tower, ids, lengths)
                noisy = clean + level * (noise - clean)
                with self.autocast():
                    expected = average(noisy, sigma, sigma * 0, words.features, words.is_there)
                total += float((expected.float() - clean).square().mean())
            found[f"held_out_{level}"] = round(total / num_batches, 5)
        return found

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the running average towards the weights."""
        share = 1 - min(self.run.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.painter.parameters()), share)

    def _flow_loss(self, num: int, size: int, mean: float) -> Tensor:
        pictures, ids, lengths = self.shards.draw(num, self.generator)
        is_kept = self._random(num) >= self.run.word_drop
        clean, words = (
            _pixels(pictures, size),
            read_ids(self.painter, self.tower, ids, lengths, is_kept=is_kept),
        )
        draws = torch.randn(num, device=clean.device, generator=self.generator)
        sigma = torch.sigmoid(mean + self.run.sigma_std * draws)
        noisy = self._noised(clean, sigma)
        expected = self.painter(noisy, sigma, torch.zeros_like(sigma), words.features, words.is_there)
        return _velocity_error(expected, clean, sigma)

    def _noised(self, clean: Tensor, sigma: Tensor) -> Tensor:
        noise = torch.randn(clean.shape, device=clean.device, generator=self.generator)
        return clean + sigma.view(-1, 1, 1, 1) * (noise - clean)

    def _random(self, num: int) -> Tensor:
        return torch.rand(num, device=self.options.device, generator=self.generator)

    def _two_steps(self, start: _Start, *, is_short: bool) -> Tensor:
        """The clean picture that one step would have to expect to end where two end."""
        half, place = start.span / 2, start.noisy
        for level in (start.sigma, start.sigma - half):
            expected = self._teach(_Start(place, level, half, start.words), is_short=is_short).float()
            place = expected + (place - expected) * ((level - half) / level.clamp(min=1e-4)).view(-1, 1, 1, 1)
        rest = ((start.sigma - start.span) / start.sigma).view(-1, 1, 1, 1)
        return (place - rest * start.noisy) / (1 - rest)

    def _teach(self, start: _Start, *, is_short: bool) -> Tensor:
        """What the average expects: after a leap, or where a guided line leads."""
        noisy, sigma, span, words = start.noisy, start.sigma, start.span, start.words
        if not is_short:
            return self.average(noisy, sigma, span, words.features, words.is_there)
        both = words.beside(nothing(self.average).repeated(len(noisy)))
        twice = (torch.cat([one, one]) for one in (noisy, sigma, torch.zeros_like(span)))
        said, plain = self.average(*twice, both.features, both.is_there).chunk(2)
        return plain + self.run.guidance_scale * (said - plain)

    def autocast(self) -> torch.autocast:
        """Half precision activations on a GPU."""
        dtype = self.options.dtype
        return torch.autocast(self.options.device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32)


def train_painter(options: RunOptions) -> dict[str, Any]:
    """Train the painter; see the module docstring."""
    assert options.init is not None, "the painter needs the family whose text tower reads the prompts"
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    tower, fingerprint = load_tower(options.init, options.device)
    run = PainterRun.of_size(options.size)
    run = replace(run, config=replace(run.config, n_feature=2 * tower.positions.shape[1]))
    training = _Training(options, run, PainterStep(options, run, tower))
    while training.progress < 1:
        training.make_step()
    figures = training.look()
    figures |= {"steps": training.budget.step, "pictures": training.step.shards.num}
    average = training.step.average
    state = {name: tensor.contiguous() for name, tensor in average.state_dict().items()}
    told = {"painter": run.config.to_dict(), "text_tower": fingerprint}
    (options.out / "painter.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    save_whole(state, options.out / "painter.safetensors")  # last: where it is, the painter is done
    training.log.finish(**figures)
    return figures


class _Training:
    """The run around the steps: pictures that come, rates, what is logged, shown and kept.

    When it is made it waits for pictures, compiles, and goes on where an interrupted run was; then the clock
    starts.
    """

    def __init__(self, options: RunOptions, run: PainterRun, step: PainterStep) -> None:
        self.options, self.run, self.step = options, run, step
        self.log = RunLog(options, "painter")
        self.held_out = Shards(options.data, "val", options.device, capacity=2000)
        self.optimizers = build_optimizers(step.painter, run.optimizer)
        self.parts = {"painter": step.painter, "average": step.average}
        step.shards.refresh()
        while step.shards.num < run.least_pictures:
            if options.until is not None and time.time() > options.until:
                raise SystemExit(
                    f"{options.data} holds {step.shards.num} pictures, and the time is over; expected "
                    f"{run.least_pictures} or more; see whether `python -m recipes.paint_data` still writes"
                )
            self.log.write(waiting_for_pictures=step.shards.num)
            time.sleep(2.0)
            step.shards.refresh()
        self.held_out.refresh()
        _warm_up(step)
        done = load_run(options.out / "latest", self.parts, self.optimizers)
        self.budget = options.budget(run.minutes)
        self.budget.step, self._begun_at = int(done.get("step", 0)), float(done.get("progress", 0.0))
        self._num_sheets, self._num_skipped = int(run.sheets * self._begun_at), 0
        self._saved_at = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the whole run that is over, also where this is the rest of an interrupted one."""
        if self.budget.steps is not None:
            return self.budget.progress
        return self._begun_at + (1 - self._begun_at) * self.budget.progress

    def make_step(self) -> None:
        """One update, and what is due."""
        step, progress, number = self.step, self.progress, self.budget.step
        set_lr(self.optimizers, trapezoid(progress, warmup=self.run.warmup, decay=self.run.decay))
        with step.autocast():
            losses = step.flow_losses()
        (losses["whole"] + 0.5 * losses["sketch"]).backward()
        if progress > 1 - self.run.leap_share:
            with step.autocast():
                losses["leap"] = step.leap_loss(is_sketch=number % 2 == 0)
            (0.5 * losses["leap"]).backward()
        is_finite = step_all(self.optimizers, step.painter.parameters(), max_norm=self.run.max_norm)
        self._num_skipped += not is_finite
        step.follow(number)
        self.budget.step += 1
        if self.budget.step % 50 == 0 or self.budget.step <= 3:
            shown = {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
            shown |= {"pictures": step.shards.num, "skipped": self._num_skipped}
            self.log.write(step=self.budget.step, progress=round(progress, 4), **shown)
            step.shards.refresh(most=2)
        if int(self.run.sheets * progress) > self._num_sheets:
            self._num_sheets = int(self.run.sheets * progress)
            self.look()
        if time.monotonic() - self._saved_at > self.run.save_every_s:
            self.save()

    def look(self) -> dict[str, Any]:
        """Measure the average on held-out pictures, and paint a sheet with it."""
        figures = self.step.held_out_losses(self.held_out) if self.held_out.num else {}
        self.log.write(step=self.budget.step, **figures)
        name = f"sheet_{self.budget.step:06}"
        how = {"num_steps": self.run.sheet_steps, "num_prompts": self.run.sheet_prompts}
        write_sheet(self.step.plain_average(), self.step.tower, self.options, name=name, **how)
        return {**figures, "skipped": self._num_skipped}

    def save(self) -> None:
        """Keep all of the run."""
        told = {"step": float(self.budget.step), "progress": self.progress}
        save_run(self.options.out / "latest", self.parts, self.optimizers, **told)
        self._saved_at = time.monotonic()


def _warm_up(step: PainterStep) -> None:
    """Let every shape be compiled before the clock of the run starts."""
    for lose in (
        lambda: sum(step.flow_losses().values()),
        lambda: step.leap_loss(is_sketch=False),
        lambda: step.leap_loss(is_sketch=True),
    ):  # one after the other, as a step does it: what all keep for their gradients together may not fit
        with step.autocast():
            loss = torch.as_tensor(lose())
        loss.backward()  # type: ignore[no-untyped-call]
    step.painter.zero_grad(set_to_none=True)


def _pixels(pictures: Tensor, size: int) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, size, size) in [-1, 1]."""
    pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels if pixels.shape[-1] == size else F.interpolate(pixels, size=(size, size), mode="area")


def _velocity_error(expected: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    error = (expected.float() - clean) / sigma.clamp(min=_LEAST_SIGMA).view(-1, 1, 1, 1)
    return error.square().mean()


def _rows(words: Words, rows: slice) -> Words:
    return Words(words.features[rows], words.is_there[rows])
