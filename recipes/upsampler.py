"""Training of the painter's upsampler: twice as many pixels along each side, sharp where bicubic is soft.

Data: the shards of `python -m recipes.paint_data`. Small pictures are made of large ones by area, blurred and
noised a little more, since what the painter paints is softer than what it was shown. Beside the difference of
the pixels that of their gradients is minimised, so that edges stay edges. Gives `upsampler.safetensors`,
`upsampler.json` and a record with signal-to-noise ratio and sharpness beside bicubic's on held-out pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.models.painter import PainterConfig, Upsampler
from localgpt.training.optimizer import step_all
from localgpt.training.schedule import set_lr, trapezoid
from recipes.common import RunLog, RunOptions
from recipes.paint_data.shards import Shards
from recipes.resuming import save_whole

__all__ = ["UpsamplerRun", "compare_with_bicubic", "sharpness", "train_upsampler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsamplerRun:
    """Sizes of a run."""

    config: PainterConfig = field(default_factory=PainterConfig)
    minutes: float = 3.0
    batch_size: int = 96
    crop: int = 96  # pixels along a side of what is to be made
    lr: float = 1e-3
    gradient_weight: float = 1.0
    most_noise: float = 0.03
    least_pictures: int = 2000
    capacity: int = 20_000

    @classmethod
    def of_size(cls, size: str) -> UpsamplerRun:
        """The shipped sizes ("full") or a run of seconds ("tiny")."""
        if size == "full":
            return cls()
        config = PainterConfig(n_upsampler=8, n_upsampler_block=1)
        return cls(config=config, minutes=0.5, batch_size=4, crop=32, least_pictures=1, capacity=64)


def train_upsampler(options: RunOptions) -> dict[str, Any]:
    """Train the upsampler; see the module docstring."""
    run = UpsamplerRun.of_size(options.size)
    log = RunLog(options, "upsampler")
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    generator = torch.Generator(options.device).manual_seed(options.seed)
    shards = Shards(options.data, "train", options.device, capacity=run.capacity)
    shards.refresh(most=max(1, run.capacity // 1000))
    if shards.num < run.least_pictures:
        raise SystemExit(f"{options.data} holds {shards.num} pictures; expected {run.least_pictures} or more")
    upsampler = Upsampler(run.config).to(options.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(upsampler.parameters(), lr=run.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    optimizer.param_groups[0]["peak_lr"] = run.lr
    budget = options.budget(run.minutes)
    loss = torch.zeros(())
    while not budget.is_over:
        set_lr([optimizer], trapezoid(budget.progress, warmup=0.02, decay=0.5))
        large = _crops(shards.draw(run.batch_size, generator)[0], run.crop, generator)
        small = degraded(large, generator, most_noise=run.most_noise)
        with torch.autocast(options.device, dtype=options.dtype, enabled=options.dtype != torch.float32):
            made = upsampler(small.contiguous(memory_format=torch.channels_last)).float()
        loss = (made - large).abs().mean() + run.gradient_weight * _gradient_difference(made, large)
        loss.backward()
        step_all([optimizer], upsampler.parameters(), max_norm=1.0)
        budget.step += 1
        if budget.step % 200 == 0 or budget.step <= 3:
            log.write(
                step=budget.step, progress=round(budget.progress, 3), loss=round(float(loss.detach()), 5)
            )
    held_out = Shards(options.data, "val", options.device, capacity=500)
    held_out.refresh(most=1)
    figures: dict[str, Any] = {"steps": budget.step, "loss": round(float(loss.detach()), 5)}
    if held_out.num:
        pictures = held_out.draw(min(200, held_out.num), torch.Generator(options.device).manual_seed(0))[0]
        figures |= compare_with_bicubic(upsampler, _pixels(pictures))
    state = {name: tensor.contiguous() for name, tensor in upsampler.state_dict().items()}
    told = {key: value for key, value in run.config.to_dict().items() if "upsampler" in key}
    (options.out / "upsampler.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    save_whole(state, options.out / "upsampler.safetensors")  # last: where it is, the upsampler is done
    log.finish(**figures)
    return figures


@torch.no_grad()
def compare_with_bicubic(upsampler: Upsampler, large: Tensor) -> dict[str, float]:
    """PSNR in dB and sharpness as a share of the original's, ours and bicubic's, from half as large pictures.

    Args:
        upsampler: of ours.
        large: (B, 3, S, S) in [-1, 1].
    """
    small = F.interpolate(large, scale_factor=0.5, mode="area")
    made = {
        "ours": torch.cat([upsampler(part) for part in small.split(20)]).float(),
        "bicubic": F.interpolate(small, scale_factor=2, mode="bicubic", align_corners=False),
    }
    figures = {}
    for name, pictures in made.items():
        error = (pictures.clamp(-1, 1) - large).square().mean(dim=(1, 2, 3)).clamp(min=1e-8)
        figures[f"psnr_{name}"] = round(float((10 * torch.log10(4 / error)).mean()), 2)
        figures[f"sharpness_{name}"] = round(sharpness(pictures.clamp(-1, 1)) / sharpness(large), 4)
    return figures


def sharpness(pixels: Tensor) -> float:
    """Mean square of the Laplacian of pictures (B, 3, S, S): how abruptly they change."""
    grey = pixels.float().mean(dim=1, keepdim=True)
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=pixels.device)
    return float(F.conv2d(grey, kernel[None, None]).square().mean())


def degraded(large: Tensor, generator: torch.Generator, *, most_noise: float) -> Tensor:
    """Half as large pictures, some of them softer and noisier than others."""
    small = F.interpolate(large, scale_factor=0.5, mode="area")
    num, device = len(large), large.device
    soft = F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = 0.5 * torch.rand(num, 1, 1, 1, device=device, generator=generator)
    level = most_noise * torch.rand(num, 1, 1, 1, device=device, generator=generator)
    noise = torch.randn(small.shape, device=device, generator=generator)
    return small + share * (soft - small) + level * noise


def _crops(pictures: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """One square of each picture, the same place in all: (B, 3, side, side) in [-1, 1]."""
    most = pictures.shape[1] - side
    top, left = torch.randint(most + 1, (2,), device=pictures.device, generator=generator).tolist()
    return _pixels(pictures[:, top : top + side, left : left + side])


def _pixels(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def _gradient_difference(made: Tensor, large: Tensor) -> Tensor:
    total = made.new_zeros(())
    for axis in (2, 3):
        total = total + (made.diff(dim=axis) - large.diff(dim=axis)).abs().mean()
    return total
