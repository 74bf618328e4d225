"""Shards of training pictures: fixed shapes, ready for the GPU, readable while more are being made.

Each is one safetensors file: `pictures` (N, 192, 192, 3) uint8, `prompts` (N, 6, T) int32 token ids padded
with 0, three in English and three in Chinese, `lengths` (N, 6) int32. A file has its name once it is whole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from localgpt.media.text.tokenizer import Tokenizer

__all__ = ["NUM_PROMPTS", "Shards", "shard_path", "write_shard"]

NUM_PROMPTS = 6  # of a picture


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Where a shard is."""
    return folder / f"{split}-{number:05}.safetensors"


def write_shard(
    path: Path,
    pictures: list[NDArray[np.uint8]],
    prompts: list[list[str]],
    tokenizer: Tokenizer,
    *,
    text_len: int,
) -> None:
    """Write one shard; longer prompts are cut."""
    encoded = tokenizer.encode_batch([text for group in prompts for text in group])
    ids = np.zeros((len(encoded), text_len), dtype=np.int32)
    lengths = np.array([max(1, min(text_len, len(one))) for one in encoded], dtype=np.int32)
    for row, one in zip(ids, encoded, strict=True):
        row[: min(text_len, len(one))] = one[:text_len]
    tensors = {
        "pictures": np.stack(pictures),
        "prompts": ids.reshape(len(pictures), NUM_PROMPTS, text_len),
        "lengths": lengths.reshape(len(pictures), NUM_PROMPTS),
    }
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished)
    unfinished.replace(path)


class Shards:
    """The pictures of a split that are there, on the device.

    Args:
        folder: of shards.
        split: "train" or "val".
        device: where the pictures go.
        capacity: pictures that are kept at most; later ones take the places of the first.
    """

    def __init__(self, folder: Path, split: str, device: str, *, capacity: int = 300_000) -> None:
        self._folder, self._split, self._device, self._capacity = folder, split, device, capacity
        self._kept: dict[str, Tensor] = {}
        self._seen: set[str] = set()
        self._next = 0
        self.num = 0

    def refresh(self, *, most: int | None = None) -> int:
        """Read shards that came since.

        Args:
            most: shards to read in one go, so that a step is not kept waiting for long.

        Returns:
            How many were read.
        """
        files = sorted(self._folder.glob(f"{self._split}-*.safetensors"))
        new = [path for path in files if path.name not in self._seen][:most]
        for path in new:
            self._seen.add(path.name)
            self._take(load_file(path))
        return len(new)

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random pictures, each with one of its prompts.

        Returns:
            Pictures (num, H, W, 3) uint8, token ids (num, T) int64, lengths (num,) int64.
        """
        rows = torch.randint(self.num, (num,), device=self._device, generator=generator)
        columns = torch.randint(NUM_PROMPTS, (num,), device=self._device, generator=generator)
        kept = self._kept
        ids, lengths = (kept[name][rows, columns].long() for name in ("prompts", "lengths"))
        return kept["pictures"][rows], ids, lengths

    def _take(self, part: dict[str, Tensor]) -> None:
        for name, tensor in part.items():
            if name not in self._kept:
                shape = (self._capacity, *tensor.shape[1:])
                self._kept[name] = torch.empty(shape, dtype=tensor.dtype, device=self._device)
        num = len(part["pictures"])
        places = torch.arange(self._next, self._next + num) % self._capacity
        for name, tensor in part.items():
            self._kept[name][places.to(self._device)] = tensor.to(self._device)
        self._next = (self._next + num) % self._capacity
        self.num = min(self._capacity, self.num + num)
