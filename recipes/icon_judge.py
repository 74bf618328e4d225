"""Training of the judge of painted pictures: all names of the icon set, in any colour, size and pose.

Data: the raw image sets. Icons are held on the device as cut-outs with the share of their main colour, and
painted, turned, placed, softened and noised there, so that no two pictures are the same. Gives
`judge.safetensors`, `judge.json` and a record with its accuracy on augmented icons that it was not trained
on: other random numbers, and small ones apart. Nothing of the painter takes part in it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from localgpt.training.optimizer import step_all
from localgpt.training.schedule import set_lr, trapezoid
from recipes.common import RunLog, RunOptions
from recipes.judge_model import JudgeConfig, JudgeNetwork
from recipes.paint_data.prepare import load_named
from recipes.resuming import save_whole
from recipes.scenes.icons import Level
from recipes.scenes.vocabulary import COLOURS
from recipes.vision_data.icons import NamedIcon

__all__ = ["IconBank", "JudgeRun", "accuracy", "train_judge"]

_LIGHT = 100.0  # `Level.light` is in 1/100 of usual


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRun:
    """Sizes of a run."""

    size: int = 96
    width: int = 48
    num_blocks: int = 2
    minutes: float = 6.0
    batch_size: int = 768
    lr: float = 2e-3
    num_tests: int = 6  # pictures of each name

    @classmethod
    def of_size(cls, size: str) -> JudgeRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        return cls(size=32, width=8, num_blocks=1, minutes=0.5, batch_size=16, num_tests=2)


class IconBank:
    """Icons on the device, drawn in any way.

    Args:
        icons: with their names.
        size: pixels along a side of what is drawn.
        device: where.
    """

    def __init__(self, icons: list[NamedIcon], size: int, device: str) -> None:
        self.size, self.device = size, device
        self.names = tuple(one.name.en for one in icons)
        planes = [_planes(one.icon.levels[2], size) for one in icons]
        self._planes = torch.from_numpy(np.stack(planes)).to(device)  # (N, 6, S, S) uint8
        colours = list(COLOURS)
        allowed = [[c in one.icon.colours and one.can_be_painted for c in colours] for one in icons]
        self._allowed = torch.tensor(allowed, device=device).float()
        self._may_flip = torch.tensor([one.can_be_painted for one in icons], device=device)
        self._colours = torch.tensor([COLOURS[c] for c in colours], device=device).float()

    def draw(
        self, labels: Tensor, generator: torch.Generator, *, least_scale: float = 0.3, is_hard: bool = True
    ) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] of icons `labels` (B,).

        Args:
            labels: numbers of icons.
            generator: decides everything else.
            least_scale: pixels that the smallest ones have, as a share of `size`, before they are enlarged.
            is_hard: with noise and other grounds than white.
        """
        planes = self._planes[labels].float()
        rgb = self._painted(planes, labels, generator)
        layers = torch.cat([rgb / 255, planes[:, 3:4] / 255], dim=1)
        layers = self._moved(layers, labels, generator)
        alpha = layers[:, 3:].clamp(0, 1)
        ground = torch.ones(len(labels), 3, 1, 1, device=self.device)
        if is_hard:
            is_white = self._random(len(labels), generator) < 0.8
            colour = torch.rand(len(labels), 3, 1, 1, device=self.device, generator=generator)
            ground = torch.where(is_white.view(-1, 1, 1, 1), ground, colour)
        pixels = layers[:, :3] * alpha + ground * (1 - alpha)
        return 2 * self._softened(pixels, generator, least_scale, is_hard=is_hard) - 1

    def _painted(self, planes: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """RGB (B, 3, S, S) in 0..255, some in another colour; as `Level.painted` does it."""
        weights = self._allowed[labels]
        may = (weights.sum(dim=1) > 0) & (self._random(len(labels), generator) < 0.45)
        chosen = torch.multinomial(weights + 1e-6, 1, generator=generator)[:, 0]
        base = self._colours[chosen][:, :, None, None]
        relative = planes[:, 5:6] / _LIGHT
        bright = (255 - base) * ((relative - 1) * 0.45).clamp(0, 0.4)
        shaded = base * relative.clamp(0.35, 1) + bright
        body = planes[:, 4:5] / 255 * may.view(-1, 1, 1, 1)
        return planes[:, :3] * (1 - body) + shaded * body

    def _moved(self, layers: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        num = len(labels)
        angle = 0.26 * (2 * self._random(num, generator) - 1)
        scale = 1.0 + 0.35 * self._random(num, generator)
        flip = torch.where(self._may_flip[labels] & (self._random(num, generator) < 0.5), -1.0, 1.0)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        shift = 0.12 * (2 * torch.rand(num, 2, device=self.device, generator=generator) - 1)
        rows = [
            torch.stack([cos * flip, -sin, shift[:, 0]], 1),
            torch.stack([sin * flip, cos, shift[:, 1]], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, dim=1), list(layers.shape), align_corners=False)
        return F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _softened(
        self, pixels: Tensor, generator: torch.Generator, least_scale: float, *, is_hard: bool
    ) -> Tensor:
        """As if they had been small; one size for a quarter of the batch each, so that shapes are few."""
        parts = []
        for part in pixels.chunk(4):
            scale = least_scale + (1 - least_scale) * float(self._random(1, generator))
            small = F.interpolate(part, scale_factor=scale, mode="bilinear", antialias=True)
            parts.append(
                F.interpolate(small, size=(self.size, self.size), mode="bicubic", align_corners=False)
            )
        soft = torch.cat(parts)
        if not is_hard:
            return soft.clamp(0, 1)
        contrast = 1 + 0.15 * (2 * self._random(len(soft), generator) - 1).view(-1, 1, 1, 1)
        level = 0.06 * self._random(len(soft), generator).view(-1, 1, 1, 1)
        noise = torch.randn(soft.shape, device=self.device, generator=generator)
        return (1 - (1 - soft) * contrast + level * noise).clamp(0, 1)

    def _random(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, device=self.device, generator=generator)


def train_judge(options: RunOptions) -> dict[str, Any]:
    """Train the judge; see the module docstring."""
    run = JudgeRun.of_size(options.size)
    log = RunLog(options, "icon_judge")
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    bank = IconBank(load_named(options.data, workers=os.cpu_count() or 1), run.size, options.device)
    generator = torch.Generator(options.device).manual_seed(options.seed)
    config = JudgeConfig(names=bank.names, size=run.size, width=run.width, num_blocks=run.num_blocks)
    network = JudgeNetwork(config).to(options.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=run.lr, weight_decay=0.05)
    optimizer.param_groups[0]["peak_lr"] = run.lr
    budget = options.budget(run.minutes)
    loss = torch.zeros(())
    while not budget.is_over:
        set_lr([optimizer], trapezoid(budget.progress, warmup=0.05, decay=0.7))
        labels = torch.randint(len(bank.names), (run.batch_size,), device=options.device, generator=generator)
        pixels = bank.draw(labels, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast(options.device, dtype=options.dtype, enabled=options.dtype != torch.float32):
            logits = network(pixels)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        loss.backward()
        step_all([optimizer], network.parameters(), max_norm=5.0)
        budget.step += 1
        if budget.step % 100 == 0 or budget.step <= 3:
            log.write(
                step=budget.step, progress=round(budget.progress, 3), loss=round(float(loss.detach()), 4)
            )
    network.eval()
    figures = {"steps": budget.step, "loss": round(float(loss.detach()), 4), "names": len(bank.names)}
    figures |= accuracy(network, bank, num_tests=run.num_tests)
    (options.out / "judge.json").write_text(json.dumps(config.to_dict()) + "\n", encoding="utf-8")
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_whole(state, options.out / "judge.safetensors")  # last: where it is, the judge is done
    log.finish(**figures)
    return figures


@torch.no_grad()
def accuracy(
    network: JudgeNetwork, bank: IconBank, *, num_tests: int, seed: int = 1_000_000
) -> dict[str, float]:
    """Top 1 and top 5 on augmented icons: large ones, and those that were small; equal names count as one."""
    generator = torch.Generator(bank.device).manual_seed(seed)
    classes = {name: number for number, name in enumerate(dict.fromkeys(bank.names))}
    class_of = torch.tensor([classes[name] for name in bank.names], device=bank.device)
    figures = {}
    for kind, least in (("large", 0.8), ("small", 0.35)):
        hits = torch.zeros(2, device=bank.device)
        for _ in range(num_tests):
            for labels in torch.arange(len(bank.names), device=bank.device).split(256):
                top = network(bank.draw(labels, generator, least_scale=least, is_hard=False)).topk(
                    min(5, len(bank.names)), dim=1
                )
                same = class_of[top.indices] == class_of[labels][:, None]
                hits += torch.stack([same[:, 0].sum(), same.any(dim=1).sum()])
        top1, top5 = (hits / (num_tests * len(bank.names))).tolist()
        figures |= {f"top1_{kind}": round(top1, 4), f"top5_{kind}": round(top5, 4)}
    return figures


def _planes(level: Level, size: int) -> np.ndarray:
    """RGB, alpha, body and light of a cut-out in the middle of a square, (6, size, size) uint8."""
    planes = np.dstack([level.rgba, level.body, level.light])
    height, width = planes.shape[:2]
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.zeros((size, size, 6), dtype=np.uint8)
    square[..., :3] = 255
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    for number in range(6):
        plane = Image.fromarray(np.ascontiguousarray(planes[..., number])).resize(
            shape, Image.Resampling.BILINEAR
        )
        square[top : top + shape[1], left : left + shape[0], number] = np.asarray(plane)
    return np.ascontiguousarray(square.transpose(2, 0, 1))
