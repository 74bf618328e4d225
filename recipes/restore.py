"""Float checkpoints of a family that is kept in int8, so that a run can go on from it.

`init` is the family's folder; `out` receives what `recipes.joint` starts from. Int8 matrices come back as
their int8 value times their scale: nothing else is known of what they were.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import save_file

from localgpt.checkpoints import load_family
from localgpt.models.projector import Projector
from recipes.common import RunOptions
from recipes.places import place_table

__all__ = ["restore_weights"]

_NEVER_LEARNED = 0.05  # positions of the first family: 0.023, of which 0.02 is how they began


def restore_weights(options: RunOptions) -> dict[str, Any]:
    """Write `decoder`, `encoder` and `projector` as float32; see the module docstring."""
    assert options.init is not None
    family = load_family(options.init, dtype=torch.float32)
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    if family.projector is not None:
        figures["places_std"] = float(family.projector.positions.detach().std())
        figures["places_made_anew"] = _give_places(family.projector)
    for name in ("decoder", "encoder", "projector"):
        member = getattr(family, name)
        if member is None:
            continue
        state = {k: v.contiguous() for k, v in member.state_dict().items() if k != "lm_head.weight"}
        save_file(state, options.out / f"{name}.safetensors")
        (options.out / f"{name}.json").write_text(json.dumps(member.config.to_dict()), encoding="utf-8")
        figures[f"{name}_parameters"] = sum(tensor.numel() for tensor in state.values())
    return figures


@torch.no_grad()
def _give_places(projector: Projector) -> bool:
    """Add places to positions that hold none; tells whether it did."""
    if float(projector.positions.std()) > _NEVER_LEARNED:
        return False
    config = projector.config
    projector.positions.add_(place_table(round(config.n_image_token**0.5), config.n_embd))
    return True
