"""Picture sets as the vision recipes read them: all pixels on the device, all texts as token ids.

Reads what `python -m recipes.vision_data` wrote: `images_NAME.npy` (N, H, W, 3) uint8 and
`samples_NAME.jsonl`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from localgpt.media.text.tokenizer import Tokenizer
from recipes.picture_rows import TextTurn

__all__ = ["CaptionTable", "PictureSet", "word_table"]

_KIND_WEIGHT = {"relation": 1.6, "place": 1.3, "count": 1.3}  # what is learnt last is asked most

_STOP_WORDS = """
    a an the is are of in on at with and to by it its his her their there this that from for as into up down
    out off over while who which be being has have two three some one
"""


@dataclass(frozen=True, slots=True)
class CaptionTable:
    """Captions of one language, grouped by picture.

    Shapes: `token_ids` (M, T) int64 padded on the right, `lengths` (M,), `first` and `count` (N,) rows of
    each picture.
    """

    token_ids: Tensor
    lengths: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def build(
        cls, captions: list[list[str]], tokenizer: Tokenizer, *, max_len: int, device: str
    ) -> CaptionTable:
        """Tokenise the captions of every picture; a picture without captions has count 0."""
        encoded = [
            ids[:max_len] for ids in tokenizer.encode_batch([text for group in captions for text in group])
        ]
        rows = np.zeros((max(1, len(encoded)), max_len), dtype=np.int64)
        for row, ids in zip(rows, encoded, strict=False):
            row[: len(ids)] = ids
        table = torch.from_numpy(rows)
        lengths = torch.tensor(
            [max(1, len(ids)) for ids in encoded] or [1]
        )  # an empty text reads as one piece
        count = torch.tensor([len(group) for group in captions])
        first = count.cumsum(0) - count
        return cls(table.to(device), lengths.to(device), first.to(device), count.to(device))

    def draw(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One random caption row for each picture of `indices` (B,)."""
        count = self.count[indices]
        pick = (torch.rand(len(indices), device=indices.device, generator=generator) * count).long()
        return self.first[indices] + pick.clamp(max=(count - 1).clamp(min=0))


@dataclass(slots=True)
class PictureSet:
    """One set: `images` (N, H, W, 3) uint8 on the device, `samples` as read, numbers of `train` and `val`."""

    name: str
    images: Tensor
    samples: list[dict[str, Any]]
    train: Tensor
    val: Tensor
    labels: Tensor

    @classmethod
    def load(cls, folder: Path, name: str, device: str) -> PictureSet:
        """Read one set and move its pictures to the device."""
        images = torch.from_numpy(np.load(folder / f"images_{name}.npy"))
        with (folder / f"samples_{name}.jsonl").open(encoding="utf-8") as lines:
            samples = [json.loads(line) for line in lines]
        samples.sort(key=lambda sample: int(sample["image"]))

        def numbers(split: str) -> Tensor:
            chosen = [int(s["image"]) for s in samples if s["split"] == split]
            return torch.tensor(chosen, dtype=torch.int64, device=device)

        labels = torch.full((len(images),), -1, dtype=torch.int64)
        for sample in samples:
            if sample.get("label") is not None:
                labels[int(sample["image"])] = int(sample["label"])
        return cls(name, images.to(device), samples, numbers("train"), numbers("val"), labels.to(device))

    def captions(self, language: str) -> list[list[str]]:
        """Captions of every picture number (empty where it has none)."""
        groups: list[list[str]] = [[] for _ in range(len(self.images))]
        for sample in self.samples:
            groups[int(sample["image"])] = list((sample.get("captions") or {}).get(language) or [])
        return groups

    def turns(self) -> list[list[list[TextTurn]]]:
        """Turns of every picture number: those that describe it, and the others; none if it is held out."""
        pools: list[list[list[TextTurn]]] = [[[], []] for _ in range(len(self.images))]
        for sample in self.samples:
            if sample["split"] != "train":
                continue
            for turn in sample["turns"]:
                weight = _KIND_WEIGHT.get(turn["kind"], 1.0) * turn.get("weight", 1.0)
                place = int(turn["kind"] != "describe")
                pools[int(sample["image"])][place].append(TextTurn(turn["q"], turn["a"], weight))
        return pools

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Numbers of `num` random training pictures, (num,) int64."""
        picks = torch.randint(len(self.train), (num,), device=self.train.device, generator=generator)
        return self.train[picks]


def word_table(captions: list[list[str]], *, num_words: int) -> tuple[Tensor, list[str]]:
    """Which frequent content words the captions of each picture use.

    Returns:
        (N, num_words) float32 rows that sum to 1 (0 where a picture has none), and the words.

    Source: classification on caption words, SuperClass, arXiv:2411.03313.
    """
    bags = [
        set(re.findall(r"[a-z]+", " ".join(group).lower())) - set(_STOP_WORDS.split()) for group in captions
    ]
    frequency = Counter(word for bag in bags for word in bag)
    words = [word for word, _ in frequency.most_common(num_words)]
    number = {word: i for i, word in enumerate(words)}
    table = torch.zeros(len(bags), num_words)
    for row, bag in enumerate(bags):
        known = [number[word] for word in bag if word in number]
        if known:
            table[row, known] = 1.0 / len(known)
    return table, words
