"""Pre-training of the joint encoder on captioned pictures, rendered scenes and labelled pictures.

Data: the folder that `python -m recipes.vision_data` wrote, and a tokenizer. Gives `encoder.safetensors` and
a record. Recipe: contrastive loss in both languages on captioned sets, label loss on labelled sets, and
caption-word classification (SuperClass, arXiv:2411.03313); noun and colour of every grid cell of the
rendered scenes, so that features know places; a small reader beside it that answers questions from the grid
(`recipes.reader`). Pictures have 192 px here; joint tuning goes on at the served 224 px. With several
processes each draws its own pictures, and gradients are averaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import PAD_ID
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.training.losses import contrastive_loss
from localgpt.training.optimizer import step_all
from localgpt.training.parallel import Group, join_group
from localgpt.training.schedule import set_lr, trapezoid
from recipes.augment import Augmentation, augment_with_grid, plain_pixels
from recipes.cells import CellHead, CellMaps
from recipes.common import RunLog, RunOptions
from recipes.pictures import CaptionTable, PictureSet, word_table
from recipes.reader import Reader, ReaderOptions, TurnTable

__all__ = ["CaptionedSet", "EncoderRun", "caption_loss", "pretrain_encoder", "retrieval_recall"]

_RENDERED = Augmentation(min_area=0.6, rotate=0.03, flip=0.0, saturation=0.15, grey=0.0, brightness=0.15)
HOW = {
    "flickr8k": Augmentation(),
    "scenes": _RENDERED,
    "icons": _RENDERED,
    "tiny_imagenet_part": Augmentation(),
    "scenes6": Augmentation(),
    "grocery": Augmentation(saturation=0.2, grey=0.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRun:
    """Sizes of a run."""

    config: EncoderConfig = field(default_factory=EncoderConfig)
    minutes: float = 9.0
    captioned: dict[str, int] = field(default_factory=lambda: {"flickr8k": 320, "scenes": 224, "icons": 32})
    labelled: dict[str, int] = field(
        default_factory=lambda: {"tiny_imagenet_part": 128, "scenes6": 32, "grocery": 32}
    )
    reader: ReaderOptions = field(default_factory=ReaderOptions)
    reader_weight: float = 1.0
    size: int = 192  # 768 pictures of 224 px leave no room for joint tuning to get ready beside them
    token_drop: float = 0.1  # share of a caption's tokens that are hidden, for the small number of captions
    num_words: int = 1500
    cell_weight: float = 0.5
    lr: float = 8e-4
    max_norm: float = 1.0
    num_settling: int = 24  # batches that measure the final statistics of the batch norms
    settling_size: int = 256
    weight_decay: float = 0.1
    warmup: float = 0.05

    @classmethod
    def of_size(cls, size: str) -> EncoderRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        config = EncoderConfig(
            image_size=64, stage_blocks=(1, 1, 1, 1), stem_width=16, embed_dim=32, n_pool_head=2,
            n_token_embd=16, n_text_embd=32, n_text_layer=1, n_text_head=2,
        )  # fmt: skip
        return cls(
            config=config, minutes=1.0, captioned={"scenes": 8}, labelled={}, size=32, num_words=50,
            reader=ReaderOptions(n_embd=32, n_layer=1, n_head=2),
        )  # fmt: skip


@dataclass(slots=True)
class CaptionedSet:
    """A picture set with its captions in both languages."""

    pictures: PictureSet
    tables: dict[str, CaptionTable]

    @classmethod
    def load(cls, options: RunOptions, name: str, tokenizer: Tokenizer, max_len: int) -> CaptionedSet:
        """Read a set and tokenise its captions."""
        pictures = PictureSet.load(options.data, name, options.device)
        tables = {
            language: CaptionTable.build(
                pictures.captions(language), tokenizer, max_len=max_len, device=options.device
            )
            for language in ("en", "zh")
        }
        return cls(pictures, tables)


def caption_loss(
    encoder: JointEncoder,
    image: Tensor,
    sets: list[tuple[CaptionedSet, Tensor]],
    generator: torch.Generator,
    *,
    token_drop: float = 0.0,
) -> Tensor:
    """Contrastive loss of pictures with one random caption each, mean of both languages.

    Args:
        encoder: gives the text vectors.
        image: (B, E) picture vectors, in the order of `sets`.
        sets: each set with the numbers (b,) of its pictures in the batch.
        generator: draws the captions.
        token_drop: share of the tokens replaced by `<|pad|>`.
    """
    losses = []
    for language in ("en", "zh"):
        rows = [s.tables[language].draw(indices, generator) for s, indices in sets]
        ids = torch.cat([s.tables[language].token_ids[r] for (s, _), r in zip(sets, rows, strict=True)])
        lengths = torch.cat([s.tables[language].lengths[r] for (s, _), r in zip(sets, rows, strict=True)])
        same = (ids[:, None] == ids[None, :]).all(dim=2)
        if token_drop:
            draws = torch.rand(ids.shape, device=ids.device, generator=generator)
            ids = ids.masked_fill(draws < token_drop, PAD_ID)
        text = encoder.encode_text(ids, lengths)
        losses.append(contrastive_loss(image, text, encoder.logit_scale.exp().clamp(max=100), same))
    return torch.stack(losses).mean()


@torch.no_grad()
def retrieval_recall(
    encoder: JointEncoder, captioned: CaptionedSet, *, size: int, dtype: torch.dtype
) -> dict[str, float]:
    """Image-to-text recall on the set's val pictures: any of a picture's captions among all of val's."""
    encoder.eval()
    val = captioned.pictures.val
    figures = {}
    with torch.autocast(val.device.type, dtype=dtype, enabled=dtype != torch.float32):
        images = torch.cat(
            [encoder.encode_image(plain_pixels(captioned.pictures.images[b], size)) for b in val.split(250)]
        )
        for language, table in captioned.tables.items():
            rows = torch.cat(
                [torch.arange(int(table.first[i]), int(table.first[i] + table.count[i])) for i in val]
            )
            owner = torch.cat([torch.full((int(table.count[i]),), n) for n, i in enumerate(val)]).to(
                val.device
            )
            rows = rows.to(val.device)
            texts = torch.cat(
                [encoder.encode_text(table.token_ids[r], table.lengths[r]) for r in rows.split(1000)]
            )
            best = (images @ texts.T).topk(min(5, len(texts)), dim=1).indices
            hits = owner[best] == torch.arange(len(val), device=val.device)[:, None]
            figures[f"{language}_r1"] = round(float(hits[:, :1].any(dim=1).float().mean()), 4)
            figures[f"{language}_r5"] = round(float(hits.any(dim=1).float().mean()), 4)
    encoder.train()
    return figures


class Heads(nn.Module):
    """Training-only classifiers on the picture vector."""

    def __init__(self, n_in: int, num_words: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.words = nn.Linear(n_in, num_words)
        self.labels = nn.ModuleDict({name: nn.Linear(n_in, num) for name, num in classes.items()})


class EncoderStep:
    """Losses of one batch: captions, caption words, labels, and what lies where in rendered scenes."""

    def __init__(self, options: RunOptions, run: EncoderRun, group: Group) -> None:
        self.options, self.run = options, run
        own_seed = options.seed + 1000 * group.rank
        self.generator = torch.Generator(options.device).manual_seed(own_seed)
        tokenizer = Tokenizer.from_file(options.data / "tokenizer.json")
        max_len = run.config.text_context_len
        self.captioned = {n: CaptionedSet.load(options, n, tokenizer, max_len) for n in run.captioned}
        self.labelled = {n: PictureSet.load(options.data, n, options.device) for n in run.labelled}
        self.words = _words_of(self.captioned, run.num_words, options.device)
        self.encoder = JointEncoder(run.config).to(options.device, memory_format=torch.channels_last)
        n_coarse = run.config.stem_width * 32
        classes = {name: int(pictures.labels.max()) + 1 for name, pictures in self.labelled.items()}
        self.heads = Heads(n_coarse, run.num_words, classes).to(options.device)
        maps = {n: CellMaps.of(s.pictures, options.device) for n, s in self.captioned.items()}
        self.maps = {name: found for name, found in maps.items() if found is not None}
        self.cells = nn.ModuleDict({n: CellHead(run.config.n_feature, m) for n, m in self.maps.items()})
        self.cells.to(options.device)
        self.turns = {
            name: TurnTable.build(
                [pools[0] + pools[1] for pools in s.pictures.turns()], tokenizer, run.reader, options.device
            )
            for name, s in self.captioned.items()
        }
        self.reader = Reader(
            run.reader, n_feature=run.config.n_feature, vocab_size=run.config.vocab_size,
            grid_size=run.config.grid_size,
        ).to(options.device)  # fmt: skip
        torch.manual_seed(own_seed)  # from here on processes differ
        compiles = options.device.startswith("cuda")
        self._look = torch.compile(self.encoder.image, dynamic=False) if compiles else self.encoder.image

    def __call__(self, size: int) -> dict[str, Tensor]:
        """Losses by name for a fresh random batch of pictures of `size` pixels."""
        draws = {n: s.pictures.draw(self.run.captioned[n], self.generator) for n, s in self.captioned.items()}
        extra = {n: s.draw(self.run.labelled[n], self.generator) for n, s in self.labelled.items()}
        images = {n: self.captioned[n].pictures.images[i] for n, i in draws.items()}
        images |= {n: self.labelled[n].images[i] for n, i in extra.items()}
        pairs = {n: augment_with_grid(batch, size, HOW[n], self.generator) for n, batch in images.items()}
        pixels = torch.cat([p for p, _ in pairs.values()]).contiguous(memory_format=torch.channels_last)
        places = dict(
            zip(pairs, torch.arange(len(pixels)).split([len(p) for p, _ in pairs.values()]), strict=True)
        )
        dtype = self.options.dtype
        with torch.autocast(self.options.device, dtype=dtype, enabled=dtype != torch.float32):
            stages = self._look(pixels)
            image, pooled = self.encoder.embed_stages(stages), stages[1].mean(dim=(2, 3))
            num = sum(len(indices) for indices in draws.values())
            sets = [(self.captioned[n], indices) for n, indices in draws.items()]
            drop = self.run.token_drop
            losses = {
                "caption": caption_loss(self.encoder, image[:num], sets, self.generator, token_drop=drop)
            }
            targets = torch.cat([self.words[n][indices] for n, indices in draws.items()])
            log_probs = F.log_softmax(self.heads.words(pooled[:num]).float(), dim=-1)
            losses["words"] = -(targets * log_probs).sum(dim=1).mean()
            read = [self.turns[n].draw(indices, self.generator) for n, indices in draws.items()]
            grid = self.encoder.grid_features((stages[0][:num], stages[1][:num]))
            losses["reader"] = self.reader.loss(
                grid, *(torch.cat(parts) for parts in zip(*read, strict=True))
            )
            for name, indices in extra.items():
                logits = self.heads.labels[name](pooled[places[name]]).float()
                target = self.labelled[name].labels[indices]
                losses[name] = F.cross_entropy(logits, target, label_smoothing=0.1)
            for name, maps in self.maps.items():
                chosen = (stages[0][places[name]], stages[1][places[name]])
                told = maps.targets(draws[name], pairs[name][1], chosen[0].shape[-1])
                losses[f"cells_{name}"] = self.cells[name].loss(self.encoder.grid_features(chosen), told)
        return losses

    @torch.no_grad()
    def settle_statistics(self, size: int, *, num_batches: int) -> None:
        """Measure the batch norms' statistics anew with the final weights, at the size pictures are served.

        Source: precise batch norm, Wu and Johnson 2021, arXiv:2105.07576.
        """
        norms = [module for module in self.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # plain average
        names, dtype = list(self.run.captioned), self.options.dtype
        for number in range(num_batches):
            pictures = self.captioned[names[number % len(names)]].pictures
            images = pictures.images[pictures.draw(self.run.settling_size, self.generator)]
            pixels = augment_with_grid(images, size, HOW[pictures.name], self.generator)[0]
            with torch.autocast(self.options.device, dtype=dtype, enabled=dtype != torch.float32):
                self.encoder.image(pixels.contiguous(memory_format=torch.channels_last))

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        cells = [losses[f"cells_{name}"] for name in self.maps]
        labels = [losses[name] for name in self.labelled]
        total = losses["caption"] + losses["words"] + self.run.cell_weight * sum(cells)
        total = total + self.run.reader_weight * losses["reader"]
        return total + sum(labels) / max(1, len(labels))

    def parts(self) -> nn.ModuleList:
        """All that learns; only the encoder is kept."""
        return nn.ModuleList([self.encoder, self.heads, self.cells, self.reader])


def pretrain_encoder(options: RunOptions) -> dict[str, Any]:
    """Train the encoder from scratch; see the module docstring."""
    run = EncoderRun.of_size(options.size)
    group = join_group(options.device)
    log = RunLog(options, "encoder", group)
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    step = EncoderStep(options, run, group)
    encoder, parts = step.encoder, step.parts()
    optimizer = torch.optim.AdamW(_groups(parts, run.weight_decay), lr=run.lr, betas=(0.9, 0.98))
    for group_of_parameters in optimizer.param_groups:
        group_of_parameters["peak_lr"] = run.lr
    step.total(step(run.size)).backward()  # compile before the clock of the run starts
    optimizer.zero_grad(set_to_none=True)
    budget, num_skipped, num_measured = options.budget(run.minutes), 0, 0
    first = next(iter(step.captioned.values()))
    while (progress := group.agree(budget.progress, options.device)) < 1:
        set_lr([optimizer], trapezoid(progress, warmup=run.warmup, decay=1 - run.warmup))
        losses = step(run.size)
        step.total(losses).backward()
        group.average_gradients(parts.parameters())
        num_skipped += not step_all([optimizer], encoder.parameters(), max_norm=run.max_norm)
        budget.step += 1
        if budget.step % 50 == 0 or budget.step <= 3 or budget.is_over:
            shown = {name: round(float(loss.detach()), 3) for name, loss in losses.items()}
            log.write(step=budget.step, progress=round(progress, 3), skipped=num_skipped, **shown)
        if group.is_first and (quarter := int(4 * progress)) > num_measured and len(first.pictures.val):
            num_measured = quarter
            log.write(
                step=budget.step, **retrieval_recall(encoder, first, size=run.size, dtype=options.dtype)
            )
    figures: dict[str, Any] = {"steps": budget.step, "reader_loss": float(losses["reader"].detach())}
    if group.is_first:
        step.settle_statistics(run.config.image_size, num_batches=run.num_settling)
        state = {k: v.contiguous() for k, v in encoder.state_dict().items()}
        save_file(state, options.out / "encoder.safetensors")
        if step.maps:  # joint tuning goes on with them
            save_file(dict(step.cells.state_dict()), options.out / "cells.safetensors")
        (options.out / "encoder.json").write_text(json.dumps(run.config.to_dict()), encoding="utf-8")
        if len(first.pictures.val):
            figures |= retrieval_recall(encoder, first, size=run.config.image_size, dtype=options.dtype)
    log.finish(**figures)
    group.leave()
    return figures


def _words_of(captioned: dict[str, CaptionedSet], num_words: int, device: str) -> dict[str, Tensor]:
    groups = {name: s.pictures.captions("en") for name, s in captioned.items()}
    table, _ = word_table([group for captions in groups.values() for group in captions], num_words=num_words)
    tables = table.to(device).split([len(captions) for captions in groups.values()])
    return dict(zip(groups, tables, strict=True))


def _groups(parts: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = list(parts.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
