"""Which files of a repository are fetched: weights that cannot run code, and what is needed to read them.

Fetched are safetensors, JSON, texts, tokenizers, templates and the model card. Weights as pickles and Python
of the repository are left where they are; a repository that has nothing else is refused with the reason.
Where there are several copies of the same weights, half precision is taken, and the copy in one piece at the
top of a diffusers folder is left out. Of a repository of GGUF files one is taken, the one that is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from localgpt.checkpoints.gguf_header import GGUF_SUFFIX
from localgpt.checkpoints.hub.address import split_quant
from localgpt.checkpoints.hub.metadata import HubFile, HubModel
from localgpt.errors import CheckpointError, MissingWeightsError, UnsafeCheckpointError

__all__ = ["MANIFEST_NAME", "Selection", "check_needs_no_code", "select_files"]

MANIFEST_NAME = "manifest.json"  # ours, in the folder of every pulled model
_WEIGHTS = ".safetensors"
_TEXTS = frozenset((".json", ".jsonl", ".txt", ".md", ".model", ".tiktoken", ".jinja", ".vocab"))
_BARE = frozenset(("license", "licence", "notice", "readme", "use_policy", "copying"))
_PICKLES = frozenset((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"))
_FOREIGN = frozenset((".h5", ".msgpack", ".onnx", ".tflite", ".gguf"))
_OTHER_FOLDERS = frozenset(("onnx", "openvino", "original", "flax", "coreml", "gguf", "tflite"))
# model.fp16-00001-of-00002.safetensors, model-00001-of-00002.safetensors, model.safetensors
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_VARIANTS = ("fp16", "bf16", "", "fp32")  # the first of these that a folder has
_CONSOLIDATED = "consolidated.safetensors"
_MAX_TEXT_BYTES = 2**30
_MOST_TOLD = 12  # names in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a model is fetched."""

    texts: tuple[HubFile, ...]
    weights: tuple[HubFile, ...]
    variant: str | None  # of the weights in their files' names, as diffusers and transformers call it

    @property
    def files(self) -> tuple[HubFile, ...]:
        """All, texts first."""
        return self.texts + self.weights

    @property
    def num_bytes(self) -> int:
        """Their size."""
        return sum(file.size for file in self.files)


def select_files(model: HubModel) -> Selection:
    """The files of a model that are fetched.

    Raises:
        UnsafeCheckpointError: all its weights are pickles.
        MissingWeightsError: it has no weights that can be read.
    """
    places = {file.name: PurePosixPath(file.name) for file in model.files}
    if (quant := split_quant(model.repo)[1]) is not None:
        return _one_gguf(model, places, quant)
    texts = tuple(file for file in model.files if _is_text(file, places[file.name]))
    is_diffusers = "model_index.json" in places
    weights = [
        file
        for file in model.files
        if places[file.name].suffix == _WEIGHTS
        and not _is_elsewhere(places[file.name])
        and not (is_diffusers and len(places[file.name].parts) == 1)
    ]
    if not weights:
        raise _nothing_to_read(model.repo, places.values())
    chosen, variants = _one_variant_a_folder(weights)
    return Selection(
        texts=texts,
        weights=chosen,
        variant=next((name for name in _VARIANTS if name in variants and name), None),
    )


def check_needs_no_code(repo: str, texts: Mapping[str, Any], known_types: Iterable[str]) -> None:
    """Refuse a model whose network exists only as Python in its repository.

    Args:
        repo: owner/name.
        texts: `config.json` and `model_index.json`, those that are there.
        known_types: what `transformers` can build by itself.

    Raises:
        UnsafeCheckpointError: it would have to run code of the repository.
    """
    pipeline = texts.get("model_index.json", {}).get("_class_name")
    if isinstance(pipeline, list):
        raise _needs_code(repo, f"its pipeline {pipeline[-1]} is Python in the repository")
    config = texts.get("config.json", {})
    if "auto_map" not in config:
        return
    kind = config.get("model_type")
    if not kind or kind not in set(known_types):
        raise _needs_code(
            repo, f"its network {kind or 'without name'} is Python in the repository (auto_map)"
        )


def _one_gguf(model: HubModel, places: Mapping[str, PurePosixPath], quant: str) -> Selection:
    """The GGUF file of that quantization, with what is told about it; the file has all the rest in it."""
    found = {file: file.name for file in model.files if _is_gguf(places[file.name])}
    meant = re.compile(rf"(^|[-._]){re.escape(quant)}([-.]|$)", re.IGNORECASE)
    chosen = [file for file in found if meant.search(places[file.name].stem)]
    if len(chosen) != 1 or _SHARD.search(places[chosen[0].name].stem):
        there = ", ".join(sorted(found.values())[:_MOST_TOLD]) or "none"
        why = "none is called that" if not chosen else "more than one is, or it is in several parts"
        raise MissingWeightsError(
            f"{model.repo} names no single GGUF file: {why}; its GGUF files: {there}. Name one whole file by "
            "what stands between its dashes, such as Q4_K_M"
        )
    told = (".md", ".txt")
    texts = tuple(
        file
        for file in model.files
        if _is_text(file, places[file.name])
        and len(places[file.name].parts) == 1
        and (places[file.name].suffix.lower() in told or places[file.name].stem.lower() in _BARE)
    )
    return Selection(texts=texts, weights=tuple(chosen), variant=quant)


def _is_gguf(place: PurePosixPath) -> bool:
    """Whether a file is a model of this form; `mmproj` files are halves of models that see."""
    is_hidden = any(part.startswith(".") for part in place.parts)
    return place.suffix == GGUF_SUFFIX and "mmproj" not in place.name.lower() and not is_hidden


def _is_text(file: HubFile, place: PurePosixPath) -> bool:
    if file.name == MANIFEST_NAME or file.size > _MAX_TEXT_BYTES or _is_elsewhere(place):
        return False
    return place.suffix.lower() in _TEXTS or (place.stem.lower() in _BARE and place.suffix in ("", ".rst"))


def _is_elsewhere(place: PurePosixPath) -> bool:
    """In a folder for other programs, or a hidden one."""
    return any(part.lower() in _OTHER_FOLDERS or part.startswith(".") for part in place.parts[:-1])


def _one_variant_a_folder(weights: Iterable[HubFile]) -> tuple[tuple[HubFile, ...], set[str]]:
    folders: dict[PurePosixPath, dict[str, list[HubFile]]] = {}
    for file in weights:
        place = PurePosixPath(file.name)
        folders.setdefault(place.parent, {}).setdefault(_variant(place), []).append(file)
    chosen: list[HubFile] = []
    variants: set[str] = set()
    for found in folders.values():
        variant = next((name for name in _VARIANTS if name in found), min(found))
        variants.add(variant)
        chosen += _without_second_copy(found[variant])
    return tuple(chosen), variants


def _variant(place: PurePosixPath) -> str:
    """`fp16` of `model.fp16.safetensors`, also where it is in pieces; empty without one."""
    return _SHARD.sub("", place.stem).partition(".")[2]


def _without_second_copy(files: list[HubFile]) -> list[HubFile]:
    """Shards alone where `consolidated.safetensors` or the like stands beside them with the same weights."""
    shards = [file for file in files if _SHARD.search(PurePosixPath(file.name).stem)]
    others = [
        file for file in files if file not in shards and not file.name.endswith("consolidated.safetensors")
    ]
    if not shards:
        return others or files
    size = sum(file.size for file in shards)
    return shards + [file for file in others if file.size < size // 2]  # an adapter or a tower is no copy


def _nothing_to_read(repo: str, places: Iterable[PurePosixPath]) -> CheckpointError:
    places = list(places)
    suffixes = {place.suffix.lower() for place in places}
    if pickles := sorted(suffixes & _PICKLES):
        return UnsafeCheckpointError(
            f"{repo} has its weights only as {', '.join(pickles)}, which can run code when they are read; "
            "LocalGPT fetches safetensors only: ask its makers for them, or look for another revision"
        )
    if ggufs := sorted(place.name for place in places if _is_gguf(place)):
        return MissingWeightsError(
            f"{repo} has its weights as GGUF files; name one, as in localgpt pull {repo}:Q4_K_M. It has "
            f"{', '.join(ggufs[:_MOST_TOLD])}"
        )
    if foreign := sorted(suffixes & _FOREIGN):
        return MissingWeightsError(
            f"{repo} has its weights only as {', '.join(foreign)}, which pull does not fetch; pull the "
            "repository they were made of"
        )
    if ".py" in suffixes:
        return UnsafeCheckpointError(f"{repo} has code and no weights; LocalGPT runs no code of a repository")
    return MissingWeightsError(f"{repo} has no safetensors; expected a model with weights")


def _needs_code(repo: str, why: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"{repo} cannot be read without running its code: {why}; LocalGPT runs none. Pull a model of an "
        "architecture that transformers or diffusers know"
    )
