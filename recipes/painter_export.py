"""Turn a trained painter and its upsampler into the family's member "painter": int8 matrices, fp16 rest.

`init` holds `painter.safetensors`, `painter.json` and `upsampler.safetensors`; `out` is a family's folder,
whose `family.json` gets the member, or any other folder. Prints how far int8 moved the worst matrix.
"""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from localgpt.checkpoints import write_sharded
from localgpt.sampling.diffusion.binding import BindingOptions
from recipes.common import RunOptions
from recipes.export import pack_int8

__all__ = ["MAX_BYTES", "export_painter"]

MAX_BYTES = 56_000_000  # the painter's share of the family


def export_painter(options: RunOptions) -> dict[str, Any]:
    """Write the member; see the module docstring.

    Raises:
        SystemExit: it is larger than its share of the family.
    """
    assert options.init is not None, "the export needs the folder of a trained painter"
    tensors: dict[str, Tensor] = {}
    figures: dict[str, Any] = {}
    for part in ("painter", "upsampler"):
        packed, worst = pack_int8(load_file(options.init / f"{part}.safetensors"))
        figures[f"{part}_worst_relative_error"] = round(worst, 5)
        tensors |= {f"{part}.{name}": tensor for name, tensor in packed.items()}
    figures["painter_bytes"] = sum(tensor.nbytes for tensor in tensors.values())
    if figures["painter_bytes"] > MAX_BYTES:
        raise SystemExit(
            f"the painter takes {figures['painter_bytes']:,} bytes; expected {MAX_BYTES:,} or less"
        )
    config = json.loads((options.init / "painter.json").read_text(encoding="utf-8"))
    upsampler = options.init / "upsampler.json"
    if upsampler.exists():
        config["painter"] |= json.loads(upsampler.read_text(encoding="utf-8"))
    config.setdefault("binding", BindingOptions().to_dict())
    write_sharded(tensors, options.out / "painter", config=config)
    family = options.out / "family.json"
    if family.exists():
        told = json.loads(family.read_text(encoding="utf-8"))
        told["members"] = list(dict.fromkeys([*told["members"], "painter"]))
        family.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return figures
