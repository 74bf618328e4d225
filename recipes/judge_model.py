"""A classifier of icons, trained apart from the painter, that says what it sees in a painted picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["JudgeConfig", "JudgeNetwork", "load_judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Shape of the network, and the English name of each of its classes."""

    names: tuple[str, ...]
    size: int = 96  # pixels along a side of what it looks at
    width: int = 48
    num_blocks: int = 2  # of each of four stages

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "names": list(self.names),
            "size": self.size,
            "width": self.width,
            "num_blocks": self.num_blocks,
        }


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        is_same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class JudgeNetwork(nn.Module):
    """A small residual network (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks, n_in = [], width
        for stage in range(4):
            for number in range(config.num_blocks):
                n_out = width << stage
                blocks.append(_Block(n_in, n_out, 2 if stage and number == 0 else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, len(config.names))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, num) of pictures (B, 3, size, size) in [-1, 1]: one thing each, on white."""
        logits: Tensor = self.head(self.blocks(self.stem(pixels)).mean(dim=(2, 3)))
        return logits


def load_judge(folder: Path, device: str = "cpu") -> JudgeNetwork:
    """The judge that `recipes.icon_judge` left in a folder, in eval mode."""
    told = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
    network = JudgeNetwork(JudgeConfig(**told | {"names": tuple(told["names"])}))
    network.load_state_dict(load_file(folder / "judge.safetensors"))
    return network.to(device).eval().requires_grad_(False)
