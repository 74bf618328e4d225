"""Training of the voice: VITS at 48 kHz, an English and a Chinese voice, from prepared recordings.

Data: `voice/` as `python -m recipes.voice_data` wrote it. Gives `speaker.safetensors`, `speaker.json` and a
record. A run may come in parts: `--minutes 25 --until SECONDS` ends a part early, and `--init OUT` goes on
with the `latest.pt` that an earlier part, or an interrupted run, left in its folder, up to 25 minutes in
all. Recipe: the evidence bound of VITS with spectral distances from the first step, critics from a third of
the run on, when alignments stand; a running mean of the weights is what is kept. All shapes are fixed, and
everything but drawing, aligning and the text encoder compiles.
"""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from localgpt.media.text.speech import SYMBOLS
from localgpt.training.critics import Critics, CriticsOptions, critic_loss, generator_losses, mel_loss
from localgpt.training.schedule import Budget, set_lr, trapezoid
from recipes.common import RunLog, RunOptions
from recipes.voice_data.prepare import BANDWIDTH_HZ, SPEAKERS
from recipes.voice_network import Learned, VoiceNetwork, voice_config
from recipes.voices import RowShape, Utterances, endless_batches

__all__ = ["SpeakerRun", "plain_weights", "train_speaker"]

_LATEST = "latest.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerRun:
    """Sizes of a run."""

    config: dict[str, Any]
    shape: RowShape = field(default_factory=RowShape)
    critics: CriticsOptions = field(default_factory=CriticsOptions)
    shares: dict[str, float] = field(
        default_factory=lambda: {"en": 0.42, "zh": 0.42, "en_recorded": 0.08, "zh_syllables": 0.08}
    )
    minutes: float = 25.0
    batch_size: int = 32
    slice_frames: int = 48  # half a second
    judged_from: float = 0.33  # share of the run from which critics are heard
    mel_weight: float = 45.0
    lr: float = 1.8e-4  # with 3e-4 the waveform decoder fell apart after 2,300 steps
    critics_lr: float = 1.2e-4
    warmup: float = 0.02
    ema: float = 0.999
    most: int | None = None  # utterances of each voice
    latest_minutes: float = 4.0

    @classmethod
    def of_size(cls, size: str) -> SpeakerRun:
        """The shipped sizes ("full"), or a run of seconds ("tiny")."""
        config = voice_config(size, vocab_size=len(SYMBOLS), num_speakers=len(SPEAKERS))
        if size == "full":
            return cls(config=config)
        return cls(
            config=config, shape=RowShape(num_frames=96, num_sounds=33), batch_size=4, slice_frames=12,
            critics=CriticsOptions(periods=(2, 3), resolutions=((512, 128),), width=8, most=16), minutes=1.0,
            ema=0.5,
        )  # fmt: skip


class SpeakerTraining:
    """Everything a run holds while it goes on.

    Args:
        options: of the run.
        run: its sizes.
        utterances: what it learns from.
    """

    def __init__(self, options: RunOptions, run: SpeakerRun, utterances: Utterances) -> None:
        self.options, self.run = options, run
        torch.manual_seed(options.seed)
        compiles = options.device.startswith("cuda")
        self.network = VoiceNetwork(run.config, slice_frames=run.slice_frames, compiles=compiles)
        self.network.to(options.device)
        self.critics = Critics(run.critics).to(options.device)
        self.judge: Any = torch.compile(self.critics, dynamic=False) if compiles else self.critics
        self.kept = deepcopy(self.network.vits).requires_grad_(False)
        betas, decay = (0.8, 0.99), 0.01
        self.optimizer, self.critics_optimizer = (
            torch.optim.AdamW(one.parameters(), betas=betas, weight_decay=decay, fused=compiles)
            for one in (self.network, self.critics)
        )
        self._set_peaks()
        self.generator = torch.Generator(options.device).manual_seed(options.seed)
        self.batches = endless_batches(utterances, run.shares, run.batch_size, self.generator)
        self.num_done, self.num_skipped = 0, 0
        self.minutes = 0.0  # of training, those of earlier parts included
        self.is_judged = False  # from the first step on which critics are heard, also when a run goes on

    def advance(self, progress: float) -> dict[str, Tensor]:
        """One step; its losses by name."""
        run = self.run
        factor = trapezoid(progress, warmup=run.warmup, decay=0.5, floor=0.02)
        set_lr([self.optimizer, self.critics_optimizer], factor)
        learned: Learned = self.network(
            next(self.batches), dtype=self.options.dtype, generator=self.generator
        )
        losses = {
            "mel": mel_loss(learned.made, learned.real, sample_rate=run.shape.sample_rate),
            "divergence": learned.divergence,
            "duration": learned.duration,
        }
        total = run.mel_weight * losses["mel"] + losses["divergence"] + losses["duration"]
        self.is_judged = self.is_judged or progress >= run.judged_from
        if self.is_judged:
            losses["critics"] = self._teach_critics(learned)
            with self._half():
                real, made = self.judge(learned.real), self.judge(learned.made)
            losses["fooled"], losses["likeness"] = generator_losses(real, made)
            total = total + losses["fooled"] + losses["likeness"]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 50.0)
        self._step(self.optimizer, norm)
        self._keep()
        self.num_done += 1
        return {name: value.detach() for name, value in losses.items()}

    def prepare(self) -> None:
        """Compile and choose kernels before the run's clock starts; nothing is learned."""
        learned = self.network(next(self.batches), dtype=self.options.dtype, generator=self.generator)
        with self._half():
            real, made = self.judge(learned.real), self.judge(learned.made)
        fooled, likeness = generator_losses(real, made)
        mel = mel_loss(learned.made, learned.real, sample_rate=self.run.shape.sample_rate)
        (mel + fooled + likeness + learned.divergence + learned.duration).backward()
        with self._half():
            critic_loss(self.judge(learned.real), self.judge(learned.made.detach())).backward()
        for parameter in (*self.network.parameters(), *self.critics.parameters()):
            parameter.grad = None

    def save_latest(self) -> None:
        """Write all that a later run needs to go on."""
        state = {
            "network": self.network.state_dict(),
            "critics": self.critics.state_dict(),
            "kept": self.kept.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critics_optimizer": self.critics_optimizer.state_dict(),
            "num_done": self.num_done,
            "is_judged": self.is_judged,
            "minutes": self.minutes,
        }
        path = self.options.out / _LATEST
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load_latest(self) -> None:
        """Go on from what another run left in the folder `init`."""
        assert self.options.init is not None
        path = self.options.init / _LATEST
        state = torch.load(path, map_location=self.options.device, weights_only=True)
        for name in ("network", "critics", "kept", "optimizer", "critics_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.num_done, self.is_judged = state["num_done"], state["is_judged"]
        self.minutes = state["minutes"]
        self._set_peaks()

    def save(self) -> None:
        """Write the kept weights without what only training needs, and the description beside them."""
        save_file(plain_weights(self.kept), self.options.out / "speaker.safetensors")
        description = {
            "vits": self.run.config,
            "symbols": SYMBOLS,
            "voices": [
                {
                    "name": name,
                    "language": name,
                    "speaker": SPEAKERS.index(name),
                    "bandwidth_hz": BANDWIDTH_HZ[name],
                }
                for name in ("en", "zh")
            ],
        }
        text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
        (self.options.out / "speaker.json").write_text(text, encoding="utf-8")

    def _teach_critics(self, learned: Learned) -> Tensor:
        with self._half():
            loss = critic_loss(self.judge(learned.real), self.judge(learned.made.detach()))
        self.critics_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.critics.parameters(), 50.0)
        self._step(self.critics_optimizer, norm)
        return loss

    def _set_peaks(self) -> None:
        run = self.run
        for optimizer, peak in ((self.optimizer, run.lr), (self.critics_optimizer, run.critics_lr)):
            for group in optimizer.param_groups:
                group["peak_lr"] = peak * self.options.peak

    def _half(self) -> Any:
        dtype = self.options.dtype
        return torch.autocast(self.options.device, dtype=dtype, enabled=dtype != torch.float32)

    def _step(self, optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
        """Learn, unless the gradients are no numbers."""
        if torch.isfinite(norm):
            optimizer.step()
        else:
            self.num_skipped += 1

    @torch.no_grad()
    def _keep(self) -> None:
        """The running mean of the weights; shorter at the beginning."""
        weight = 1 - min(self.run.ema, self.num_done / (self.num_done + 10))
        pairs = [
            (mean, now)
            for mean, now in zip(self.kept.parameters(), self.network.vits.parameters(), strict=True)
        ]
        torch._foreach_lerp_([mean for mean, _ in pairs], [now for _, now in pairs], weight)


def plain_weights(vits: Any) -> dict[str, Tensor]:
    """Weights by name, norms multiplied in, without the encoder of recordings: only training needs that."""
    state = {name: tensor for name, tensor in vits.state_dict().items() if ".parametrizations." not in name}
    for name, module in vits.named_modules():
        if nn.utils.parametrize.is_parametrized(module):
            state[f"{name}.weight"] = module.weight
    return {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in sorted(state.items())
        if not name.startswith("posterior_encoder.")
    }


def train_speaker(options: RunOptions) -> dict[str, Any]:
    """Train the voice; see the module docstring."""
    run = SpeakerRun.of_size(options.size)
    log = RunLog(options, "speaker")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    utterances = Utterances.load(
        options.data / "voice", run.shape, device=options.device, seed=options.seed, most=run.most
    )
    log.write(utterances=len(utterances), seconds=int(utterances.num_frames.sum()) * run.shape.hop // 48_000)
    training = SpeakerTraining(options, run, utterances)
    if options.init is not None:
        training.load_latest()
    training.prepare()
    budget, before = _budget(options, run, training.minutes), training.minutes
    latest_at = before + run.latest_minutes
    losses: dict[str, Tensor] = {}
    while (progress := budget.progress) < 1 and not _is_late(options):
        losses = training.advance(progress)
        budget.step += 1
        if budget.step % 50 == 0 or budget.step <= 5 or budget.is_over:
            shown = {name: round(float(value), 4) for name, value in losses.items()}
            log.write(step=budget.step, progress=round(progress, 3), skipped=training.num_skipped, **shown)
        training.minutes = budget.elapsed_minutes if options.steps is None else before
        if training.minutes > latest_at:
            latest_at = training.minutes + run.latest_minutes
            training.save_latest()
            training.save()
    training.save_latest()
    training.save()
    figures: dict[str, Any] = {"steps": budget.step, "steps_in_all": training.num_done}
    figures |= {
        "minutes_in_all": round(training.minutes, 2),
        **{f"{name}_loss": float(value) for name, value in losses.items()},
    }
    log.finish(**figures)
    return figures


def _budget(options: RunOptions, run: SpeakerRun, before: float) -> Budget:
    """Steps are those of this part; minutes those of all parts."""
    if options.steps is not None:
        return options.budget(run.minutes)
    minutes = options.minutes
    if minutes is None and options.until is not None:
        minutes = before + max(0.02, (options.until - time.time()) / 60)
    budget = Budget(minutes=minutes or run.minutes)
    budget.started -= 60 * before
    return budget


def _is_late(options: RunOptions) -> bool:
    return options.until is not None and time.time() >= options.until
