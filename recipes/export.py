"""Turn trained networks into the shipped form: int8 matrices, fp16 vectors, sharded safetensors.

`init` holds `decoder`, `encoder` and `projector` as `recipes.joint` left them, or the decoder alone; `data`
holds `tokenizer.json`. Writes the family folder to `out` and prints how far int8 moved each matrix. With
`like`, a family's folder, tensors that are what they were there are written byte for byte as they stand
there, and so are shards that hold nothing else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from localgpt.checkpoints import read_tensors, write_sharded
from localgpt.nn.linear import dequantize_weight, quantize_weight
from recipes.common import RunOptions

__all__ = ["export_weights", "keep_equal", "pack_int8"]

# Small matrices and those that decide scales stay in half precision.
_KEEP_HALF = ("positions", "gate_logits", "keep_score", "logit_scale", "null_token")
_KEEP_FLOAT = ("running_mean", "running_var", "logit_scale")
_MIN_INT8 = 4096


def pack_int8(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Quantize every matrix and convolution per output channel.

    Returns:
        The tensors to write (`X.weight` int8 beside `X.weight_scale` float32; the rest float16 or float32),
        and the
        largest relative error of a matrix, ||W - Q|| / ||W||.
    """
    packed: dict[str, Tensor] = {}
    worst = 0.0
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        is_matrix = tensor.dim() >= 2 and tensor.numel() >= _MIN_INT8 and name.endswith(".weight")
        if is_matrix and not any(part in name for part in _KEEP_HALF):
            weight, scale = quantize_weight(tensor)
            packed[name], packed[f"{name}_scale"] = weight, scale
            error = (dequantize_weight(weight, scale) - tensor).norm() / tensor.norm().clamp(min=1e-12)
            worst = max(worst, float(error))
        elif any(part in name for part in _KEEP_FLOAT):
            packed[name] = tensor.float()
        else:
            packed[name] = tensor.half()
    return packed, worst


def keep_equal(packed: dict[str, Tensor], before: Mapping[str, Tensor]) -> int:
    """Put earlier tensors in the place of those that mean the same; a scale may differ in its last bit.

    Returns:
        How many bytes stay as they were.
    """
    kept = 0
    for name, tensor in packed.items():
        scale = f"{name}_scale"
        if name not in before or before[name].shape != tensor.shape or before[name].dtype != tensor.dtype:
            continue
        if scale not in packed:
            kept += tensor.nbytes * int(torch.equal(tensor, before[name]))
        elif torch.equal(tensor, before[name]) and torch.allclose(packed[scale], before[scale], rtol=1e-6):
            packed[scale] = before[scale]
            kept += tensor.nbytes
    return kept


def export_weights(options: RunOptions) -> dict[str, Any]:
    """Write the family folder; see the module docstring."""
    assert options.init is not None
    figures: dict[str, Any] = {}
    members = {"decoder": ("decoder",), "encoder": ("encoder", "projector")}
    members = {
        member: parts
        for member, parts in members.items()
        if (options.init / f"{parts[0]}.safetensors").exists()
    }
    for member, parts in members.items():
        tensors: dict[str, Tensor] = {}
        config: dict[str, Any] = {}
        for part in parts:
            state = load_file(options.init / f"{part}.safetensors")
            packed, worst = pack_int8(state)
            figures[f"{part}_worst_relative_error"] = round(worst, 5)
            prefix = "" if len(parts) == 1 else f"{part}."
            tensors |= {prefix + name: tensor for name, tensor in packed.items()}
            part_config = json.loads((options.init / f"{part}.json").read_text(encoding="utf-8"))
            config |= part_config if len(parts) == 1 else {part: part_config}
        if options.like is not None:
            figures[f"{member}_bytes_kept"] = keep_equal(tensors, read_tensors(options.like / member))
        write_sharded(tensors, options.out / member, config=config)
        figures[f"{member}_bytes"] = sum(t.numel() * t.element_size() for t in tensors.values())
    _write_family(options.data / "tokenizer.json", options.out, list(members))
    return figures


def _write_family(tokenizer: Path, folder: Path, members: list[str]) -> None:
    if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    family = {
        "format": "localgpt-family-1",
        "id": "local/multimodal-base",
        "members": members,
        "licence": "CC BY-NC-SA 4.0",
    }
    (folder / "family.json").write_text(json.dumps(family, indent=1) + "\n", encoding="utf-8")
