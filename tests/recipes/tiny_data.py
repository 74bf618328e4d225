"""Prepared data of three plain colours, as small as the recipes can read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import BOS_ID, END_ID
from recipes.decoder import EPOCH
from recipes.joint import MIXTURE
from recipes.tokenizer import train_tokenizer

__all__ = ["write_data"]

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 160, 30)}
COLOURS_ZH = {"red": "红色", "blue": "蓝色", "green": "绿色"}


def write_data(folder: Path) -> Tokenizer:
    """Tokenizer, token streams and one picture set; gives the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"A {name} picture. What colour is it? 一张{COLOURS_ZH[name]}的图片。" for name in COLOURS] * 20
    tokenizer = train_tokenizer(iter(texts))
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    rng = np.random.default_rng(0)
    names = {*EPOCH, *MIXTURE, "heldout_articles", "heldout_books", "heldout_dialogues"}
    for name in sorted(names):
        _write_stream(folder, name, tokenizer, rng)
    _write_pictures(folder, rng)
    (folder / "manifest.json").write_text(json.dumps({"sets": {"scenes": {}}}), encoding="utf-8")
    return tokenizer


def _write_stream(folder: Path, name: str, tokenizer: Tokenizer, rng: np.random.Generator) -> None:
    sequences = []
    for _ in range(60):
        colour = list(COLOURS)[rng.integers(3)]
        sequences.append([BOS_ID, *tokenizer.encode(f"A {colour} picture. " * 4), END_ID])
    lengths = [len(s) for s in sequences]
    np.save(folder / f"{name}.tokens.npy", np.concatenate(sequences).astype(np.uint16))
    np.save(folder / f"{name}.offsets.npy", np.array([0, *np.cumsum(lengths)], dtype=np.int64))
    if name.startswith("heldout_"):
        np.save(folder / f"{name}.bytes.npy", np.array(lengths, dtype=np.int64))


def _write_pictures(folder: Path, rng: np.random.Generator) -> None:
    images, lines = [], []
    for number in range(12):
        name = list(COLOURS)[number % 3]
        noise = rng.integers(0, 20, size=(64, 64, 3))
        images.append((np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8))
        turns = [
            {"lang": "en", "kind": "describe", "q": "Describe this picture.", "a": f"A {name} picture."},
            {"lang": "en", "kind": "colour", "q": "What colour is it?", "a": f"{name}."},
        ]
        objects = [[number % 3 + 1, number % 2, 0.1, 0.2, 0.6, 0.7]]
        captions = {"en": [f"A {name} picture."], "zh": [f"一张{COLOURS_ZH[name]}的图片。"]}
        split = "train" if number < 9 else "val"
        line = {"image": number, "split": split, "captions": captions, "turns": turns, "label": None}
        lines.append({**line, "objects": objects})
    np.save(folder / "images_scenes.npy", np.stack(images))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "samples_scenes.jsonl").write_text(text, encoding="utf-8")
