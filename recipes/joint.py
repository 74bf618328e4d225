"""The last phase: instruction tuning on text and pictures together, while the learning rate falls to zero.

Data: the folders of `recipes.text_data` and `recipes.vision_data` together in one; `init` holds
`decoder.safetensors` and `encoder.safetensors` of the two pre-training recipes, or all three members as
`recipes.restore` brings them back. Gives `decoder`, `encoder` and `projector.safetensors`, and a record. One
step is text rows (articles go on, so nothing is forgotten), picture rows (see `recipes.picture_rows`), the
contrastive loss on the same pictures, and what lies where in rendered scenes (`recipes.cells`). Picture rows
are trained with all, half and a quarter of the image tokens, so one set of weights serves every `keep`. Every
few minutes the members are written to `latest/`, so that a run that is cut off leaves something to export.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.models.decoder import DecoderConfig
from localgpt.models.encoder import EncoderConfig
from localgpt.training.optimizer import OptimizerOptions, build_optimizers, step_all
from localgpt.training.parallel import Group, join_group
from localgpt.training.schedule import set_lr, trapezoid
from recipes.augment import augment_with_grid
from recipes.cells import CellHead, CellMaps
from recipes.common import RunLog, RunOptions
from recipes.decoder import DecoderRun, TrainStep, endless_rows, evaluate_streams, load_streams
from recipes.encoder import HOW, CaptionedSet, EncoderRun, caption_loss, retrieval_recall
from recipes.held_out_captions import HeldOutCaptions
from recipes.joint_model import JointModel
from recipes.picture_rows import IMAGE_START, EncodedTurn, PictureBatch, PictureRows, talk_turns

__all__ = ["JointRun", "tune_jointly"]

MIXTURE = {
    "articles_en": 0.8,
    "articles_zh": 0.8,
    "books": 0.4,
    "dialogues_en": 1.7,
    "dialogues_zh": 1.7,
    "bilingual": 1.0,
    "factbook": 2.0,
    "made": 2.0,
    "product": 3.0,
    "mixed": 2.0,
    "knowledge": 1.0,
}
TALK = ("product", "factbook", "made")  # what a conversation about a picture may turn to
# Samples of a batch for runs of one, two and more processes: photographs are few, and are not to be seen more
# often because more pictures are; scenes are rendered, and are.
_SAMPLES = {
    1: {"flickr8k": 52, "scenes": 54, "icons": 8, "tiny_imagenet_part": 5, "scenes6": 4, "grocery": 5},
    2: {"flickr8k": 46, "scenes": 60, "icons": 8, "tiny_imagenet_part": 5, "scenes6": 4, "grocery": 5},
    4: {"flickr8k": 32, "scenes": 76, "icons": 8, "tiny_imagenet_part": 4, "scenes6": 4, "grocery": 4},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRun:
    """Sizes of a run."""

    decoder: DecoderRun = field(default_factory=lambda: DecoderRun(config=DecoderConfig(dropout=0.1)))
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    minutes: float = 13.0
    num_text: int = 2  # text batches a step and process
    num_picture: int = 1  # picture batches a step and process
    warmup: float = 0.02
    samples: dict[str, int] = field(default_factory=lambda: dict(_SAMPLES[1]))
    samples_per_row: int = 4
    keeps: tuple[float, ...] = (1.0, 1.0, 0.5, 0.25)
    captioned: tuple[str, ...] = ("flickr8k", "scenes")  # take part in the contrastive loss
    picture_weight: float = 0.6
    caption_weight: float = 0.3
    cell_weight: float = 0.2
    encoder_lr: float = 2e-4
    num_workers: int = 12
    latest_minutes: float = 3.0  # between two writings of `latest/`
    num_described: int = 200  # held-out pictures described at each fifth of the run

    @classmethod
    def of_size(cls, size: str, num_processes: int = 1) -> JointRun:
        """The shipped sizes ("full"), fitted to the number of processes, or a run of seconds ("tiny")."""
        if size == "full":
            known = max(number for number in _SAMPLES if number <= num_processes)
            return cls(samples=dict(_SAMPLES[known]), num_text=2 if known < 4 else 1)
        return cls(
            decoder=DecoderRun.of_size("tiny"), encoder=EncoderRun.of_size("tiny").config, minutes=1.0,
            num_text=1, num_picture=1, samples={"scenes": 4}, samples_per_row=1, captioned=("scenes",),
            num_workers=0, num_described=2,
        )  # fmt: skip


def picture_loader(
    run: JointRun,
    sets: dict[str, CaptionedSet],
    tokenizer: Tokenizer,
    talk: Sequence[EncodedTurn] = (),
    *,
    seed: int,
) -> Iterator[PictureBatch]:
    """Endless picture batches from worker processes."""
    prepared = []
    for name, count in run.samples.items():
        pools = sets[name].pictures.turns()
        asked = [(number, [pool for pool in both if pool]) for number, both in enumerate(pools) if any(both)]
        prepared.append((count, asked))
    num_tokens = run.encoder.grid_size**2
    rows = PictureRows(
        prepared,
        tokenizer,
        talk,
        num_rows=sum(run.samples.values()) // run.samples_per_row,
        samples_per_row=run.samples_per_row,
        row_len=run.decoder.row_len,
        keeps=[max(1, round(num_tokens * keep)) for keep in run.keeps],
        seed=seed,
    )
    if run.num_workers:  # what is held now stays: a collection in a worker would copy all of its pages
        gc.collect()
        gc.freeze()
    prefetch = 4 if run.num_workers else None
    return iter(DataLoader(rows, batch_size=None, num_workers=run.num_workers, prefetch_factor=prefetch))


class PictureStep:
    """Losses of one picture batch: answers, pictures against captions, and what lies where."""

    def __init__(
        self,
        model: JointModel,
        step: TrainStep,
        run: JointRun,
        sets: dict[str, CaptionedSet],
        options: RunOptions,
        *,
        seed: int,
    ) -> None:
        self.model, self.step, self.run, self.sets, self.options = model, step, run, sets, options
        self.generator = torch.Generator(options.device).manual_seed(seed)
        maps = {name: CellMaps.of(s.pictures, options.device) for name, s in sets.items()}
        self.maps = {name: found for name, found in maps.items() if found is not None}
        self.cells = nn.ModuleDict({n: CellHead(run.encoder.n_feature, m) for n, m in self.maps.items()})
        self.cells.to(options.device)

    def load_cells(self) -> None:
        """The heads that the encoder was pre-trained with, where they were kept."""
        assert self.options.init is not None
        if (path := self.options.init / "cells.safetensors").exists() and self.maps:
            self.cells.load_state_dict(load_file(path))

    def __call__(self, batch: PictureBatch) -> dict[str, Tensor]:
        """Losses of a batch by name: answer, caption, cells."""
        device, encoder = self.options.device, self.model.encoder
        numbers = batch.images.to(device).split(list(self.run.samples.values()))
        by_set = dict(zip(self.run.samples, numbers, strict=True))
        pairs = {
            n: augment_with_grid(
                self.sets[n].pictures.images[i], encoder.config.image_size, HOW[n], self.generator
            )
            for n, i in by_set.items()
        }
        pixels = torch.cat([p for p, _ in pairs.values()]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, dtype=self.options.dtype, enabled=self.options.dtype != torch.float32):
            stages = encoder.image(pixels)
            vectors = encoder.embed_stages(stages)
            chosen = [(self.sets[name], by_set[name]) for name in self.run.captioned]
            num = sum(len(indices) for _, indices in chosen)
            losses = {"caption": caption_loss(encoder, vectors[:num], chosen, self.generator)}
            grid = encoder.grid_features(stages)
            places = dict(zip(by_set, grid.split([len(i) for i in by_set.values()]), strict=True))
            told = [
                self.cells[n].loss(places[n], m.targets(by_set[n], pairs[n][1], encoder.config.grid_size))
                for n, m in self.maps.items()
            ]
            losses["cells"] = torch.stack(told).sum() if told else grid.sum() * 0
        keep = batch.num_image_tokens / self.model.projector.config.n_image_token
        tokens = self.model.projector(grid.to(self.options.dtype), keep=keep)
        inputs = batch.inputs.to(device)
        x = self._insert(self.model.decoder.embed(inputs).to(tokens.dtype), tokens)
        answers = (batch.targets.to(device), batch.weights.to(device))
        losses["answer"] = self.step.loss(x, (inputs == IMAGE_ID).long(), answers, batch.layout(device))
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        run = self.run
        total = run.picture_weight * losses["answer"] + run.caption_weight * losses["caption"]
        return total + run.cell_weight * losses["cells"]

    def _insert(self, x: Tensor, tokens: Tensor) -> Tensor:
        shape = x.shape
        samples = x.view(len(tokens), -1, shape[-1])  # (B * samples, sample_len, C)
        after = IMAGE_START + tokens.shape[1]
        return torch.cat([samples[:, :IMAGE_START], tokens, samples[:, after:]], dim=1).view(shape)


class Tuning:
    """Everything a run holds while it goes on."""

    def __init__(self, options: RunOptions, run: JointRun, group: Group) -> None:
        self.options, self.run, self.group = options, run, group
        self.log = RunLog(options, "joint", group)
        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        tokenizer = Tokenizer.from_file(options.data / "tokenizer.json")
        self.model = model = JointModel(run.decoder.config, run.encoder).to(options.device)
        model.encoder.eval()  # batch statistics stay as pre-trained
        model.decoder.wte.weight.requires_grad_(not options.freeze_embedding)
        self.sets = {
            name: CaptionedSet.load(options, name, tokenizer, run.encoder.text_context_len)
            for name in run.samples
        }
        own_seed = options.seed + 1000 * group.rank
        self.step = TrainStep(model.decoder, options.dtype)
        self.pictures_step = PictureStep(model, self.step, run, self.sets, options, seed=own_seed)
        torch.manual_seed(own_seed)  # from here on processes differ
        language = nn.ModuleDict({"decoder": model.decoder, "projector": model.projector})
        looking = nn.ModuleDict({"encoder": model.encoder, "cells": self.pictures_step.cells})
        self.optimizers = build_optimizers(language, run.decoder.optimizer)
        self.optimizers += build_optimizers(looking, _adam_only(run.encoder_lr))
        learned = [*model.parameters(), *self.pictures_step.cells.parameters()]
        self.parameters = [parameter for parameter in learned if parameter.requires_grad]
        streams = load_streams(options, MIXTURE)
        self.rows = endless_rows(streams, MIXTURE, run.decoder, own_seed + 1)
        talk = [turn for name in TALK for turn in talk_turns(streams[name])]
        self.pictures = picture_loader(run, self.sets, tokenizer, talk, seed=own_seed)
        first = self.sets[next(iter(run.samples))].pictures
        self.captions = HeldOutCaptions(first, tokenizer, num=run.num_described) if group.is_first else None
        self.num_skipped = 0

    def prepare(self) -> None:
        """Compile and choose kernels, then take up the trained weights, before the run's clock starts."""
        self.step.text_loss(next(self.rows).to(self.options.device)).backward()
        self.pictures_step.total(self.pictures_step(next(self.pictures))).backward()
        for parameter in self.parameters:
            parameter.grad = None
        if self.options.device.startswith("cuda"):
            torch.cuda.empty_cache()  # others may still learn on this GPU
        self.model.load_pretrained(self.options)
        self.pictures_step.load_cells()

    def advance(self, factor: float) -> dict[str, Tensor]:
        """One step at `factor` times the peak rates; gives its losses by name."""
        run, device = self.run, self.options.device
        set_lr(self.optimizers, self.options.peak * factor)
        totals = {name: torch.zeros((), device=device) for name in ("text", "answer", "caption", "cells")}
        for _ in range(run.num_text):
            loss = self.step.text_loss(next(self.rows).to(device, non_blocking=True)) / run.num_text
            loss.backward()
            totals["text"] += loss.detach()
        for _ in range(run.num_picture):
            losses = self.pictures_step(next(self.pictures))
            (self.pictures_step.total(losses) / run.num_picture).backward()
            for name, value in losses.items():
                totals[name] += value.detach() / run.num_picture
        self.group.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.model.encoder.parameters(), 1.0)
        self.num_skipped += not step_all(self.optimizers, self.parameters)
        return totals

    def describe(self) -> dict[str, float]:
        """CIDEr of held-out captions; nothing where the first set has no held-out pictures."""
        if self.captions is None or not self.captions.numbers:
            return {}
        return self.captions.measure(self.model)

    def figures(self) -> dict[str, Any]:
        """What a run ends with."""
        options, run = self.options, self.run
        found: dict[str, Any] = evaluate_streams(self.model.decoder, options, row_len=run.decoder.row_len)
        first = self.sets[next(iter(run.samples))]
        if len(first.pictures.val):
            size = run.encoder.image_size
            found |= retrieval_recall(self.model.encoder, first, size=size, dtype=options.dtype)
            self.model.encoder.eval()
        return found | self.describe()


def tune_jointly(options: RunOptions) -> dict[str, Any]:
    """Tune decoder, encoder and projector together; see the module docstring."""
    group = join_group(options.device)
    run = JointRun.of_size(options.size, group.size)
    tuning = Tuning(options, run, group)
    tuning.prepare()
    budget, num_described, latest_at = options.budget(run.minutes), 0, run.latest_minutes
    while (progress := group.agree(budget.progress, options.device)) < 1:
        totals = tuning.advance(trapezoid(progress, warmup=run.warmup, decay=1 - run.warmup))
        budget.step += 1
        if not group.is_first:
            continue
        if budget.step % 20 == 0 or budget.step <= 5 or budget.is_over:
            shown = {name: round(float(value), 4) for name, value in totals.items()}
            tuning.log.write(
                step=budget.step, progress=round(progress, 3), skipped=tuning.num_skipped, **shown
            )
        if (fifth := int(5 * progress)) > num_described:
            num_described = fifth
            tuning.log.write(step=budget.step, **tuning.describe())
        if budget.elapsed_minutes > latest_at:
            latest_at = budget.elapsed_minutes + run.latest_minutes
            tuning.model.save(options.out / "latest")
    figures = {"steps": budget.step, **_last(totals)} if budget.step else {"steps": 0}
    if group.is_first:
        tuning.model.save(options.out / "latest")
        figures |= tuning.figures()
    tuning.log.finish(**figures)
    group.leave()
    return figures


def _last(totals: dict[str, Tensor]) -> dict[str, float]:
    return {f"{name}_loss": float(value) for name, value in totals.items()}


def _adam_only(lr: float) -> OptimizerOptions:
    return OptimizerOptions(muon_lr=lr * 5, muon_weight_decay=0.1, adam_lr=lr, adam_weight_decay=0.05)
