"""From the raw image sets to what the vision recipes read, deterministically and on many processes.

For each set: `images_NAME.npy` (N, H, W, 3) uint8 and `samples_NAME.jsonl`, one line a picture: `image` its
number, `split` "train" or "val", `captions` by language, `turns` of `lang`, `kind`, `q` and `a` (and `weight`
where an answer is to be learned more or less than others), `label` or null. Scenes also have `objects`:
`[noun, colour, x0, y0, x1, y1]` in the order of painting; nouns and colours are numbered from 1 in the order
of `recipes.scenes.vocabulary` (0: no clear colour), edges are 0..1.
`manifest.json` records counts and seeds. A picture depends on the seed and its number only.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.consensus import CiderScorer
from recipes.scenes.captions import scene_captions
from recipes.scenes.questions import scene_questions
from recipes.scenes.render import SIZE, Scene, render_scene
from recipes.scenes.stock import ICON_SET, Stock
from recipes.scenes.vocabulary import COLOURS, icon_names
from recipes.vision_data.facts import caption_facts, clean_caption
from recipes.vision_data.icons import NamedIcon, icon_sample, load_icons
from recipes.vision_data.label_questions import label_captions, label_turns
from recipes.vision_data.labels import LabelName, label_key, label_names
from recipes.vision_data.near_copies import difference_hash, near_any
from recipes.vision_data.packs import PicturePack, split_of
from recipes.vision_data.photo_questions import Rates, photo_turns, question_rates

__all__ = ["SETS", "VAL_SCENES", "PrepareOptions", "prepare"]

SETS = {
    "flickr8k": 176, "scenes": SIZE, "icons": SIZE, "tiny_imagenet_part": 64, "scenes6": 128, "grocery": 144,
}  # fmt: skip
# Turns of a training scene in each language; what is hardest to learn is asked most.
PER_KIND = {"relation": 7, "place": 4, "count": 3}
# How often each kind of scene is rendered for training: two things side by side more often than else.
TRAINING_KINDS = {"single": 6, "colour": 20, "count": 18, "groups": 12, "relation": 26, "mixed": 18}
VAL_SCENES = 0.025  # held-out scenes, as a share of the training ones
ICON_VERSIONS = 6
_CHUNK = 250
_NOUN_NUMBERS = {name.en: number for number, name in enumerate(icon_names(), start=1)}

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """How to prepare.

    Args:
        data: folder with the raw image sets, flat or in images/.
        out: folder to write.
        workers: processes.
        scenes: training scenes to render.
        sample: share of all pictures to make, for trials.
        seed: decides scenes, questions and wordings.
        sets: names out of `SETS`.
    """

    data: Path
    out: Path
    workers: int = 1
    scenes: int = 40_000
    sample: float = 1.0
    seed: int = 0
    sets: tuple[str, ...] = tuple(SETS)


@dataclass(slots=True)
class _Shared:
    """What worker processes inherit instead of being sent."""

    stocks: dict[str, Stock] = field(default_factory=dict)
    icons: list[NamedIcon] = field(default_factory=list)
    names: dict[str, LabelName] = field(default_factory=dict)
    pack: PicturePack | None = None
    rows: list[tuple[int, str]] = field(default_factory=list)
    rates: Rates = field(default_factory=Rates)
    scorers: dict[str, CiderScorer] = field(default_factory=dict)


_SHARED = _Shared()
Maker = Callable[[PrepareOptions, int], tuple[NDArray[np.uint8], Sample]]


def prepare(options: PrepareOptions) -> dict[str, Any]:
    """Write all sets and the manifest; see the module docstring.

    Returns:
        The manifest: for each set its pictures, training pictures, turns by language, and bytes.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    if {"scenes", "icons"} & set(options.sets):
        for split in ("train", "val"):
            first = _SHARED.stocks.get("train")
            _SHARED.stocks[split] = Stock.load(
                options.data, split=split, workers=options.workers, icons=first.icons if first else None
            )
    manifest: dict[str, Any] = {"seed": options.seed, "sample": options.sample, "sets": {}}
    makers: dict[str, Callable[[PrepareOptions], tuple[int, Maker]]] = {
        "flickr8k": _start_flickr8k, "scenes": _start_scenes, "icons": _start_icons,
    }  # fmt: skip
    for name in options.sets:
        start = makers.get(name) or partial(_start_labelled, name=name)
        number, make = start(options)
        manifest["sets"][name] = _write(options, name, number, make)
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (options.out / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def _map(options: PrepareOptions, work: Callable[[range], Any], total: int) -> Iterable[Any]:
    """`work` over ranges of picture numbers, in order, in forked processes that inherit `_SHARED`."""
    chunks = [range(start, min(total, start + _CHUNK)) for start in range(0, total, _CHUNK)]
    if options.workers == 1:
        yield from map(work, chunks)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        yield from pool.map(work, chunks)


def _write(options: PrepareOptions, name: str, number: int, make: Maker) -> dict[str, Any]:
    path = options.out / f"images_{name}.npy"
    shape = (number, SETS[name], SETS[name], 3)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    counts = {"pictures": number, "train": 0, "turns_en": 0, "turns_zh": 0}
    digest = hashlib.sha256()
    with (options.out / f"samples_{name}.jsonl").open("w", encoding="utf-8") as file:
        for text in _map(options, partial(_make_range, options, path, make), number):
            file.write(text)
            digest.update(text.encode())
            for line in text.splitlines():
                sample = json.loads(line)
                counts["train"] += sample["split"] == "train"
                for turn in sample["turns"]:
                    counts[f"turns_{turn['lang']}"] += 1
    return {**counts, "bytes": path.stat().st_size, "samples_sha256": digest.hexdigest()}


def _make_range(options: PrepareOptions, path: Path, make: Maker, numbers: range) -> str:
    """Make some pictures, write them into their places, return their lines."""
    images = np.load(path, mmap_mode="r+")
    lines = []
    for number in numbers:
        pixels, sample = make(options, number)
        images[number] = pixels
        lines.append(json.dumps({"image": number, **sample}, ensure_ascii=False) + "\n")
    images.flush()
    return "".join(lines)


def _sample(split: str, captions: dict[str, list[str]], turns: Iterable[Any], label: int | None) -> Sample:
    return {"split": split, "captions": captions, "turns": [turn.to_dict() for turn in turns], "label": label}


# Scenes and icons


def _start_scenes(options: PrepareOptions) -> tuple[int, Maker]:
    train = max(1, round(options.scenes * options.sample))
    return train + max(1, round(train * VAL_SCENES)), partial(_make_scene, train)


def _make_scene(train: int, options: PrepareOptions, number: int) -> tuple[NDArray[np.uint8], Sample]:
    split = "train" if number < train else "val"
    rng = random.Random(f"scene-{options.seed}-{split}-{number if split == 'train' else number - train}")
    kind = rng.choices(list(TRAINING_KINDS), weights=list(TRAINING_KINDS.values()))[0]
    scene = render_scene(rng, _SHARED.stocks[split], split=split, kind=kind if split == "train" else None)
    captions = {language: scene_captions(scene, language, rng) for language in ("en", "zh")}
    turns = [
        turn
        for language in ("en", "zh")
        for turn in scene_questions(
            scene, rng, language=language, evaluation=split == "val", split=split, per_kind=PER_KIND
        )
    ]
    return scene.pixels, {**_sample(split, captions, turns, None), "objects": _objects(scene)}


def _objects(scene: Scene) -> list[list[float]]:
    """`[noun, colour, x0, y0, x1, y1]` of each object in the order of painting; see the module docstring."""
    return [
        [
            _NOUN_NUMBERS[thing.name.en],
            list(COLOURS).index(thing.colour) + 1 if thing.colour else 0,
            *(round(edge / SIZE, 4) for edge in thing.box),
        ]
        for thing in scene.objects
    ]


def _start_icons(options: PrepareOptions) -> tuple[int, Maker]:
    pack = PicturePack.open(options.data, ICON_SET)
    _SHARED.pack = pack
    _SHARED.icons = [icon for part in _map(options, _cut_icons, len(pack.rows)) for icon in part]
    return max(1, round(len(_SHARED.icons) * ICON_VERSIONS * options.sample)), _make_icon


def _cut_icons(numbers: range) -> list[NamedIcon]:
    assert _SHARED.pack is not None
    return load_icons(_SHARED.pack, list(numbers))


def _make_icon(options: PrepareOptions, number: int) -> tuple[NDArray[np.uint8], Sample]:
    rng = random.Random(f"icon-{options.seed}-{number}")
    which = number * 7 % len(_SHARED.icons) if options.sample < 1 else number % len(_SHARED.icons)
    names = [named.name for named in _SHARED.icons]
    pixels, captions, turns = icon_sample(_SHARED.icons[which], names, _SHARED.stocks["train"], rng)
    return pixels, _sample("train", captions, turns, which)


# Photographs


def _start_pack(options: PrepareOptions, name: str) -> PicturePack:
    """Open a set and choose its pictures: all but the training ones near a held-out one."""
    pack = PicturePack.open(options.data, name)
    _SHARED.pack = pack
    hashes = np.array([h for part in _map(options, _hashes, len(pack.rows)) for h in part], dtype=np.uint64)
    splits = np.array([split_of(row) for row in pack.rows])
    dropped = near_any(hashes, hashes[splits == "val"]) & (splits == "train")
    kept = [(i, str(splits[i])) for i in range(len(pack.rows)) if not dropped[i]]
    step = max(1, round(1 / options.sample))
    _SHARED.rows = kept[::step]
    return pack


def _hashes(numbers: range) -> list[int]:
    assert _SHARED.pack is not None
    return [difference_hash(_SHARED.pack.picture(number)) for number in numbers]


def _start_flickr8k(options: PrepareOptions) -> tuple[int, Maker]:
    pack = _start_pack(options, "flickr8k")
    train = [pack.rows[i] for i, split in _SHARED.rows if split == "train"]
    _SHARED.rates = question_rates(caption_facts(row["en"], row["zh"]) for row in train)
    _SHARED.scorers = {
        language: CiderScorer((row[language] for row in train), language) for language in ("en", "zh")
    }
    return len(_SHARED.rows), _make_photograph


def _make_photograph(options: PrepareOptions, number: int) -> tuple[NDArray[np.uint8], Sample]:
    assert _SHARED.pack is not None
    place, split = _SHARED.rows[number]
    row = _SHARED.pack.rows[place]
    rng = random.Random(f"photograph-{options.seed}-{row['file']}")
    is_train = split == "train"
    turns = photo_turns(row["en"], row["zh"], rng, _SHARED.rates, _SHARED.scorers) if is_train else []
    captions = {
        language: [clean_caption(text, language) for text in row[language]] for language in ("en", "zh")
    }
    return _SHARED.pack.pixels(place, SETS["flickr8k"]), _sample(split, captions, turns, None)


def _start_labelled(options: PrepareOptions, *, name: str) -> tuple[int, Maker]:
    pack = _start_pack(options, name)
    _SHARED.names = label_names(name, pack.rows)
    return len(_SHARED.rows), partial(_make_labelled, name)


def _make_labelled(name: str, options: PrepareOptions, number: int) -> tuple[NDArray[np.uint8], Sample]:
    assert _SHARED.pack is not None
    place, split = _SHARED.rows[number]
    row = _SHARED.pack.rows[place]
    rng = random.Random(f"{name}-{options.seed}-{row['file']}")
    key = label_key(name, row)
    called = _SHARED.names[key]
    captions = label_captions(called, rng)
    turns = label_turns(called, list(_SHARED.names.values()), rng, is_place=name == "scenes6")
    label = list(_SHARED.names).index(key)
    return _SHARED.pack.pixels(place, SETS[name]), _sample(split, captions, turns, label)
