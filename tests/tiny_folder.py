"""A tiny family written to disk in the shipped layout: int8 matrices, shards, index, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from localgpt.checkpoints import write_sharded
from localgpt.models.decoder import DecoderConfig
from recipes.export import pack_int8
from tests import tiny


def write_family(
    folder: Path,
    *,
    sees: bool = True,
    config: DecoderConfig = tiny.DECODER,
    max_shard_bytes: int | None = None,
) -> Path:
    """Write the tiny family into `folder`; one that does not see has no encoder.

    Args:
        folder: made when missing.
        sees: write the encoder and the projector too.
        config: the decoder's shape.
        max_shard_bytes: most bytes of a shard; None for the shipped limit.
    """
    limit = {} if max_shard_bytes is None else {"max_shard_bytes": max_shard_bytes}
    decoder = tiny.make_decoder(config=config)
    packed, _ = pack_int8(_state(decoder))
    write_sharded(packed, folder / "decoder", config=config.to_dict(), **limit)
    members = ["decoder"]
    if sees:
        parts = {"encoder": tiny.make_encoder(), "projector": tiny.make_projector()}
        tensors = {
            f"{part}.{name}": tensor
            for part, model in parts.items()
            for name, tensor in pack_int8(_state(model))[0].items()
        }
        configs = {"encoder": tiny.ENCODER.to_dict(), "projector": tiny.PROJECTOR.to_dict()}
        write_sharded(tensors, folder / "encoder", config=configs, **limit)
        members.append("encoder")
    (folder / "tokenizer.json").write_text(tiny.make_tokenizer().to_str(), encoding="utf-8")
    write_description(folder, members=members)
    return folder


def write_description(folder: Path, **changes: Any) -> None:
    """Write `family.json`, with the given keys changed."""
    description = {
        "format": "localgpt-family-1",
        "id": "local/tiny",
        "members": ["decoder", "encoder"],
        "licence": "Apache-2.0",
    }
    text = json.dumps(description | changes, indent=1) + "\n"
    (folder / "family.json").write_text(text, encoding="utf-8")


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors as a recipe saves them: the tied head once."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
