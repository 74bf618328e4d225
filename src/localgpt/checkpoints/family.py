"""A family of models in memory: tokenizer, decoder, and (when it has them) encoder and projector.

Loading keeps int8 matrices as int8 on a CPU (fast kernels, small memory) and turns them into the asked
floating type elsewhere. Networks are made without memory first and the read tensors put in their places, so
nothing is copied twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from localgpt.checkpoints.locate import FAMILY_NAME, METADATA_KEY
from localgpt.checkpoints.store import read_config, read_file, read_metadata, read_tensors
from localgpt.errors import CheckpointError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.projector import Projector, ProjectorConfig
from localgpt.nn.linear import Int8Embedding, Int8Linear, Linear, dequantize_weight

__all__ = ["Family", "FamilyInfo", "load_family", "read_family"]

FORMAT = "localgpt-family-1"
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyInfo:
    """What a family says of itself. `created` is seconds since the epoch."""

    id: str
    licence: str
    created: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Loaded models, in eval mode; a family without an encoder cannot look at pictures."""

    info: FamilyInfo
    tokenizer: Tokenizer
    decoder: Decoder
    encoder: JointEncoder | None
    projector: Projector | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFiles:
    """A family as read: text of the tokenizer, and config and tensors of each member."""

    description: dict[str, Any]
    tokenizer: str
    configs: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]


def read_family(path: Path) -> FamilyFiles:
    """Read a family's folder or exported file, without building anything.

    Raises:
        CheckpointError: a part is missing, broken, or of another format.
    """
    if path.is_dir():
        description = _description((path / FAMILY_NAME).read_text(encoding="utf-8"), path)
        members = description["members"]
        return FamilyFiles(
            description=description,
            tokenizer=_read_tokenizer(path),
            configs={member: read_config(path / member) for member in members},
            tensors={member: read_tensors(path / member) for member in members},
        )
    metadata = read_metadata(path)
    description = _description(metadata[METADATA_KEY], path)
    tensors: dict[str, dict[str, Tensor]] = {member: {} for member in description["members"]}
    for name, tensor in read_file(path).items():
        member, _, rest = name.partition(".")
        tensors[member][rest] = tensor
    configs = {member: json.loads(metadata[f"localgpt.config.{member}"]) for member in tensors}
    return FamilyFiles(
        description=description, tokenizer=metadata["localgpt.tokenizer"], configs=configs, tensors=tensors
    )


def load_family(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> Family:
    """Load a family.

    Args:
        path: from `resolve_family`.
        device: where the models go.
        dtype: floating type of all weights; None keeps int8 matrices on the CPU and takes bfloat16 on a GPU.

    Raises:
        CheckpointError: a part is missing, broken, or does not fit its config.
        UnsafeCheckpointError: a file is a pickle.
    """
    files = read_family(path)
    keep_int8 = dtype is None and device == "cpu"
    floating = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    decoder = _build_decoder(files, keep_int8, floating).to(device)
    encoder = projector = None
    if "encoder" in files.tensors:
        config = files.configs["encoder"]
        tensors = files.tensors["encoder"]
        encoder = _fill(
            _on_meta(JointEncoder, EncoderConfig.from_dict(config["encoder"])),
            _under("encoder.", tensors),
            floating,
        ).to(device)
        projector = _fill(
            _on_meta(Projector, ProjectorConfig.from_dict(config["projector"])),
            _under("projector.", tensors),
            floating,
        ).to(device)
    info = FamilyInfo(
        id=str(files.description["id"]),
        licence=str(files.description.get("licence", "unknown")),
        created=int(path.stat().st_mtime),
        path=path,
    )
    return Family(
        info=info,
        tokenizer=Tokenizer.from_str(files.tokenizer),
        decoder=decoder.eval(),
        encoder=encoder and encoder.eval(),
        projector=projector and projector.eval(),
    )


def _build_decoder(files: FamilyFiles, keep_int8: bool, dtype: torch.dtype) -> Decoder:
    if "decoder" not in files.tensors:
        raise CheckpointError(f"the family {files.description['id']} has no decoder; nothing could answer")
    decoder = _on_meta(Decoder, DecoderConfig.from_dict(files.configs["decoder"]))
    tensors = dict(files.tensors["decoder"])
    if keep_int8 and "wte.weight_scale" in tensors:
        weight, scale = tensors.pop("wte.weight"), tensors.pop("wte.weight_scale")
        decoder.wte = Int8Embedding(weight, scale)  # type: ignore[assignment]
        decoder.lm_head = Int8Linear(weight, scale)  # type: ignore[assignment]
        _place_int8(decoder, tensors)
    _fill(decoder, tensors, dtype)
    if isinstance(decoder.lm_head, Linear):
        decoder.lm_head.weight = decoder.wte.weight  # tied
    return decoder


def _place_int8(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace each `Linear` whose weights came as int8, taking them out of `tensors`."""
    for name, child in list(module.named_modules()):
        scale = tensors.get(f"{name}.weight_scale")
        if isinstance(child, Linear) and scale is not None:
            layer = Int8Linear(tensors.pop(f"{name}.weight"), tensors.pop(f"{name}.weight_scale"))
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, layer)


def _fill(module: Module, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Module:
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith("_scale") and name.removesuffix("_scale") in tensors:
            continue
        scale = tensors.get(f"{name}_scale")
        state[name] = tensor.to(dtype) if scale is None else dequantize_weight(tensor, scale, dtype)
    missing, unexpected = module.load_state_dict(state, strict=False, assign=True)
    allowed = ("num_batches_tracked", "lm_head.weight")
    if lacking := [name for name in missing if not name.endswith(allowed)]:
        raise CheckpointError(
            f"the weights lack {lacking[0]} ({len(lacking)} in all); they belong to another config"
        )
    if unexpected:
        raise CheckpointError(f"the weights hold {unexpected[0]}, which their config has no place for")
    _materialise(module)
    return module


def _materialise(module: nn.Module) -> None:
    """Give what the files do not carry (tables made from the config, counters) its value."""
    if isinstance(module, Decoder):
        module.alibi = Decoder.slopes(module.config)
    for layer in module.modules():
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(layer, name, torch.zeros(buffer.shape, dtype=buffer.dtype))


def _on_meta(kind: type[Module], config: Any) -> Module:
    with torch.device("meta"):
        return kind(config)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _description(text: str, path: Path) -> dict[str, Any]:
    try:
        description = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: its description is not JSON ({error}); copy it again") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a model of format {FORMAT}; it was made by another version")
    return description


def _read_tokenizer(folder: Path) -> str:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"no tokenizer.json in {folder}; copy the folder again")
    return path.read_text(encoding="utf-8")
