"""Loading what is measured: the shipped weights, another family, or float checkpoints of a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from localgpt.checkpoints import Family, FamilyInfo, load_family, resolve_family
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.projector import Projector, ProjectorConfig

__all__ = ["load_measured", "load_training_folder"]


def load_measured(
    model: str | None, training_folder: Path | None, tokenizer: Path | None, *, device: str, dtype: str | None
) -> Family:
    """A family with an encoder.

    Args:
        model: name for `resolve_family`, where no training folder is given.
        training_folder: holds `decoder`, `encoder` and `projector`, each `.safetensors` and `.json`.
        tokenizer: `tokenizer.json` of the training folder's models, if it is not in the folder itself.
        device: torch device.
        dtype: floating type; None means int8 on the CPU and bfloat16 on a GPU, float32 for a training folder.

    Raises:
        ValueError: the family cannot look at pictures.
    """
    if training_folder is not None:
        path = tokenizer or training_folder / "tokenizer.json"
        return load_training_folder(training_folder, path, device=device, dtype=dtype or "float32")
    wanted = None if dtype is None else getattr(torch, dtype)
    family = load_family(resolve_family(model), device=device, dtype=wanted)
    if family.encoder is None or family.projector is None:
        raise ValueError(f"{family.info.id} has no encoder, so it cannot look at pictures")
    return family


def load_training_folder(folder: Path, tokenizer: Path, *, device: str, dtype: str) -> Family:
    """What `recipes.joint` wrote, in eval mode."""
    members = {
        name: _read(folder, name, kind, config.from_dict, device=device, dtype=getattr(torch, dtype))
        for name, kind, config in (
            ("decoder", Decoder, DecoderConfig),
            ("encoder", JointEncoder, EncoderConfig),
            ("projector", Projector, ProjectorConfig),
        )
    }
    info = FamilyInfo(
        id=f"training/{folder.name}", licence="unknown", created=int(folder.stat().st_mtime), path=folder
    )
    return Family(info=info, tokenizer=Tokenizer.from_file(tokenizer), **members)


def _read(folder: Path, name: str, kind: type[Any], config: Any, *, device: str, dtype: torch.dtype) -> Any:
    module = kind(config(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))))
    state = load_file(folder / f"{name}.safetensors")
    if name == "decoder":
        state["lm_head.weight"] = state["wte.weight"]  # tied
    module.load_state_dict(state)
    return module.to(device, dtype).eval()
