"""Sharded safetensors folders, in the layout of the Hugging Face hub.

A member's folder holds `config.json`, `model.safetensors.index.json` and shards of at most 15 MiB. Int8
matrices are kept as `X.weight` (int8) beside `X.weight_scale` (float32, one for each output channel); the
value is their product. Only safetensors is read: a pickle can run code, and is refused by its content,
whatever its name.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from localgpt.checkpoints.content import check_is_safetensors
from localgpt.errors import CheckpointError, MissingWeightsError
from localgpt.units import KIB, MIB

__all__ = [
    "INDEX_NAME",
    "MAX_SHARD_BYTES",
    "TensorShape",
    "check_is_safetensors",
    "read_config",
    "read_json",
    "read_shapes",
    "read_tensors",
    "read_weight_map",
    "write_sharded",
    "write_text",
]

INDEX_NAME = "model.safetensors.index.json"
MAX_SHARD_BYTES = 15 * MIB
_HEADER_ROOM = 64 * KIB  # of a shard


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorShape:
    """What a header tells of one tensor."""

    shape: tuple[int, ...]
    num_bytes: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """From a header's entry."""
        start, end = entry["data_offsets"]
        return cls(shape=tuple(entry["shape"]), num_bytes=end - start)


def write_sharded(
    tensors: Mapping[str, Tensor],
    folder: Path,
    *,
    config: Mapping[str, Any],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> list[Path]:
    """Write tensors as shards with an index, and `config.json`.

    Every file is written beside its place and then moved, so a reader never sees half a file. A tensor
    larger than a shard is cut along its first axis; the parts are named `NAME#0`, `NAME#1`, ... and joined
    again when read.

    Args:
        tensors: by name; written as they are.
        folder: made when missing; files of an earlier write are removed.
        config: what `config.json` holds.
        max_shard_bytes: most bytes of one file, its header included; more than 64 KiB.

    Returns:
        The shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _fill_shards(tensors, max_shard_bytes - _HEADER_ROOM)
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        temporary = folder / f".{name}.part"
        save_file({key: value.contiguous() for key, value in shard.items()}, temporary, {"format": "pt"})
        temporary.replace(folder / name)
    for stale in folder.glob("model-*.safetensors"):
        if stale.name not in names:
            stale.unlink()
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_text(folder / INDEX_NAME, json.dumps(index, indent=1) + "\n")
    write_text(folder / "config.json", json.dumps(dict(config), indent=1) + "\n")
    return [folder / name for name in names]


def write_text(path: Path, text: str) -> None:
    """Write a file in one move."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a member's folder, on the CPU.

    Raises:
        MissingWeightsError: no index, or a shard it names is missing.
        CheckpointError: a file is broken, or a tensor the index names is not in its shard.
        UnsafeCheckpointError: a shard is a pickle.
    """
    weight_map = read_weight_map(folder)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        tensors |= read_file(folder / name)
    if missing := sorted(set(weight_map) - set(tensors)):
        raise CheckpointError(f"{folder} lacks the tensor {missing[0]}, which its index names; copy it again")
    return _join_parts(tensors)


def read_weight_map(folder: Path) -> dict[str, str]:
    """The shard of each tensor, as a member's index tells it; all shards are there.

    Raises:
        MissingWeightsError: no index, or a shard it names is missing.
        CheckpointError: the index is broken.
    """
    weight_map = read_json(folder / INDEX_NAME).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(
            f"{folder / INDEX_NAME} has no weight_map; expected an index as the hub writes it"
        )
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise MissingWeightsError(f"{folder} lacks {name}, which its index names; copy the folder again")
    return weight_map


def read_shapes(path: Path) -> dict[str, TensorShape]:
    """Shape and bytes of every tensor of a safetensors file, from its header alone.

    Raises:
        CheckpointError: not a whole safetensors file.
        UnsafeCheckpointError: a pickle.
    """
    check_is_safetensors(path)
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(header_bytes))
        header.pop("__metadata__", None)
        return {name: TensorShape.of(entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); copy it again") from None


def read_file(path: Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file.

    Raises:
        CheckpointError: not a whole safetensors file.
        UnsafeCheckpointError: a pickle.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


def read_metadata(path: Path) -> dict[str, str]:
    """Text metadata in the header of a safetensors file; errors as for `read_file`."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    check_is_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); copy it again") from None


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a member's folder.

    Raises:
        MissingWeightsError: the file is missing.
        CheckpointError: it is not a JSON object.
    """
    return read_json(folder / "config.json")


def _fill_shards(tensors: Mapping[str, Tensor], room: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        for key, part in _cut(name, tensor, room):
            if used + part.nbytes > room and shards[-1]:
                shards.append({})
                used = 0
            shards[-1][key] = part
            used += part.nbytes
    return shards


def _cut(name: str, tensor: Tensor, room: int) -> list[tuple[str, Tensor]]:
    if tensor.nbytes <= room:
        return [(name, tensor)]
    num_rows = max(1, room * len(tensor) // tensor.nbytes)
    return [(f"{name}#{i}", part) for i, part in enumerate(torch.split(tensor, num_rows))]


def _join_parts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    parts: dict[str, dict[int, Tensor]] = {}
    for key in list(tensors):
        name, mark, number = key.rpartition("#")
        if mark and number.isdecimal():
            parts.setdefault(name, {})[int(number)] = tensors.pop(key)
    for name, numbered in parts.items():
        tensors[name] = torch.cat([numbered[i] for i in sorted(numbered)])
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        MissingWeightsError: the file is missing.
        CheckpointError: it is not a JSON object.
    """
    if not path.is_file():
        raise MissingWeightsError(
            f"no {path.name} in {path.parent}; expected a model folder with its weights"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise CheckpointError(f"{path} is not JSON ({error}); copy the folder again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds {type(values).__name__}; expected a JSON object")
    return values
