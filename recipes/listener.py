"""Training of the embedded recogniser on recorded, concatenated and synthetic speech.

Data: the folder that `python -m recipes.speech_data sound` wrote. Gives `latest/`, which `listener_prune` and
`listener_export` go on from, and from which this recipe itself goes on when it is started again with the same
`out`. Recipe: connectionist temporal classification after the last and, at a third of the weight, after half
of the blocks; the first steps on short made clips without any change, because the loss otherwise stays where
everything is blank; then speeds, rooms, microphones, noise, hidden stripes and chunks, which all grow from
nothing over a part of the run, and never without such easy steps in between: all at once, everything became
blank again. In the end half of the steps see whole recordings, the others chunks of a random length, so that
the same weights stream. What is kept is a running mean of the weights.

On a GPU all samples lie there as 16 bits and are changed there, batches have one shape for each bucket, and
the network runs as a CUDA graph for each: without these the pilot's GPU was idle 94 % of the time.
`listener_real` is the same with recorded speech alone, to be compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.checkpoints.store import write_text
from localgpt.media.text.spoken_units import BLANK
from localgpt.models.recognizer import Recognizer, RecognizerConfig
from localgpt.nn.conformer import chunk_mask
from localgpt.nn.log_mel import LogMel, fixed_scale
from localgpt.training.optimizer import step_all
from localgpt.training.schedule import Budget, set_lr, trapezoid
from recipes.common import RunLog, RunOptions
from recipes.listener_augment import SoundAugmentation, hide_stripes, take
from recipes.listener_data import Bucket, SpeechBatch, SpeechPool
from recipes.listener_graphs import ScoreGraphs
from recipes.listener_scores import unit_errors
from recipes.speech_data.sound_sets import SoundSet

__all__ = ["ListenerRun", "ListenerTraining", "load_listener", "train_listener"]

REAL_SETS = {
    "speechocean_en": 0.62, "hsk_words_zh": 0.12, "strings_zh": 0.12, "keywords_zh_en": 0.06, "philipp_en":
    0.05, "syllables_zh": 0.03,
}  # fmt: skip
ALL_SETS = {
    "speechocean_en": 0.30, "spoken_en": 0.28, "sentences_zh": 0.14, "strings_zh": 0.10, "hsk_words_zh": 0.05,
    "keywords_zh_en": 0.05, "spoken_zh": 0.04, "philipp_en": 0.02, "syllables_zh": 0.02,
}  # fmt: skip
_EASY_SETS = {"spoken_en": 0.5, "hsk_words_zh": 0.2, "strings_zh": 0.15, "sentences_zh": 0.15}
_REAL_EASY_SETS = {"hsk_words_zh": 0.4, "strings_zh": 0.3, "speechocean_en": 0.3}
_DEV_SETS = ("speechocean_en_dev", "hsk_words_zh_dev", "keywords_zh_en_dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerRun:
    """Sizes of a run."""

    config: RecognizerConfig = field(default_factory=RecognizerConfig)
    minutes: float = 24.0
    sets: Mapping[str, float] = field(default_factory=lambda: ALL_SETS)
    easy_sets: Mapping[str, float] = field(default_factory=lambda: _EASY_SETS)
    buckets: tuple[Bucket, ...] = tuple(
        Bucket(seconds=seconds, size=round(280 / seconds)) for seconds in (1.6, 2.4, 3.6, 5.2, 7.2, 10.0)
    )
    augmentation: SoundAugmentation = field(default_factory=SoundAugmentation)
    easy_steps: int = 500
    easy_seconds: float = 3.6
    easy_share: float = 0.12  # of the steps after them
    growth: float = 0.3  # share of the run in which changes grow
    chunks: tuple[int, ...] = (8, 16, 32)
    first_weight: float = 0.3  # of the guess after half of the blocks
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.04
    max_norm: float = 2.0
    mean_decay: float = 0.999
    num_dev: int = 40  # recordings of each held-out set that are looked at on the way
    save_minutes: float = 3.0

    @classmethod
    def of_size(cls, size: str, *, is_real: bool = False) -> ListenerRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        sets = {"sets": REAL_SETS, "easy_sets": _REAL_EASY_SETS} if is_real else {}
        if size == "full":
            return cls(**sets)
        config = RecognizerConfig(num_mel_bins=20, n_layer=2, n_embd=32, n_head=2, kernel_size=5, dropout=0.0)
        buckets = (Bucket(seconds=1.0, size=4), Bucket(seconds=2.0, size=4))
        return cls(
            config=config, minutes=1.0, buckets=buckets, easy_steps=6, easy_seconds=1.0, chunks=(4,), lr=3e-3,
            mean_decay=0.5, num_dev=4, **sets,
        )  # fmt: skip


class ListenerTraining:
    """Everything a run holds while it goes on.

    Args:
        options: of the run.
        run: its sizes.
        network: to go on from; None for a new one.
    """

    def __init__(self, options: RunOptions, run: ListenerRun, network: Recognizer | None = None) -> None:
        self.options, self.run = options, run
        torch.manual_seed(options.seed)
        self.network = (Recognizer(run.config) if network is None else network).to(options.device)
        self.mean = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.pool = SpeechPool(options.data, run.sets, run.buckets, options.device)
        self.easy = self.pool.reweighted(run.easy_sets) if run.easy_steps else self.pool
        self.easy_bucket = self.easy.easy_bucket(run.easy_seconds)
        self.noises = _noises(options.data, options.device)
        self.mel = LogMel(self.network.config.num_mel_bins).to(options.device)
        self.rng = np.random.default_rng(options.seed)
        self.generator = torch.Generator(options.device).manual_seed(options.seed)
        self.optimizer = torch.optim.AdamW(
            _groups(self.network, run), betas=(0.9, 0.98), fused=options.device.startswith("cuda")
        )
        self.graphs = ScoreGraphs(self.network, run.buckets, options)
        self.step, self.num_skipped = 0, 0
        self.grows_from = 0.0  # progress at which the easy steps were over

    def advance(self, progress: float) -> dict[str, Tensor]:
        """One step; gives its losses."""
        run = self.run
        if self.step <= run.easy_steps:
            self.grows_from = progress
        is_easy = self.step < run.easy_steps or self._is_easy_again()
        strength = self.strength_at(progress)
        set_lr([self.optimizer], trapezoid(progress, warmup=run.warmup, decay=1 - run.warmup))
        pool = self.easy if is_easy else self.pool
        only = self.easy_bucket if is_easy else None
        drawn = pool.draw(self.rng, only=only, is_easy=is_easy, strength=strength)
        losses = self.losses(drawn.to(self.options.device), pool, is_easy=is_easy, strength=strength)
        total = losses["final"] + run.first_weight * losses["first"]
        total.backward()  # type: ignore[no-untyped-call]
        is_sound = step_all([self.optimizer], self.network.parameters(), max_norm=run.max_norm)
        self.num_skipped += not is_sound
        self.step += 1
        decay = min(run.mean_decay, self.step / (self.step + 10))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.network.parameters()], 1 - decay)
        return {name: loss.detach() for name, loss in losses.items()}

    def strength_at(self, progress: float) -> float:
        """Of all changes, from 0 to 1; full from the first step on where no step was easy."""
        if not self.run.easy_steps:
            return 1.0
        return min(1.0, max(0.0, progress - self.grows_from) / self.run.growth)

    def _is_easy_again(self) -> bool:
        return self.run.easy_steps > 0 and self.rng.random() < self.run.easy_share

    def losses(
        self, batch: SpeechBatch, pool: SpeechPool, *, is_easy: bool, strength: float = 1.0
    ) -> dict[str, Tensor]:
        """Loss for each sound, of the last and of the first guess."""
        bucket = self.run.buckets[batch.bucket]
        waveform = take(pool.samples, batch, bucket.num_samples)
        target_lengths = batch.target_lengths
        if not is_easy:
            augmentation = self.run.augmentation.at(strength)
            is_silent = torch.from_numpy(self.rng.random(len(waveform)) < augmentation.silent)
            target_lengths = target_lengths * ~is_silent
            told = is_silent.to(waveform.device)
            waveform = augmentation.apply(waveform, self.noises, told, self.generator)
        mel = fixed_scale(self.mel(waveform, num_frames=2 * bucket.num_frames))
        if not is_easy:
            mel = hide_stripes(mel, self.generator, strength=strength)
        chunk_share = 0.0 if is_easy else 0.5 * strength
        logits = self.graphs.score(batch.bucket, mel, self._mask(batch, bucket, chunk_share=chunk_share))
        names = ("final", "first")
        return {name: _loss(one, batch, target_lengths) for name, one in zip(names, logits, strict=True)}

    def _mask(self, batch: SpeechBatch, bucket: Bucket, *, chunk_share: float) -> Tensor:
        """Everything, or chunks of a random length that see about five seconds before them."""
        chunk: int | None = None
        if self.rng.random() < chunk_share:
            chunk = int(self.rng.choice(self.run.chunks))
        config = self.network.config
        num_left = 0 if chunk is None else max(1, config.chunk * config.num_left // chunk)
        device = torch.device(self.options.device)
        mask = chunk_mask(bucket.num_frames, chunk, num_left, device=device)[None, None]
        num_frames = batch.num_frames.to(device, non_blocking=True)
        return Recognizer.with_lengths(mask, num_frames)

    def averaged(self) -> Recognizer:
        """The running mean of the weights, in eval mode."""
        network = Recognizer(self.network.config).to(self.options.device)
        with torch.no_grad():
            for parameter, mean in zip(network.parameters(), self.mean, strict=True):
                parameter.copy_(mean)
        return network.eval()

    def dev_errors(self) -> dict[str, float]:
        """Share of wrong sounds of each held-out set, greedy, with whole recordings and in chunks."""
        network, found = self.averaged(), {}
        for name in _DEV_SETS:
            if (self.options.data / f"{name}.index.npz").exists():
                sounds = SoundSet.load(self.options.data, name)
                for kind, chunk in (("", None), ("_chunks", network.config.chunk)):
                    errors = unit_errors(network, sounds, num=self.run.num_dev, chunk=chunk)
                    found[f"{name}{kind}"] = round(errors, 4)
        return found

    def save(self, progress: float) -> None:
        """Write `latest/`: the mean for others, and everything for going on."""
        folder = self.options.out / "latest"
        folder.mkdir(parents=True, exist_ok=True)
        config = self.network.config
        save_file(self.averaged().state_dict(), folder / "listener.safetensors")
        write_text(folder / "listener.json", json.dumps(config.to_dict(), indent=1) + "\n")
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"mean.{number}": tensor for number, tensor in enumerate(self.mean)}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in values.items()}
        temporary = folder / ".state.part"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        temporary.replace(folder / "state.safetensors")
        told = {"step": self.step, "progress": progress, "grows_from": self.grows_from}
        write_text(folder / "state.json", json.dumps(told) + "\n")

    def resume(self) -> float:
        """Take up what an earlier run with the same `out` left; gives its progress, 0 without one."""
        folder = self.options.out / "latest"
        if not (folder / "state.json").is_file():
            return 0.0
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors", device=self.options.device)
        network = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
        self.network.load_state_dict(network)
        self.mean = [tensors[f"mean.{number}"] for number in range(len(self.mean))]
        state = self.optimizer.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".")
                state["state"].setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.step, self.grows_from = int(told["step"]), float(told.get("grows_from", 0.0))
        self.rng = np.random.default_rng((self.options.seed, self.step))
        return float(told["progress"])

    def go(self, budget: Budget, log: RunLog) -> dict[str, Any]:
        """Learn until the budget is spent; gives the last losses."""
        begun = self.resume()
        if begun:
            log.write(resumed=True, step=self.step, progress=round(begun, 3))
        self.graphs.prepare(log)
        budget = Budget(steps=budget.steps, minutes=budget.minutes)  # the clock starts with the first step
        saved_at, num_measured, losses = self.run.save_minutes, 0, dict[str, Tensor]()
        while not budget.is_over:
            progress = begun + (1 - begun) * budget.progress
            losses = self.advance(progress)
            budget.step += 1
            if self.step % 50 == 0 or budget.step <= 5 or budget.is_over:
                shown = {name: round(float(value), 4) for name, value in losses.items()}
                strength = round(self.strength_at(progress), 3)
                log.write(
                    step=self.step,
                    progress=round(progress, 4),
                    strength=strength,
                    skipped=self.num_skipped,
                    **shown,
                )
            if (fifth := int(5 * progress)) > num_measured:
                num_measured = fifth
                log.write(step=self.step, **self.dev_errors())
            if budget.elapsed_minutes > saved_at:
                saved_at = budget.elapsed_minutes + self.run.save_minutes
                self.save(progress)
        self.save(1.0)
        return {f"{name}_loss": round(float(value), 4) for name, value in losses.items()}


def train_listener(options: RunOptions, *, is_real: bool = False) -> dict[str, Any]:
    """Train the recogniser; see the module docstring."""
    run = ListenerRun.of_size(options.size, is_real=is_real)
    log = RunLog(options, "listener_real" if is_real else "listener")
    torch.set_float32_matmul_precision("high")
    training = ListenerTraining(options, run)
    log.write(hours=training.pool.describe(), buckets=[bucket.size for bucket in run.buckets])
    figures = training.go(options.budget(run.minutes), log)
    figures |= {"steps": training.step, "hours": training.pool.describe(), **training.dev_errors()}
    figures["num_params"] = sum(parameter.numel() for parameter in training.network.parameters())
    log.finish(**figures)
    return figures


def _loss(logits: Tensor, batch: SpeechBatch, target_lengths: Tensor) -> Tensor:
    """Nats for each sound; rows without any count as one."""
    log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)
    each = F.ctc_loss(
        log_probs,
        batch.targets,
        batch.num_frames,
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return each.sum() / target_lengths.clamp(min=1).sum()


def _groups(network: nn.Module, run: ListenerRun) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not."""
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    vectors = [p for p in network.parameters() if p.dim() < 2]
    return [
        {"params": matrices, "weight_decay": run.weight_decay, "lr": run.lr, "peak_lr": run.lr},
        {"params": vectors, "weight_decay": 0.0, "lr": run.lr, "peak_lr": run.lr},
    ]


def _noises(folder: Path, device: str) -> Tensor:
    """Samples of all noises that may be learned from."""
    if not (folder / "noise.index.npz").exists():
        return torch.zeros(0, dtype=torch.int16, device=device)
    return torch.from_numpy(np.array(SoundSet.load(folder, "noise").samples)).to(device)


def load_listener(folder: Path, device: str) -> Recognizer:
    """The mean that a run left in `latest/`, as `save` wrote it.

    Args:
        folder: with `listener.safetensors` and `listener.json`.
        device: where it goes.
    """
    values = json.loads((folder / "listener.json").read_text(encoding="utf-8"))
    network = Recognizer(RecognizerConfig.from_dict(values))
    network.load_state_dict(load_file(folder / "listener.safetensors"))
    return network.to(device)
