"""Rows of questions about pictures: one picture prefix, many questions that share it.

Each sample is `<|bos|><|user|>` + picture tokens + `<|image_end|>`, then branches. A branch is one short
conversation about the picture; branches do not see each other (see `localgpt.nn.flex`), so one picture
teaches all its captions and questions in a single pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    IMAGE_END_ID,
    IMAGE_ID,
    PAD_ID,
    USER_ID,
)
from localgpt.nn.flex import PackedLayout
from localgpt.training.losses import IGNORE
from localgpt.training.packing import TokenStream

__all__ = [
    "IMAGE_START",
    "EncodedTurn",
    "PictureBatch",
    "PictureRows",
    "TextTurn",
    "fill_sample",
    "talk_turns",
]

IMAGE_START = 2  # picture tokens follow `<|bos|><|user|>`
_USUAL_LEN = 8  # tokens of an answer that count 1 each
_MOST_DRAWN = 12


class TextTurn(NamedTuple):
    """A question and its answer; `weight` says how often it is drawn and how much it is learned."""

    question: str
    answer: str
    weight: float = 1.0


class EncodedTurn(NamedTuple):
    """The same as token ids."""

    question: list[int]
    answer: list[int]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """One batch, all (B, T) int64: `inputs`, `targets`, where each token belongs; `images` (B * S,) numbers.

    `weights` (B, T) float32 say how much each target counts. Pictures are numbered within their set; sets
    follow each other in the order of `set_sizes`.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    documents: Tensor
    branches: Tensor
    positions: Tensor
    images: Tensor
    num_image_tokens: int

    def layout(self, device: str) -> PackedLayout:
        """Attention layout on a device."""
        parts = (self.documents, self.branches, self.positions)
        return PackedLayout(*(part.to(device, torch.int32) for part in parts))


def fill_sample(
    branches: Sequence[Sequence[EncodedTurn]], *, num_image_tokens: int, sample_len: int
) -> dict[str, NDArray[Any]]:
    """Lay out one picture and its branches; branches that do not fit are left out.

    Returns:
        `inputs`, `targets` (answers and their `<|end|>` only), `branches`, `positions`, each (sample_len,)
        int64, and `weights` (sample_len,) float32. An answer counts with the root of its length, so that the
        one word that tells left from right is not lost among the words of sentences.
    """
    inputs = np.full(sample_len, PAD_ID, dtype=np.int64)
    weights = np.ones(sample_len, dtype=np.float32)
    targets = np.full(sample_len, IGNORE, dtype=np.int64)
    branch_of = np.full(sample_len, -1, dtype=np.int64)
    positions = np.zeros(sample_len, dtype=np.int64)
    prefix = [BOS_ID, USER_ID] + [IMAGE_ID] * num_image_tokens + [IMAGE_END_ID]
    end = len(prefix)
    inputs[:end], branch_of[:end], positions[:end] = prefix, 0, np.arange(end)
    start = end
    for number, turns in enumerate(branches, start=1):
        ids, learned = _branch(turns)
        stop = start + len(ids)
        if stop > sample_len:
            continue
        inputs[start:stop], branch_of[start:stop] = ids, number
        positions[start:stop] = np.arange(end, end + len(ids))
        next_ids = np.array([*ids[1:], IGNORE])
        targets[start:stop] = np.where([*(w > 0 for w in learned[1:]), False], next_ids, IGNORE)
        weights[start:stop] = [*learned[1:], 1.0]
        start = stop
    return {
        "inputs": inputs, "targets": targets, "weights": weights, "branches": branch_of,
        "positions": positions,
    }  # fmt: skip


def _branch(turns: Sequence[EncodedTurn]) -> tuple[list[int], list[float]]:
    """Token ids, and how much each is learned: 0 for what the user says."""
    ids: list[int] = []
    learned: list[float] = []
    for number, (question, answer, weight) in enumerate(turns):
        asked = ([USER_ID] if number else []) + question + [END_ID, ASSISTANT_ID]
        said = [*answer, END_ID]
        ids += asked + said
        learned += [0.0] * len(asked) + [weight * (_USUAL_LEN / len(said)) ** 0.5] * len(said)
    return ids, learned


def talk_turns(stream: TokenStream, *, max_len: int = 64) -> list[EncodedTurn]:
    """Question and answer of each sequence that is one short exchange between user and assistant."""
    head = [BOS_ID, USER_ID]
    turns = []
    for number in range(len(stream)):
        if stream.offsets[number + 1] - stream.offsets[number] > max_len:
            continue
        ids = stream[number].tolist()
        if ids[:2] != head or ids.count(END_ID) != 2 or ids[-1] != END_ID:
            continue
        middle = ids.index(END_ID)
        if ids[middle + 1] == ASSISTANT_ID:
            turns.append(EncodedTurn(ids[2:middle], ids[middle + 2 : -1]))
    return turns


class PictureRows(IterableDataset[PictureBatch]):
    """Endless batches of picture rows, made by data-loader workers.

    Args:
        sets: for each set, how many samples a batch holds and the candidate pictures: (number, pools) where a
            pool is a list of turns.
        tokenizer: encodes what is drawn, in the worker.
        talk: exchanges without a picture; some follow one about a picture, so that a conversation can go on.
        num_rows: rows a batch.
        samples_per_row: samples a row; `row_len` / `samples_per_row` tokens each.
        row_len: tokens a row.
        keeps: numbers of image tokens to train with; one is drawn for each batch.
        seed: with the worker's number, decides everything.
    """

    def __init__(
        self,
        sets: Sequence[tuple[int, list[tuple[int, list[list[TextTurn]]]]]],
        tokenizer: Tokenizer,
        talk: Sequence[EncodedTurn] = (),
        *,
        num_rows: int,
        samples_per_row: int,
        row_len: int,
        keeps: Sequence[int],
        seed: int,
    ) -> None:
        self.tokenizer, self.talk = tokenizer, talk
        self.sets, self.num_rows, self.samples_per_row = sets, num_rows, samples_per_row
        self.row_len, self.keeps, self.seed = row_len, tuple(keeps), seed

    def __iter__(self) -> Iterator[PictureBatch]:
        """Batches for ever."""
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            yield self._batch(rng)

    def _batch(self, rng: np.random.Generator) -> PictureBatch:
        num_image_tokens = int(rng.choice(self.keeps))
        sample_len = self.row_len // self.samples_per_row
        names = ("inputs", "targets", "weights", "branches", "positions")
        fields: dict[str, list[Any]] = {name: [] for name in names}
        images = []
        for count, pictures in self.sets:
            for pick in rng.integers(len(pictures), size=count):
                image, pools = pictures[pick]
                images.append(image)
                sample = fill_sample(
                    self._draw_branches(pools, rng), num_image_tokens=num_image_tokens, sample_len=sample_len
                )
                for name, values in fields.items():
                    values.append(sample[name])
        shape = (self.num_rows, self.row_len)
        stacked = {name: torch.from_numpy(np.stack(values)).view(shape) for name, values in fields.items()}
        documents = torch.arange(self.samples_per_row).repeat_interleave(sample_len).expand(shape)
        return PictureBatch(
            documents=documents.contiguous(),
            images=torch.tensor(images),
            num_image_tokens=num_image_tokens,
            **stacked,
        )

    def _draw_branches(
        self, pools: list[list[TextTurn]], rng: np.random.Generator
    ) -> list[list[EncodedTurn]]:
        """Up to twelve turns of each pool in random order, one a branch; a few branches get a second turn."""
        drawn = [turn for pool in pools for turn in _drawn(pool, rng)]
        encoded = self.tokenizer.encode_batch([text for turn in drawn for text in turn[:2]])
        turns = [
            EncodedTurn(question, answer, turn.weight)
            for question, answer, turn in zip(encoded[::2], encoded[1::2], drawn, strict=True)
        ]
        branches: list[list[EncodedTurn]] = []
        for i in rng.permutation(len(turns)):
            if branches and len(branches[-1]) < 3 and rng.random() < 0.1:
                branches[-1].append(turns[i])
            else:
                branches.append([turns[i]])
            if self.talk and rng.random() < 0.06:
                branches[-1].append(self.talk[int(rng.integers(len(self.talk)))])
        return branches


def _drawn(pool: list[TextTurn], rng: np.random.Generator) -> list[TextTurn]:
    """Up to twelve turns of a pool, none twice, the heavy ones rather than the light ones.

    Source: weighted sampling without replacement, Efraimidis and Spirakis 2006.
    """
    keys = rng.random(len(pool)) ** (1 / np.array([turn.weight for turn in pool]))
    return [pool[i] for i in np.argsort(-keys)[:_MOST_DRAWN]]
