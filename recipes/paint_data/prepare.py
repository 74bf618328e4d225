"""Renders the shards that the painter learns from, on many processes, while it may be learning already.

Held-out shards come first, then training shards, until there are as many as were asked for. A picture
depends on the seed and its number only.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.tokenizer import Tokenizer
from recipes.paint_data.composing import compose
from recipes.paint_data.prompts import photo_prompts, prompts_of
from recipes.paint_data.shards import NUM_PROMPTS, shard_path, write_shard
from recipes.scenes.captions import article
from recipes.scenes.icons import Icon
from recipes.scenes.render import SIZE
from recipes.scenes.stock import ICON_SET, Stock
from recipes.vision_data.icons import NamedIcon, load_icons
from recipes.vision_data.labels import label_key, label_names
from recipes.vision_data.packs import PicturePack

__all__ = ["PaintDataOptions", "load_named", "prepare_shards"]

PHOTO_SHARE = {"flickr8k": 0.07, "scenes6": 0.05}
_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintDataOptions:
    """How to prepare.

    Args:
        data: folder with the raw image sets, flat or in images/.
        out: folder to write.
        tokenizer: the family's `tokenizer.json`.
        workers: processes.
        pictures: training pictures.
        held_out: pictures with held-out colours and relations, for the losses that are logged.
        per_shard: pictures of one file.
        text_len: tokens of a prompt.
        photographs: sets to learn from besides icons, out of `PHOTO_SHARE`.
        seed: decides everything.
    """

    data: Path
    out: Path
    tokenizer: Path
    workers: int = 1
    pictures: int = 200_000
    held_out: int = 1000
    per_shard: int = 1000
    text_len: int = 48
    photographs: tuple[str, ...] = tuple(PHOTO_SHARE)
    seed: int = 0


@dataclass(slots=True)
class _Photographs:
    """A set of photographs with captions of each row."""

    pack: PicturePack
    captions: list[dict[str, list[str]]]

    @classmethod
    def open(cls, data: Path, name: str) -> _Photographs:
        pack = PicturePack.open(data, name).chosen("train")
        if name == "flickr8k":
            return cls(pack, [{"en": row["en"], "zh": row["zh"]} for row in pack.rows])
        names = label_names(name, pack.rows)
        called = [names[label_key(name, row)] for row in pack.rows]
        return cls(
            pack, [{"en": [article(one.en) if one.is_counted else one.en], "zh": [one.zh]} for one in called]
        )


@dataclass(slots=True)
class _Shared:
    """What worker processes inherit instead of being sent."""

    icons: list[NamedIcon] = field(default_factory=list)
    stocks: dict[str, Stock] = field(default_factory=dict)
    photographs: dict[str, _Photographs] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None


_SHARED = _Shared()


def load_named(data: Path, *, workers: int = 1) -> list[NamedIcon]:
    """All icons of the set with their names, one of each name, cut out on many processes."""
    pack = PicturePack.open(data, ICON_SET)
    first: dict[str, int] = {}
    for number, row in enumerate(pack.rows):
        first.setdefault(row["name"], number)
    numbers = sorted(first.values())
    chunks = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]
    if workers == 1:
        return [icon for chunk in chunks for icon in load_icons(pack, chunk)]
    with _pool(workers) as pool:
        return [icon for part in pool.map(partial(load_icons, pack), chunks) for icon in part]


def prepare_shards(options: PaintDataOptions) -> dict[str, Any]:
    """Write all shards and the manifest; see the module docstring.

    Returns:
        The manifest: how many pictures of each split, and how they were made.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    _SHARED.tokenizer = Tokenizer.from_file(options.tokenizer)
    _SHARED.icons = load_named(options.data, workers=options.workers)
    icons: list[Icon] = [named.icon for named in _SHARED.icons]
    _SHARED.stocks = {split: Stock.load(options.data, split=split, icons=icons) for split in ("train", "val")}
    _SHARED.photographs = {name: _Photographs.open(options.data, name) for name in options.photographs}
    work = [("val", number) for number in range(-(-options.held_out // options.per_shard))]
    work += [("train", number) for number in range(-(-options.pictures // options.per_shard))]
    make = partial(_make_shard, options)
    if options.workers == 1:
        counts = list(map(make, work))
    else:
        with _pool(options.workers) as pool:
            counts = list(pool.map(make, work))
    manifest = {"seed": options.seed, "photographs": list(options.photographs)}
    for split in ("val", "train"):
        manifest[split] = sum(num for (name, _), num in zip(work, counts, strict=True) if name == split)
    (options.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _pool(workers: int) -> ProcessPoolExecutor:
    """Processes that inherit what is shared, and that end with this one however it ends."""
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with, initargs=(os.getpid(),))


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which would leave it waiting for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make_shard(options: PaintDataOptions, work: tuple[str, int]) -> int:
    split, shard = work
    path = shard_path(options.out, split, shard)
    total = options.held_out if split == "val" else options.pictures
    numbers = range(shard * options.per_shard, min(total, (shard + 1) * options.per_shard))
    if not path.exists():  # a run that was interrupted goes on
        made = [_make_picture(options, split, number) for number in numbers]
        assert _SHARED.tokenizer is not None
        pictures, prompts = [one[0] for one in made], [one[1] for one in made]
        write_shard(path, pictures, prompts, _SHARED.tokenizer, text_len=options.text_len)
    return len(numbers)


def _make_picture(options: PaintDataOptions, split: str, number: int) -> tuple[NDArray[np.uint8], list[str]]:
    rng = random.Random(f"paint-{options.seed}-{split}-{number}")
    draw = rng.random()
    for name in _SHARED.photographs if split == "train" else ():
        if draw < PHOTO_SHARE[name]:
            return _photograph(_SHARED.photographs[name], rng)
        draw -= PHOTO_SHARE[name]
    made = compose(rng, _SHARED.icons, _SHARED.stocks[split], split=split)
    per_language = NUM_PROMPTS // 2
    return made.pixels, [p for lang in ("en", "zh") for p in prompts_of(made, lang, rng, number=per_language)]


def _photograph(photographs: _Photographs, rng: random.Random) -> tuple[NDArray[np.uint8], list[str]]:
    number = rng.randrange(len(photographs.pack.rows))
    captions = photographs.captions[number]
    prompts: Sequence[str] = [
        prompt
        for language in ("en", "zh")
        for prompt in photo_prompts(captions[language], language, rng, number=NUM_PROMPTS // 2)
    ]
    return photographs.pack.pixels(number, SIZE), list(prompts)
