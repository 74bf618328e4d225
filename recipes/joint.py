"""The last phase: instruction tuning on text and pictures together, while the learning rate falls to zero.

Data: the folders of `recipes.text_data` and `recipes.vision_data` together in one; `init` holds
`decoder.safetensors` and `encoder.safetensors` of the two pre-training recipes. Gives `decoder`, `encoder`
and `projector.safetensors`, and a record. One step is text rows (articles go on, so nothing is forgotten),
picture rows (see `recipes.picture_rows`), and the contrastive loss on the same pictures. Picture rows are
trained with all, half and a quarter of the image tokens, so one set of weights serves every `keep`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.models.decoder import Decoder
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.projector import Projector, ProjectorConfig
from localgpt.training.optimizer import OptimizerOptions, build_optimizers, step_all
from localgpt.training.parallel import join_group
from localgpt.training.schedule import set_lr, trapezoid
from recipes.augment import augment
from recipes.common import RunLog, RunOptions
from recipes.decoder import DecoderRun, TrainStep, endless_rows, evaluate_streams, load_streams
from recipes.encoder import HOW, CaptionedSet, EncoderRun, caption_loss, retrieval_recall
from recipes.picture_rows import IMAGE_START, EncodedTurn, PictureBatch, PictureRows, talk_turns

__all__ = ["JointRun", "tune_jointly"]

MIXTURE = {
    "articles_en": 1.0,
    "articles_zh": 1.0,
    "books": 0.5,
    "dialogues_en": 1.5,
    "dialogues_zh": 1.5,
    "bilingual": 1.0,
    "factbook": 2.0,
    "made": 2.0,
    "product": 3.0,
    "knowledge": 1.0,
}
TALK = ("product", "factbook", "made")  # what a conversation about a picture may turn to


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRun:
    """Sizes of a run."""

    decoder: DecoderRun = field(default_factory=DecoderRun)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    minutes: float = 10.0
    num_text: int = 2  # text batches a step and process
    num_picture: int = 1  # picture batches a step and process
    warmup: float = 0.02
    samples: dict[str, int] = field(
        default_factory=lambda: {
            "flickr8k": 60,
            "scenes": 42,
            "icons": 8,
            "tiny_imagenet_part": 6,
            "scenes6": 6,
            "grocery": 6,
        }
    )
    samples_per_row: int = 4
    keeps: tuple[float, ...] = (1.0, 1.0, 0.5, 0.25)
    captioned: tuple[str, ...] = ("flickr8k", "scenes")  # take part in the contrastive loss
    picture_weight: float = 0.6
    caption_weight: float = 0.3
    encoder_lr: float = 2e-4
    num_workers: int = 12

    @classmethod
    def of_size(cls, size: str) -> JointRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        return cls(
            decoder=DecoderRun.of_size("tiny"), encoder=EncoderRun.of_size("tiny").config, minutes=1.0,
            num_text=1, num_picture=1, samples={"scenes": 4}, samples_per_row=1, captioned=("scenes",),
            num_workers=0,
        )  # fmt: skip


class JointModel(nn.Module):
    """Decoder, encoder and projector as one module."""

    def __init__(self, run: JointRun) -> None:
        super().__init__()
        side = run.encoder.grid_size
        self.decoder = Decoder(run.decoder.config)
        self.decoder.init_weights()
        self.encoder = JointEncoder(run.encoder).to(memory_format=torch.channels_last)
        self.projector = Projector(
            ProjectorConfig(
                n_feature=run.encoder.n_feature, n_embd=run.decoder.config.n_embd, n_image_token=side * side
            )
        )

    def load_pretrained(self, options: RunOptions) -> None:
        """Weights of the two pre-training recipes from `options.init`; waits for them where that is asked."""
        assert options.init is not None
        while options.wait_for_init and not (options.init / "ready").exists():
            time.sleep(0.2)
        state = load_file(options.init / "decoder.safetensors")
        self.decoder.load_state_dict({**state, "lm_head.weight": state["wte.weight"]})
        self.encoder.load_state_dict(load_file(options.init / "encoder.safetensors"))

    def save(self, options: RunOptions) -> None:
        """Write the three members and their configs."""
        for name, member in (
            ("decoder", self.decoder),
            ("encoder", self.encoder),
            ("projector", self.projector),
        ):
            state = {k: v.contiguous() for k, v in member.state_dict().items() if k != "lm_head.weight"}
            save_file(state, options.out / f"{name}.safetensors")
            (options.out / f"{name}.json").write_text(json.dumps(member.config.to_dict()), encoding="utf-8")


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
        pictures = []
        for sample in sets[name].pictures.samples:
            if sample["split"] != "train" or not sample["turns"]:
                continue
            pools: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
            for turn in sample["turns"]:
                pools[turn["kind"] == "describe"].append((turn["q"], turn["a"]))
            pictures.append((int(sample["image"]), [pool for pool in pools.values() if pool]))
        prepared.append((count, pictures))
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
    prefetch = 4 if run.num_workers else None
    return iter(DataLoader(rows, batch_size=None, num_workers=run.num_workers, prefetch_factor=prefetch))


class PictureStep:
    """Losses of one picture batch: answers, and pictures against captions."""

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

    def __call__(self, batch: PictureBatch) -> tuple[Tensor, Tensor]:
        """(answer loss, contrastive loss) of a batch."""
        device, encoder = self.options.device, self.model.encoder
        numbers = batch.images.to(device).split(list(self.run.samples.values()))
        by_set = dict(zip(self.run.samples, numbers, strict=True))
        pixels = torch.cat(
            [
                augment(self.sets[n].pictures.images[i], encoder.config.image_size, HOW[n], self.generator)
                for n, i in by_set.items()
            ]
        ).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, dtype=self.options.dtype, enabled=self.options.dtype != torch.float32):
            stages = encoder.image(pixels)
            vectors = encoder.embed_stages(stages)
            pairs = [(self.sets[name], by_set[name]) for name in self.run.captioned]
            num = sum(len(indices) for _, indices in pairs)
            caption = caption_loss(encoder, vectors[:num], pairs, self.generator)
        keep = batch.num_image_tokens / self.model.projector.config.n_image_token
        tokens = self.model.projector(encoder.grid_features(stages).to(self.options.dtype), keep=keep)
        inputs = batch.inputs.to(device)
        x = self._insert(self.model.decoder.embed(inputs).to(tokens.dtype), tokens)
        answer = self.step.loss(
            x, (inputs == IMAGE_ID).long(), batch.targets.to(device), batch.layout(device)
        )
        return answer, caption

    def _insert(self, x: Tensor, tokens: Tensor) -> Tensor:
        shape = x.shape
        samples = x.view(len(tokens), -1, shape[-1])  # (B * samples, sample_len, C)
        after = IMAGE_START + tokens.shape[1]
        return torch.cat([samples[:, :IMAGE_START], tokens, samples[:, after:]], dim=1).view(shape)


def tune_jointly(options: RunOptions) -> dict[str, Any]:
    """Tune decoder, encoder and projector together; see the module docstring."""
    run = JointRun.of_size(options.size)
    group = join_group(options.device)
    log = RunLog(options, "joint", group)
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    tokenizer = Tokenizer.from_file(options.data / "tokenizer.json")
    model = JointModel(run).to(options.device)
    model.encoder.eval()  # batch statistics stay as pre-trained
    sets = {
        name: CaptionedSet.load(options, name, tokenizer, run.encoder.text_context_len)
        for name in run.samples
    }
    step = TrainStep(model.decoder, options.dtype)
    own_seed = options.seed + 1000 * group.rank
    picture_step = PictureStep(model, step, run, sets, options, seed=own_seed)
    language = nn.ModuleDict({"decoder": model.decoder, "projector": model.projector})
    optimizers = build_optimizers(language, run.decoder.optimizer)
    optimizers += build_optimizers(model.encoder, _adam_only(run.encoder_lr))
    streams = load_streams(options, MIXTURE)
    rows = endless_rows(streams, MIXTURE, run.decoder, own_seed + 1)
    talk = [turn for name in TALK for turn in talk_turns(streams[name])]
    pictures = picture_loader(run, sets, tokenizer, talk, seed=own_seed)
    _warm_up(step, picture_step, next(rows).to(options.device), next(pictures))
    model.zero_grad(set_to_none=True)
    model.load_pretrained(options)
    budget, num_skipped = options.budget(run.minutes), 0
    while (progress := group.agree(budget.progress, options.device)) < 1:
        set_lr(optimizers, trapezoid(progress, warmup=run.warmup, decay=1 - run.warmup))
        totals = torch.zeros(3, device=options.device)
        for _ in range(run.num_text):
            loss = step.text_loss(next(rows).to(options.device, non_blocking=True)) / run.num_text
            loss.backward()
            totals[0] += loss.detach()
        for _ in range(run.num_picture):
            answer, caption = picture_step(next(pictures))
            loss = (run.picture_weight * answer + run.caption_weight * caption) / run.num_picture
            loss.backward()
            totals[1:] += torch.stack([answer, caption]).detach() / run.num_picture
        group.average_gradients(model.parameters())
        nn.utils.clip_grad_norm_(model.encoder.parameters(), 1.0)
        num_skipped += not step_all(optimizers, model.parameters())
        budget.step += 1
        if budget.step % 20 == 0 or budget.step <= 5 or budget.is_over:
            shown = dict(
                zip(("text", "answer", "caption"), (round(v, 4) for v in totals.tolist()), strict=True)
            )
            log.write(step=budget.step, progress=round(progress, 3), skipped=num_skipped, **shown)
    figures: dict[str, Any] = {
        "steps": budget.step,
        "text_loss": float(totals[0]),
        "answer_loss": float(totals[1]),
    }
    if group.is_first:
        model.save(options)
        figures.update(evaluate_streams(model.decoder, options, row_len=run.decoder.row_len))
        first = sets[next(iter(run.samples))]
        if len(first.pictures.val):
            figures |= retrieval_recall(
                model.encoder, first, size=run.encoder.image_size, dtype=options.dtype
            )
    log.finish(**figures)
    group.leave()
    return figures


def _warm_up(step: TrainStep, picture_step: PictureStep, rows: Tensor, batch: PictureBatch) -> None:
    """Compile and choose kernels before the clock of the run starts; leaves gradients behind."""
    step.text_loss(rows).backward()
    answer, caption = picture_step(batch)
    (answer + caption).backward()


def _adam_only(lr: float) -> OptimizerOptions:
    return OptimizerOptions(muon_lr=lr * 5, muon_weight_decay=0.1, adam_lr=lr, adam_weight_decay=0.05)
