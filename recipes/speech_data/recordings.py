"""The recorded sets: Opus files one after the other, decoded to 16 kHz, with the sounds of their texts."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from localgpt.media.audio import resample
from localgpt.media.text.spoken_units import english_units
from recipes.speech_data.lexicon import units_of_pinyin
from recipes.speech_data.sentences import english_runs
from recipes.speech_data.sound_sets import RATE, Recording, to_int16
from recipes.vision_data.packs import is_held_out

__all__ = ["TEST_NOISES", "english_sounds", "read_rows", "read_set", "split_of"]

TEST_NOISES = frozenset({"running_tap", "exercise_bike"})
_OWN_RULE = frozenset({"syllables_zh"})  # whose rows all say "train"


def read_rows(data: Path, name: str) -> tuple[Path, list[dict[str, Any]]]:
    """The file of a set's recordings, in `data/speech` or `data`, and its rows."""
    folder = data / "speech" if (data / "speech" / f"{name}.bin").exists() else data
    with lzma.open(folder / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return folder / f"{name}.bin", [json.loads(line) for line in lines]


def split_of(name: str, row: Mapping[str, Any]) -> str:
    """The split of a row: "train", or "dev" for what is never learned from."""
    if name == "noise":
        return "dev" if row["text"] in TEST_NOISES else "train"
    if name in _OWN_RULE:
        return "dev" if is_held_out(row["file"]) else "train"
    return "train" if row["split"] in ("train", "extra") else "dev"


def english_sounds(text: str) -> tuple[int, ...]:
    """The sounds of an English text, word by word; figures and marks are not said."""
    return tuple(unit for run in english_runs(text) for word in run for unit in english_units(word) or ())


def read_set(
    data: Path, name: str, split: str, pinyin: Mapping[str, str], *, workers: int = 1
) -> Iterator[Recording]:
    """The recordings of one split; those with a text that has no sounds are left out, but for noise.

    Args:
        data: folder of the raw sets.
        name: of the set.
        split: "train" or "dev".
        pinyin: readings of the Chinese texts.
        workers: files decoded at once.
    """
    path, rows = read_rows(data, name)
    blob = path.read_bytes()
    chosen = [row for row in rows if split_of(name, row) == split]
    sounds = _sounds_of(name, pinyin)
    with ThreadPoolExecutor(workers) as threads:
        for recording in threads.map(partial(_decode, blob, sounds), chosen):
            if recording is not None:
                yield recording


def _sounds_of(name: str, pinyin: Mapping[str, str]) -> Callable[[Mapping[str, Any]], tuple[int, ...] | None]:
    def sounds(row: Mapping[str, Any]) -> tuple[int, ...] | None:
        if name == "noise":
            return ()
        if row["language"] == "zh-pinyin":
            return units_of_pinyin(row["text"])
        if row["language"] == "zh":
            return units_of_pinyin(pinyin[row["text"]])
        return english_sounds(row["text"]) or None

    return sounds


def _decode(
    blob: bytes, sounds: Callable[[Mapping[str, Any]], tuple[int, ...] | None], row: Mapping[str, Any]
) -> Recording | None:
    import soundfile

    units = sounds(row)
    if units is None:
        return None
    data = blob[row["offset"] : row["offset"] + row["bytes"]]
    waveform, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    waveform = resample(np.ascontiguousarray(waveform), rate, RATE)
    return Recording(samples=to_int16(waveform), text=row["text"], units=units, key=row["file"])
