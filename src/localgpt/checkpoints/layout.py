"""What a family is made of, read without building anything: a folder, or one exported file.

A folder holds `family.json`, `tokenizer.json` and a folder for each member. An exported file holds all
tensors, named `MEMBER.NAME`, and in its header the texts of those files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from localgpt.checkpoints.store import (
    TensorShape,
    read_config,
    read_file,
    read_json,
    read_metadata,
    read_shapes,
    read_tensors,
    read_weight_map,
)
from localgpt.errors import CheckpointError

__all__ = [
    "FAMILY_NAME",
    "METADATA_KEY",
    "FamilyLayout",
    "FamilySummary",
    "MemberSummary",
    "describe_family",
    "read_layout",
]

FORMAT = "localgpt-family-1"
FAMILY_NAME = "family.json"
METADATA_KEY = "localgpt.family"  # in the header of an exported file, beside the next two
_TOKENIZER_KEY = "localgpt.tokenizer"
_CONFIG_KEY = "localgpt.config."  # and the member's name
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyLayout:
    """A family's texts: its description, its tokenizer, the config of each member in order."""

    path: Path
    description: dict[str, Any]
    tokenizer: str
    configs: dict[str, dict[str, Any]]

    @property
    def id(self) -> str:
        """The family's name."""
        return str(self.description["id"])

    @property
    def licence(self) -> str:
        """The licence of its weights."""
        return str(self.description.get("licence", "unknown"))

    def read_tensors(self, members: Collection[str] | None = None) -> dict[str, dict[str, Tensor]]:
        """Tensors of each member, on the CPU.

        Args:
            members: those that are wanted, where there are such; None for all.

        Raises:
            CheckpointError: a file is broken.
            UnsafeCheckpointError: a file is a pickle.
        """
        wanted = [member for member in self.configs if members is None or member in members]
        if self.path.is_dir():
            return {member: read_tensors(self.path / member) for member in wanted}
        found = self._by_member(read_file(self.path))
        return {member: found[member] for member in wanted}

    def read_member(self, member: str) -> dict[str, Tensor]:
        """Tensors of one member; errors as above, and where the family has none of that name."""
        if member not in self.configs:
            raise CheckpointError(f"{self.path} has no {member}; it has {', '.join(self.configs)}")
        return self.read_tensors((member,))[member]

    def read_shapes(self) -> dict[str, dict[str, TensorShape]]:
        """Shapes of each member's tensors as they are stored, from the headers alone; errors as above."""
        if not self.path.is_dir():
            return self._by_member(read_shapes(self.path))
        found: dict[str, dict[str, TensorShape]] = {}
        for member in self.configs:
            folder = self.path / member
            found[member] = {}
            for shard in sorted(set(read_weight_map(folder).values())):
                found[member] |= read_shapes(folder / shard)
        return found

    def to_metadata(self) -> dict[str, str]:
        """The header texts of an exported file."""
        texts = {METADATA_KEY: json.dumps(self.description), _TOKENIZER_KEY: self.tokenizer, "format": "pt"}
        return texts | {_CONFIG_KEY + member: json.dumps(config) for member, config in self.configs.items()}

    def _by_member(self, tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
        found: dict[str, dict[str, T]] = {member: {} for member in self.configs}
        for name, tensor in tensors.items():
            member, _, rest = name.partition(".")
            if member not in found:
                raise CheckpointError(f"{self.path} holds {name}, which belongs to none of its members")
            found[member][rest] = tensor
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSummary:
    """How large one member is."""

    name: str
    num_params: int
    num_bytes: int  # of its tensors in the files


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySummary:
    """What a list of models shows."""

    id: str
    path: Path
    licence: str
    context_len: int | None  # tokens; None without a decoder
    members: tuple[MemberSummary, ...]

    @property
    def num_params(self) -> int:
        """Parameters of all members."""
        return sum(member.num_params for member in self.members)

    @property
    def num_bytes(self) -> int:
        """Bytes of all members' tensors."""
        return sum(member.num_bytes for member in self.members)


def read_layout(path: Path) -> FamilyLayout:
    """Read a family's texts, and check that every file it names is there.

    Args:
        path: from `resolve_family`.

    Raises:
        MissingWeightsError: a member's folder, config, index or shard is missing.
        CheckpointError: a part is broken or of another format.
        UnsafeCheckpointError: the file is a pickle.
    """
    if not path.is_dir():
        return _read_exported(path)
    description = _checked(read_json(path / FAMILY_NAME), path)
    configs = {}
    for member in description["members"]:
        configs[member] = read_config(path / member)
        read_weight_map(path / member)
    return FamilyLayout(path=path, description=description, tokenizer=_read_tokenizer(path), configs=configs)


def describe_family(path: Path) -> FamilySummary:
    """Name, licence and sizes of a family, from headers alone; arguments and errors as for `read_layout`."""
    layout = read_layout(path)
    members = tuple(
        MemberSummary(
            name=name,
            num_params=sum(math.prod(shapes[key].shape) for key in shapes if _is_parameter(key, shapes)),
            num_bytes=sum(shape.num_bytes for shape in shapes.values()),
        )
        for name, shapes in layout.read_shapes().items()
    )
    context_len = layout.configs.get("decoder", {}).get("context_len")
    return FamilySummary(
        id=layout.id, path=path, licence=layout.licence, context_len=context_len, members=members
    )


def _is_parameter(name: str, shapes: Mapping[str, TensorShape]) -> bool:
    """Scales of int8 matrices and running statistics are none."""
    base = name.partition("#")[0]
    weight = base.removesuffix("_scale")
    is_scale = weight != base and (weight in shapes or f"{weight}#0" in shapes)
    if base.startswith(("words.", "model.")):  # what a listener knows of words was counted, not learned
        return False
    return not is_scale and not base.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _read_exported(path: Path) -> FamilyLayout:
    metadata = read_metadata(path)
    try:
        description = _checked(json.loads(metadata[METADATA_KEY]), path)
        configs = {member: json.loads(metadata[_CONFIG_KEY + member]) for member in description["members"]}
        tokenizer = metadata[_TOKENIZER_KEY]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} lacks a part of a family's description ({error}); write it again with "
            "'localgpt models export'"
        ) from None
    return FamilyLayout(path=path, description=description, tokenizer=tokenizer, configs=configs)


def _checked(description: Any, path: Path) -> dict[str, Any]:
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a model of format {FORMAT}; it was made by another version")
    members = description.get("members")
    is_list = isinstance(members, list) and all(_is_plain_name(member) for member in members)
    if not is_list or not isinstance(description.get("id"), str):
        raise CheckpointError(f"{path}: its description lacks an id or its members; copy it again")
    return description


def _is_plain_name(member: Any) -> bool:
    return isinstance(member, str) and member.isidentifier()


def _read_tokenizer(folder: Path) -> str:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"no tokenizer.json in {folder}; copy the folder again")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text ({error}); copy the folder again") from None
