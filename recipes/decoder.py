"""Pre-training of the language decoder on articles, dialogues and made questions.

Data: the folder that `python -m recipes.text_data` wrote. Gives `decoder.safetensors` (float32) and a
record. Recipe: rows of 2,048 tokens packed anew every epoch, Muon for matrices and AdamW for the rest,
constant learning rate after a short warm-up; the decay happens in `recipes.joint`, on the mixture that
matters most. With `--branch` the run also tells how hard the held-out rows are: after 4.8 GPU minutes it lets
the rate fall to zero over 1.2 more, keeps the weights in `branch/`, and goes on from where it left off.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from localgpt.media.text.vocabulary import BOS_ID
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.nn.attention import Attend
from localgpt.nn.flex import PackedLayout, packed_bias
from localgpt.training.losses import token_loss
from localgpt.training.optimizer import OptimizerOptions, build_optimizers, step_all
from localgpt.training.packing import TokenStream, document_ids, pack_epoch, row_batches
from localgpt.training.parallel import Group, join_group
from localgpt.training.schedule import Budget, set_lr, trapezoid
from recipes.common import RunLog, RunOptions, packed_attend

__all__ = ["DecoderRun", "endless_rows", "evaluate_streams", "load_streams", "pretrain_decoder"]

EPOCH = {
    "articles_en": 1.0,
    "articles_zh": 1.0,
    "books": 1.0,
    "dialogues_en": 1.0,
    "dialogues_zh": 1.0,
    "bilingual": 1.0,
    "factbook": 1.0,
    "made": 1.0,
    "product": 1.0,
    "mixed": 1.0,
    "knowledge": 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderRun:
    """Sizes of a run."""

    config: DecoderConfig = field(default_factory=DecoderConfig)
    minutes: float = 11.0
    row_len: int = 2048
    num_rows: int = 32  # rows a forward pass
    num_accumulate: int = 2  # forward passes a step, all processes together: 131,072 tokens
    branch_minutes: float = 6.0  # GPU minutes of the branch, its decay included
    warmup: float = 0.02
    floor: float = 1.0  # the plateau goes on into the joint recipe
    decay: float = 0.2
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(
            muon_lr=0.015, muon_weight_decay=0.2, adam_lr=1.5e-3, adam_weight_decay=0.1
        )
    )

    @classmethod
    def of_size(cls, size: str) -> DecoderRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        config = DecoderConfig(n_layer=2, n_embd=64, n_head=4, context_len=256)
        return cls(
            config=config, minutes=1.0, row_len=128, num_rows=4, num_accumulate=1, branch_minutes=0.01,
            warmup=0.1,
        )  # fmt: skip


class TrainStep:
    """Loss of one batch of packed rows, compiled once for text rows and picture rows alike."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = decoder, dtype
        self._core = torch.compile(self._loss) if decoder.alibi.is_cuda else self._loss

    def text_loss(self, rows: Tensor) -> Tensor:
        """Mean loss over (B, T + 1) int64 rows of documents."""
        inputs, targets = rows[:, :-1], rows[:, 1:].contiguous()  # one shape and stride: compiled once
        layout = PackedLayout.of_documents(document_ids(inputs, bos_id=BOS_ID))
        weights = torch.ones(inputs.shape, device=inputs.device)
        return self.loss(self.decoder.embed(inputs), torch.zeros_like(inputs), (targets, weights), layout)

    def loss(self, x: Tensor, modality: Tensor, told: tuple[Tensor, Tensor], layout: PackedLayout) -> Tensor:
        """Weighted mean loss of embedded rows (B, T, C); `told` is targets and weights, both (B, T)."""
        attend = packed_attend(self.decoder.alibi, layout)
        return self._core(x.to(self.dtype), modality, *told, attend)

    def _loss(self, x: Tensor, modality: Tensor, targets: Tensor, weights: Tensor, attend: Any) -> Tensor:
        hidden = self.decoder.hidden(x, attend=attend, modality=modality)
        return token_loss(self.decoder.lm_head(hidden), targets, weights)


def load_streams(options: RunOptions, names: Mapping[str, float]) -> dict[str, TokenStream]:
    """The streams a mixture names."""
    return {name: TokenStream.load(options.data, name) for name in names}


def endless_rows(
    streams: Mapping[str, TokenStream], repeats: Mapping[str, float], run: DecoderRun, seed: int
) -> Iterator[Tensor]:
    """Batches of rows for ever; the next epoch is packed in the background."""
    rng = np.random.default_rng(seed)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(pack_epoch, streams, repeats, rng)
        while True:
            flat = pending.result()
            pending = pool.submit(pack_epoch, streams, repeats, rng)
            for rows in row_batches(flat, num_rows=run.num_rows, row_len=run.row_len):
                yield rows.pin_memory() if torch.cuda.is_available() else rows


@torch.no_grad()
def evaluate_streams(decoder: Decoder, options: RunOptions, *, row_len: int) -> dict[str, float]:
    """Bits per byte of the held-out streams, packed in rows as in training (a quick figure; see benchmarks/).

    Attends through the plain bias, which needs no compiling.
    """
    was_training = decoder.training
    decoder.eval()
    figures = {}
    for name in ("articles", "books", "dialogues"):
        stream = TokenStream.load(options.data, f"heldout_{name}")
        num_bytes = int(np.load(options.data / f"heldout_{name}.bytes.npy").sum())
        nats, count = 0.0, 0
        for rows in row_batches(stream.tokens, num_rows=4, row_len=row_len):
            inputs, targets = rows[:, :-1].to(options.device), rows[:, 1:].to(options.device)
            layout = PackedLayout.of_documents(document_ids(inputs, bos_id=BOS_ID))
            bias = packed_bias(decoder.alibi, layout).to(options.dtype)
            hidden = decoder.hidden(decoder.embed(inputs).to(options.dtype), attend=_biased(bias))
            nats += float(token_loss(decoder.lm_head(hidden), targets)) * targets.numel()
            count += targets.numel()
        if count:
            bytes_per_token = num_bytes / len(stream.tokens)
            figures[f"{name}_bits_per_byte"] = round(nats / count / bytes_per_token / np.log(2), 4)
    decoder.train(was_training)
    return figures


def _biased(bias: Tensor) -> Attend:
    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    return attend


class DecoderTraining:
    """Everything a run holds while it goes on."""

    def __init__(self, options: RunOptions, run: DecoderRun, group: Group) -> None:
        self.options, self.run, self.group = options, run, group
        self.log = RunLog(options, "decoder", group)
        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        self.decoder = Decoder(run.config)
        self.decoder.init_weights()
        self.decoder.to(options.device)
        self.optimizers = build_optimizers(self.decoder, run.optimizer)
        self.step = TrainStep(self.decoder, options.dtype)
        self.num_accumulate = max(1, run.num_accumulate // group.size)
        self.num_skipped = 0
        streams = load_streams(options, EPOCH)
        self.rows = endless_rows(streams, EPOCH, run, options.seed + 1000 * group.rank)
        self.step.text_loss(next(self.rows).to(options.device)).backward()  # compile before the clock starts
        self.decoder.zero_grad(set_to_none=True)

    def advance(self, factor: float) -> Tensor:
        """One step at `factor` times the peak rate; gives its loss."""
        set_lr(self.optimizers, factor)
        total = torch.zeros((), device=self.options.device)
        for _ in range(self.num_accumulate):
            rows = next(self.rows).to(self.options.device, non_blocking=True)
            loss = self.step.text_loss(rows) / self.num_accumulate
            loss.backward()
            total += loss.detach()
        self.group.average_gradients(self.decoder.parameters())
        self.num_skipped += not step_all(self.optimizers, self.decoder.parameters())
        return total

    def branch(self) -> dict[str, float]:
        """Let the rate fall to zero from here, keep and measure the result, and go back to where this began.

        Returns:
            Steps, and bits per byte of the held-out streams, of the branch.
        """
        kept = copy.deepcopy(self.decoder.state_dict())
        optimizers = [copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers]
        minutes = self.run.branch_minutes * self.run.decay / self.group.size
        budget = Budget(minutes=minutes) if self.options.steps is None else Budget(steps=3)
        while (progress := self.group.agree(budget.progress, self.options.device)) < 1:
            self.advance(1 - progress)
            budget.step += 1
        figures: dict[str, float] = {"branch_steps": budget.step}
        if self.group.is_first:
            self.save(self.options.out / "branch")
            measured = evaluate_streams(self.decoder, self.options, row_len=self.run.row_len)
            figures |= {f"branch_{name}": value for name, value in measured.items()}
            self.log.write(**figures)
        self.decoder.load_state_dict(kept)
        for optimizer, state in zip(self.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(state)
        return figures

    def save(self, folder: Path) -> None:
        """Write the weights (float32) and their config."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.contiguous() for k, v in self.decoder.state_dict().items() if k != "lm_head.weight"}
        save_file(state, folder / "decoder.safetensors")
        (folder / "decoder.json").write_text(json.dumps(self.run.config.to_dict()), encoding="utf-8")


def pretrain_decoder(options: RunOptions) -> dict[str, Any]:
    """Train the decoder from scratch; see the module docstring."""
    run = DecoderRun.of_size(options.size)
    group = join_group(options.device)
    training = DecoderTraining(options, run, group)
    budget, loss = options.budget(run.minutes), torch.zeros(())
    branch_at = run.branch_minutes * (1 - run.decay) / group.size if options.branch else float("inf")
    figures: dict[str, Any] = {}
    while (progress := group.agree(budget.progress, options.device)) < 1:
        loss = training.advance(trapezoid(progress, warmup=run.warmup, decay=run.decay, floor=run.floor))
        budget.step += 1
        if budget.step % 25 == 0 or budget.step <= 5 or budget.is_over:
            training.log.write(
                step=budget.step,
                loss=round(loss.item(), 4),
                progress=round(progress, 3),
                skipped=training.num_skipped,
            )
        if branch_at < float("inf") and group.agree(budget.elapsed_minutes, options.device) >= branch_at:
            branch_at = float("inf")
            figures |= training.branch()
    figures |= {"steps": budget.step, "loss": loss.item()}
    figures["tokens"] = budget.step * training.num_accumulate * run.num_rows * run.row_len * group.size
    if group.is_first:
        training.save(options.out)
        figures.update(evaluate_streams(training.decoder, options, row_len=run.row_len))
    training.log.finish(**figures)
    group.leave()
    return figures
