"""Many questions about many pictures at temperature 0, in batches, with the product's prompts and rules.

Descriptions are made as the product makes them, too: as the one of several drafts that the others agree with.

Every prompt begins with the same tokens, `<|bos|><|user|>`, the picture and `<|image_end|>`, so a picture is
read once and all its questions go on from there. Questions of a batch are padded on the right; ALiBi knows
distances only, so padding is nothing but masked keys, and the answers equal those of the product (a test
compares them).

Shape legend: B rows, P prefix tokens, Q question tokens, S keys, H heads, D head width, C decoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.vision.retrieval import embed_texts
from localgpt.checkpoints import Family
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    IMAGE_END_ID,
    IMAGE_ID,
    PAD_ID,
    USER_ID,
)
from localgpt.nn.alibi import alibi_bias
from localgpt.runtime.answers import TokenRules
from localgpt.runtime.drafting import NUM_DRAFTS, draft_options
from localgpt.sampling.consensus import most_agreed
from localgpt.sampling.tokens import Choice, new_generator, sample_token
from localgpt.tasks import SamplingOptions

__all__ = ["Answerer", "Ask", "Pixels", "question_ids"]

_DRAFTS = tuple(draft_options(SamplingOptions(temperature=0.0)))

Pixels = NDArray[np.float32]
"""(3, S, S) in [-1, 1], from `to_pixels`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one picture."""

    picture: int
    text: str
    max_tokens: int = 32
    is_description: bool = False  # told by consensus (`localgpt.runtime.drafting`)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One to be made: the prefix it follows, whose it is, and how its tokens are chosen."""

    row: int
    place: int
    question: list[int]
    max_tokens: int
    options: SamplingOptions | None  # None = the likeliest


@dataclass(slots=True)
class Keys:
    """Keys and values of every layer, each (B, H, S, D)."""

    k: list[Tensor]
    v: list[Tensor]

    def of(self, rows: Tensor) -> Keys:
        """Those of some rows, (R,) int64 or bool."""
        return Keys([part[rows] for part in self.k], [part[rows] for part in self.v])


class _PrefixAttend:
    """Causal attention over whole prefixes of one length that keeps the keys and values."""

    def __init__(self, slopes: Tensor, num_tokens: int, dtype: torch.dtype) -> None:
        positions = torch.arange(num_tokens, device=slopes.device)
        self.bias = alibi_bias(slopes, positions, positions)[None].to(dtype)
        self.keys = Keys([], [])

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.k.append(k)
        self.keys.v.append(v)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)


class _BranchAttend:
    """Attention of a batch of questions and answers that go on from their prefixes.

    Args:
        slopes: (H,) float32.
        prefix: keys of G prefixes; rows g * B / G to (g + 1) * B / G - 1 of the batch go on from prefix g.
        lengths: (B,) int64 question tokens of each row.
        width: Q, the longest question.
        room: tokens of a row's question and answer at most.
    """

    def __init__(self, slopes: Tensor, prefix: Keys, lengths: Tensor, width: int, room: int) -> None:
        self.slopes, self.prefix, self.start = slopes, prefix, 0
        _, num_heads, self.num_prefix, head_width = prefix.k[0].shape
        shape = len(lengths), num_heads, room, head_width
        self.keys = Keys(*([part.new_zeros(shape) for part in parts] for parts in (prefix.k, prefix.v)))
        index = torch.arange(room, device=slopes.device)
        is_answer = index[None] >= width
        placed = torch.where(is_answer, index - width + lengths[:, None], index[None])  # (B, S)
        self.positions = self.num_prefix + placed
        self.is_real = is_answer | (index[None] < lengths[:, None])
        self.bias = torch.empty(0)

    @property
    def num_groups(self) -> int:
        """How many prefixes the rows go on from."""
        return len(self.prefix.k[0])

    def begin(self, num_new: int, dtype: torch.dtype) -> None:
        """Prepare the masks for the next `num_new` tokens of every row."""
        end = self.start + num_new
        index = torch.arange(end, device=self.positions.device)
        keys, queries = self.positions[:, None, :end], self.positions[:, self.start : end, None]
        seen = (keys <= queries) & self.is_real[:, None, :end] | (index == index[self.start :, None])
        away = torch.where(seen, (queries - keys).clamp(min=0).float(), float("inf"))  # (B, T, S)
        before = torch.arange(self.num_prefix, device=self.positions.device)
        away = torch.cat([(queries - before).float(), away], dim=2)
        self.bias = (-self.slopes[:, None, None] * away[:, None]).to(dtype)  # (B, H, T, P + S)

    def keep(self, rows: Tensor, groups: Tensor) -> None:
        """Go on with some rows alone, equally many of each of some prefixes, in their order."""
        self.prefix, self.keys = self.prefix.of(groups), self.keys.of(rows)
        self.positions, self.is_real = self.positions[rows], self.is_real[rows]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        end = self.start + k.shape[2]
        self.keys.k[layer][:, :, self.start : end] = k
        self.keys.v[layer][:, :, self.start : end] = v
        keys, values = self.keys.k[layer][:, :, :end], self.keys.v[layer][:, :, :end]
        prefix_keys, prefix_values = self.prefix.k[layer], self.prefix.v[layer]
        groups = self.num_groups
        scores = _per_row(_per_group(q, groups) @ prefix_keys.mT, q)
        scores = torch.cat([scores, q @ keys.mT], dim=3) * q.shape[3] ** -0.5 + self.bias
        weights = scores.float().softmax(dim=3).to(q.dtype)
        ahead, own = weights.split([self.num_prefix, end], dim=3)
        return _per_row(_per_group(ahead, groups) @ prefix_values, q) + own @ values


def _per_group(x: Tensor, groups: int) -> Tensor:
    """(B, H, T, N) to (G, H, B / G * T, N): what rows of one prefix ask of it, together."""
    rows, heads, length, width = x.shape
    x = x.view(groups, rows // groups, heads, length, width)
    return x.transpose(1, 2).reshape(groups, heads, -1, width)


def _per_row(x: Tensor, like: Tensor) -> Tensor:
    """Back to (B, H, T, N), with B, H and T of `like`."""
    rows, heads, length, _ = like.shape
    x = x.view(len(x), heads, rows // len(x), length, x.shape[3])
    return x.transpose(1, 2).reshape(rows, heads, length, -1)


class Answerer:
    """Asks a family about pictures.

    Args:
        family: with encoder and projector, in eval mode.
        batch: pictures read at once, and questions answered at once.
        keep: fraction of a picture's tokens the decoder reads, in (0, 1].
        report: told how far the work is, in words.
    """

    def __init__(
        self,
        family: Family,
        *,
        batch: int = 32,
        keep: float = 1.0,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        assert family.encoder is not None
        assert family.projector is not None
        self.family, self.batch, self.report = family, batch, report
        self.encoder, self.projector, self.decoder = family.encoder, family.projector, family.decoder
        self.image_size = family.encoder.config.image_size
        pool = family.encoder.image.pool.positions
        self.device, self.encoder_dtype = pool.device, pool.dtype
        self.dtype = next(p.dtype for p in family.decoder.parameters() if p.is_floating_point())
        self.rules = TokenRules.new(family.decoder.config.vocab_size, device=self.device)
        self.vectors: dict[
            int, Tensor
        ] = {}  # picture number to unit vector (E,) float32, from the last `answers`
        self.keep = keep

    @torch.inference_mode()
    def answers(
        self, asks: Sequence[Ask], load: Callable[[int], Pixels], pictures: Sequence[int] = ()
    ) -> list[str]:
        """Replies in the order of `asks`; also fills `vectors`.

        Args:
            asks: questions, in any order.
            load: reads a picture by its number; called from several threads.
            pictures: numbers of pictures to embed even if nothing is asked about them.
        """
        by_picture: dict[int, list[int]] = {number: [] for number in pictures}
        for place, ask in enumerate(asks):
            by_picture.setdefault(ask.picture, []).append(place)
        replies = [""] * len(asks)
        self.vectors = {}
        numbers = list(by_picture)
        for done, (chunk, pixels) in enumerate(self._loaded(numbers, load)):
            vectors, tokens = self._read(pixels)
            self.vectors.update(zip(chunk, vectors, strict=True))
            places = [(row, place) for row, number in enumerate(chunk) for place in by_picture[number]]
            if places:
                told = self._answer_chunk(tokens, places, asks)
                for row, place in places:
                    replies[place] = self._best_of(told[place], vectors[row])
            self.report(f"{min((done + 1) * self.batch, len(numbers))}/{len(numbers)} pictures")
        return replies

    def _loaded(
        self, numbers: list[int], load: Callable[[int], Pixels]
    ) -> Iterator[tuple[list[int], Tensor]]:
        chunks = [numbers[at : at + self.batch] for at in range(0, len(numbers), self.batch)]
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(load, number) for number in (chunks[0] if chunks else [])]
            for place, chunk in enumerate(chunks):
                ready = waiting
                if place + 1 < len(chunks):  # the next pictures are decoded while these are read
                    waiting = [pool.submit(load, number) for number in chunks[place + 1]]
                pixels = np.stack([future.result() for future in ready])
                yield chunk, torch.from_numpy(pixels).to(self.device, self.encoder_dtype)

    def _read(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) to unit vectors (B, E) and decoder tokens (B, K, C)."""
        vectors, tokens = [], []
        for part in pixels.split(16 if self.device.type == "cpu" else 256):
            stages = self.encoder.image(part)
            vectors.append(self.encoder.embed_stages(stages).float().cpu())
            tokens.append(self.projector(self.encoder.grid_features(stages), keep=self.keep))
        return torch.cat(vectors), torch.cat(tokens)

    def _best_of(self, drafts: list[str], vector: Tensor) -> str:
        if len(drafts) == 1:
            return drafts[0]
        return drafts[most_agreed(drafts, (embed_texts(self.family, drafts) @ vector).tolist())]

    def _answer_chunk(
        self, tokens: Tensor, places: list[tuple[int, int]], asks: Sequence[Ask]
    ) -> dict[int, list[str]]:
        """The drafts of every ask, by its place."""
        prefix = self._read_prefix(tokens)
        # Alike questions together, so that little is padded and rows end at about the same time.
        encoded = {place: question_ids(self.family, asks[place].text) for _, place in places}
        places = sorted(places, key=lambda p: (asks[p[1]].max_tokens, len(encoded[p[1]]), p[1]))
        told: dict[int, list[str]] = {}
        for is_description in (False, True):
            mine = [(row, place) for row, place in places if asks[place].is_description is is_description]
            self._make(prefix, mine, asks, encoded, told)
        return told

    def _make(
        self,
        prefix: Keys,
        places: list[tuple[int, int]],
        asks: Sequence[Ask],
        encoded: Mapping[int, list[int]],
        told: dict[int, list[str]],
    ) -> None:
        """Add the drafts of asks of one kind to `told`, all drafts of an ask in one batch."""
        answers = [
            _Answer(row, place, encoded[place], asks[place].max_tokens, options)
            for row, place in places
            for options in (_DRAFTS if asks[place].is_description else (None,))
        ]
        is_description = len(answers) > len(places)
        size = NUM_DRAFTS * max(4, self.batch // NUM_DRAFTS) if is_description else self.batch
        for at in range(0, len(answers), size):
            part = answers[at : at + size]
            for answer, reply in zip(part, self._continue(prefix, part), strict=True):
                told.setdefault(answer.place, []).append(self.family.tokenizer.decode(reply))

    def _read_prefix(self, tokens: Tensor) -> Keys:
        num_rows, num_image = tokens.shape[:2]
        ids = torch.tensor([BOS_ID, USER_ID] + [IMAGE_ID] * num_image + [IMAGE_END_ID], device=self.device)
        x = self.decoder.embed(ids)[None].expand(num_rows, -1, -1).clone()
        x[:, 2 : 2 + num_image] = tokens.to(x.dtype)
        modality = (ids == IMAGE_ID).long()[None].expand(num_rows, -1)
        attend = _PrefixAttend(self.decoder.alibi, len(ids), x.dtype)
        self.decoder.hidden(x, attend=attend, modality=modality)
        return attend.keys

    def _continue(self, prefix: Keys, answers: list[_Answer]) -> list[list[int]]:
        """Token ids without the end."""
        rows, limits = [answer.row for answer in answers], [answer.max_tokens for answer in answers]
        questions = [answer.question for answer in answers]
        drawn = {
            at: Choice(options=answer.options, generator=new_generator(answer.options.seed))
            for at, answer in enumerate(answers)
            if answer.options is not None
        }
        width = max(map(len, questions))
        lengths = torch.tensor([len(ids) for ids in questions], device=self.device)
        groups = torch.tensor(_groups(rows), device=self.device)
        attend = _BranchAttend(self.decoder.alibi, prefix.of(groups), lengths, width, width + max(limits))
        padded = torch.tensor(
            [[*ids, *[PAD_ID] * (width - len(ids))] for ids in questions], device=self.device
        )
        hidden = self._step(padded, attend)
        hidden = hidden[torch.arange(len(rows), device=self.device), lengths - 1]
        latest = self._pick(hidden, self.rules.banned_first, drawn)
        limit = torch.tensor(limits, device=self.device)
        said = torch.full((len(rows), max(limits)), END_ID, device=self.device)
        said[:, 0] = latest
        alive = torch.arange(len(rows), device=self.device)
        is_running = latest != END_ID
        for number in range(1, max(limits)):
            is_running = is_running & (number < limit[alive])
            if not bool(is_running.any()):
                break
            if (kept := _worth_keeping(is_running, attend.num_groups)) is not None:
                attend.keep(*kept)
                alive, latest, is_running = (part[kept[0]] for part in (alive, latest, is_running))
            running = zip(alive.tolist(), is_running.tolist(), strict=True)
            choices = {at: drawn[row] for at, (row, runs) in enumerate(running) if runs and row in drawn}
            latest = self._pick(self._step(latest[:, None], attend)[:, 0], self.rules.banned, choices)
            latest = torch.where(is_running, latest, END_ID)
            is_running = is_running & (latest != END_ID)
            said[alive, number] = latest
        return [ids[: ids.index(END_ID)] if END_ID in ids else ids for ids in said.tolist()]

    def _step(self, ids: Tensor, attend: _BranchAttend) -> Tensor:
        """Final features (B, T, C) of new tokens (B, T)."""
        x = self.decoder.embed(ids)
        attend.begin(ids.shape[1], x.dtype)
        hidden = self.decoder.hidden(x, attend=attend)
        attend.start += ids.shape[1]
        return hidden

    def _pick(self, hidden: Tensor, banned: Tensor, drawn: Mapping[int, Choice]) -> Tensor:
        """The likeliest tokens (B,), and in the rows of `drawn` those that are drawn."""
        logits = self.decoder.logits(hidden[:, None])[:, 0].masked_fill(banned, float("-inf"))
        if not drawn:
            return logits.argmax(dim=1)
        told = logits.float().cpu()  # all rows at once: a device is waited for once a token
        picked = told.argmax(dim=1)
        for at, choice in drawn.items():
            picked[at] = sample_token(told[at], choice)
        return picked.to(self.device)


def question_ids(family: Family, text: str) -> list[int]:
    """What follows the picture in the product's prompt: the text, its end, and an open assistant turn."""
    return [*family.tokenizer.encode(text), END_ID, ASSISTANT_ID]


def _groups(rows: list[int]) -> list[int]:
    """The prefix of each run of equal rows where all runs are equally long, else that of each row."""
    runs = [(row, len(list(run))) for row, run in groupby(rows)]
    return [row for row, _ in runs] if len({length for _, length in runs}) == 1 else rows


def _worth_keeping(is_running: Tensor, num_groups: int) -> tuple[Tensor, Tensor] | None:
    """Rows and groups to go on with where that leaves at most three quarters of (B,) rows; None elsewhere.

    Equally many rows of each group that is left: those that run, and where others have more, some that ended.
    """
    by_group = is_running.view(num_groups, -1)
    counts = by_group.sum(dim=1)
    groups, most = counts.nonzero()[:, 0], int(counts.max())
    if len(groups) * most * 4 > len(is_running) * 3:
        return None
    first = by_group[groups].int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return (first.sort(dim=1).values + groups[:, None] * by_group.shape[1]).flatten(), groups
