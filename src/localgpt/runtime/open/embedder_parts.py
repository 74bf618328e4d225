"""What a folder of sentence-transformers says of a model: the parts after its network, and how it reads.

`modules.json` names them in order. Taken are the network at the top of the folder, one pooling, dense layers
and the scaling to unit length; of their classes only the names are read, none is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from localgpt.checkpoints.hub.names import check_names
from localgpt.checkpoints.store import read_file
from localgpt.errors import CheckpointError
from localgpt.runtime.open.base import EMBEDDER_NAME, read_description

__all__ = ["EmbedderParts", "Pooling", "pool", "read_parts"]

Pooling = Literal["cls", "mean", "max", "lasttoken"]

_ACTIVATIONS: Final[Mapping[str, type[nn.Module]]] = {"Identity": nn.Identity, "Tanh": nn.Tanh}
_LENGTHS: Final = "sentence_bert_config.json"
_PROMPTS: Final = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderParts:
    """How texts are read, and what becomes of the network's numbers."""

    pooling: Pooling
    dense: nn.Sequential  # maybe empty
    max_tokens: int | None  # of a text, as it was trained
    lower_case: bool
    prompt: str  # before every text


def read_parts(folder: Path) -> EmbedderParts:
    """The parts of a model.

    Raises:
        CheckpointError: a part is missing, broken, or of a kind that is not run here.
    """
    modules = _modules(folder)
    if [place for kind, place in modules if kind == "Transformer"] != [folder]:
        raise CheckpointError(f"{folder} has no network at its top, or several; expected one, there")
    poolings: list[Pooling] = []
    dense: list[nn.Module] = []
    for kind, place in modules:
        if kind == "Pooling":
            poolings.append(_pooling(place))
        elif kind == "Dense":
            dense += _dense(place)
        elif kind not in ("Transformer", "Normalize"):  # vectors are made as long as one in any case
            raise CheckpointError(
                f"{folder} has a part {kind}, which is not run here; expected a network, a pooling, dense "
                "layers and a scaling to unit length"
            )
    if len(poolings) != 1:
        raise CheckpointError(f"{folder} pools {len(poolings)} times; expected once")
    lengths = _optional(folder / _LENGTHS)
    max_tokens = lengths.get("max_seq_length")
    return EmbedderParts(
        pooling=poolings[0],
        dense=nn.Sequential(*dense),
        max_tokens=max_tokens if isinstance(max_tokens, int) and max_tokens > 0 else None,
        lower_case=bool(lengths.get("do_lower_case")),
        prompt=_prompt(folder),
    )


def pool(hidden: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """One vector (B, C) float32 of each text's tokens (B, T, C); a mask (B, T) tells the real ones."""
    hidden, real = hidden.float(), mask[..., None].bool()
    match how:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        case "max":
            return hidden.masked_fill(~real, float("-inf")).amax(dim=1)
        case "mean":
            return (hidden * real).sum(dim=1) / real.sum(dim=1)


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Class, without its package, and folder of each part."""
    try:
        values = json.loads((folder / EMBEDDER_NAME).read_text(encoding="utf-8"))
        told = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in values]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{folder / EMBEDDER_NAME} is no list of parts with type and path ({error}); copy it again"
        ) from None
    check_names([path for _, path in told if path], repo=str(folder))
    return [(kind, folder / path) for kind, path in told]


def _pooling(place: Path) -> Pooling:
    told = read_description(place / "config.json")
    modes = [name for name, value in told.items() if name.startswith("pooling_mode_") and value is True]
    names = [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name in modes
    ]
    if "pooling_mode" in told:  # of newer versions
        names = [str(told["pooling_mode"])]
    for known in get_args(Pooling):
        if names == [known]:
            return known  # type: ignore[no-any-return]
    raise CheckpointError(
        f"{place} pools by {' and '.join(names) or 'nothing'}, which is not run here; expected one of "
        f"{', '.join(get_args(Pooling))}"
    )


def _dense(place: Path) -> list[nn.Module]:
    told = read_description(place / "config.json")
    activation = str(told.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{place} ends with {activation}, which is not run here; expected {' or '.join(_ACTIVATIONS)}"
        )
    tensors = read_file(place / "model.safetensors")
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    shape = (told.get("out_features"), told.get("in_features"))
    if weight is None or tuple(weight.shape) != shape or (bias is None) == bool(told.get("bias", True)):
        raise CheckpointError(f"{place} has not the tensors that its config.json tells; copy it again")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.load_state_dict(
        {"weight": weight.float()} | ({} if bias is None else {"bias": bias.float()}), assign=True
    )
    return [layer, _ACTIVATIONS[activation]()]


def _prompt(folder: Path) -> str:
    """What stands before every text, where the model says there is such."""
    told = _optional(folder / _PROMPTS)
    name, prompts = told.get("default_prompt_name"), told.get("prompts")
    if name is None or not isinstance(prompts, dict):
        return ""
    if not isinstance(prompts.get(name), str):
        raise CheckpointError(f"{folder / _PROMPTS} has no prompt {name!r}, which it names; copy it again")
    return str(prompts[name])


def _optional(path: Path) -> dict[str, Any]:
    return read_description(path) if path.is_file() else {}
