"""What every recipe shares: options of a run, its log, and the attention used in training."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.nn.attention import Attend
from localgpt.nn.flex import PackedAttend, PackedLayout, packed_bias
from localgpt.training.parallel import Group
from localgpt.training.schedule import Budget

__all__ = ["RunLog", "RunOptions", "packed_attend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run a recipe; the recipe itself fixes everything else.

    Args:
        data: folder the recipe reads (its docstring says what must be in it).
        out: folder for checkpoints, `log.jsonl` and `record.json`.
        steps: length of the run in steps; None takes `minutes`.
        minutes: length of the run in minutes; None takes the recipe's own.
        until: when to end instead, in seconds since the epoch, so that runs side by side end together.
        size: "full", or "tiny" for a run of seconds on a CPU.
        init: folder of checkpoints to start from, where the recipe needs them.
        wait_for_init: start before they are there, and wait for a file `ready` beside them.
        peak: factor on the peak learning rates, for a run that goes on from trained weights.
        freeze_embedding: leave the token embedding as it is, so that its files stay as they are too.
        like: family folder whose unchanged tensors an export repeats byte for byte.
        branch: the decoder recipe also tells what six GPU minutes with a decay of their own reach.
        fp16: half precision activations on a GPU (bfloat16 where it has it; recipes use it by default).
        seed: decides initial weights, data order and augmentation.
    """

    data: Path
    out: Path
    steps: int | None = None
    minutes: float | None = None
    until: float | None = None
    size: str = "full"
    init: Path | None = None
    wait_for_init: bool = False
    peak: float = 1.0
    branch: bool = False
    freeze_embedding: bool = False
    like: Path | None = None
    fp16: bool = False
    seed: int = 0
    device: str = field(default_factory=lambda: "cuda" if torch.cuda.is_available() else "cpu")

    def budget(self, default_minutes: float) -> Budget:
        """The run's length."""
        if self.steps is not None:
            return Budget(steps=self.steps)
        if self.until is not None:
            return Budget(minutes=max(0.02, (self.until - time.time()) / 60))
        return Budget(minutes=self.minutes or default_minutes)

    @property
    def dtype(self) -> torch.dtype:
        """Activation type: float32 on the CPU, half precision on a GPU."""
        if self.device == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


class RunLog:
    """Writes `log.jsonl` while a run goes on and `record.json` when it ends."""

    def __init__(self, options: RunOptions, recipe: str, group: Group | None = None) -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        self.options, self.recipe = options, recipe
        self.group = group or Group()
        self.started = time.time()
        self._path = options.out / "log.jsonl"

    def write(self, **values: Any) -> None:
        """One line with the seconds since the start, also to stderr; from the group's first process only."""
        if not self.group.is_first:
            return
        line = json.dumps({"s": round(time.time() - self.started, 1), **values})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - recipes are programs

    def finish(self, **figures: Any) -> None:
        """Write the record: command, commit, seed, minutes, machine, figures."""
        if not self.group.is_first:
            return
        commit = os.environ.get("LOCALGPT_COMMIT") or _head_commit()
        device = (
            torch.cuda.get_device_name() if self.options.device.startswith("cuda") else platform.processor()
        )
        record = {
            "recipe": self.recipe,
            "command": " ".join(sys.argv),
            "commit": commit,
            "seed": self.options.seed,
            "minutes": round((time.time() - self.started) / 60, 2),
            "device": device or platform.machine(),
            "num_devices": self.group.size,
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            **figures,
        }
        (self.options.out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self.write(finished=True, **figures)


def _head_commit() -> str:
    """Short hash of the checkout; empty where there is no git or no checkout."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def packed_attend(slopes: Tensor, layout: PackedLayout) -> Attend:
    """Attention over packed rows: flex_attention on a GPU, the plain bias elsewhere."""
    if slopes.is_cuda:
        return PackedAttend(slopes, layout.positions, layout.block_mask())
    bias = packed_bias(slopes, layout)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))

    return attend


Recipe = Callable[[RunOptions], dict[str, Any]]
