"""What the painter's recipes share: the text tower that reads prompts, and sheets of pictures to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from localgpt.checkpoints.family import build_text_tower
from localgpt.checkpoints.layout import read_layout
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.encoder import TextEncoder
from localgpt.models.painter import Painter
from localgpt.sampling.diffusion.cascade import Cascade, CascadePlan
from localgpt.sampling.diffusion.flow import Flow
from localgpt.sampling.diffusion.reading import nothing, read_prompt
from recipes.common import RunOptions

__all__ = ["SHEET_PROMPTS", "load_tower", "paint_sheet", "to_sheet", "write_sheet"]

SHEET_PROMPTS = (
    "a red apple", "a cat", "a blue apple", "a purple cat", "a golden rocket", "a house with garden",
    "an umbrella", "a penguin", "a red car left of a green tree", "a dog above a blue chair",
    "a yellow star right of a purple fish", "three oranges", "a cow on a green background",
    "a photo of a dog running on grass", "a photo of a mountain", "一只猫", "一个蓝色的苹果",
    "一只狗在一棵树的左边", "照片：大海", "一把红色的椅子",
)  # fmt: skip
_COLUMNS = 5
_GUIDANCE = 3.0
_LEAP_STEPS = 8


def load_tower(family: Path, device: str) -> tuple[TextEncoder, str]:
    """The text tower of a family's encoder, which does not learn, and its fingerprint."""
    tower, fingerprint = build_text_tower(read_layout(family))
    return tower.to(device).eval().requires_grad_(False), fingerprint


@torch.no_grad()
def paint_sheet(
    painter: Painter, tower: TextEncoder, tokenizer: Tokenizer, *, num_steps: int, num_prompts: int
) -> Tensor:
    """Pictures of the first prompts: above by small steps with guidance, below by leaps; (2 * N, 3, S, S)."""
    found = []
    for leaps in (False, True):
        for number, text in enumerate(SHEET_PROMPTS[:num_prompts]):
            flow = Flow(
                denoiser=painter,
                words=read_prompt(painter, tower, tokenizer, text).words,
                against=None if leaps else nothing(painter),
                guidance_scale=1.0 if leaps else _GUIDANCE,
                leaps=leaps,
                patch_size=painter.config.patch_size,
            )
            plan = CascadePlan.of(min(num_steps, _LEAP_STEPS) if leaps else num_steps)
            generators = [torch.Generator().manual_seed(number)]
            found.append(Cascade(flow, painter.config, plan, generators).run().float().cpu())
    return torch.cat(found)


def write_sheet(
    painter: Painter,
    tower: TextEncoder,
    options: RunOptions,
    *,
    name: str,
    num_steps: int,
    num_prompts: int,
) -> Path:
    """Write a sheet into the run's folder."""
    assert options.init is not None
    tokenizer = Tokenizer.from_file(options.init / "tokenizer.json")
    pictures = paint_sheet(painter, tower, tokenizer, num_steps=num_steps, num_prompts=num_prompts)
    path = options.out / f"{name}.png"
    to_sheet(pictures, columns=2 * _COLUMNS).save(path)
    return path


def to_sheet(pictures: Tensor, *, columns: int) -> Image.Image:
    """(N, 3, S, S) in [-1, 1] as one picture."""
    side = pictures.shape[-1]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (side + 4), columns * (side + 4), 3), 200, dtype=np.uint8)
    bytes_ = ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for number, picture in enumerate(bytes_):
        y, x = (number // columns) * (side + 4), (number % columns) * (side + 4)
        sheet[y : y + side, x : x + side] = picture
    return Image.fromarray(sheet)
