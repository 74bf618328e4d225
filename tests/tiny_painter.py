"""The member "painter" of a tiny family, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localgpt.checkpoints import read_layout, write_sharded
from localgpt.checkpoints.family import build_text_tower
from recipes.export import pack_int8
from tests import tiny

__all__ = ["write_member"]


def write_member(family: Path, **config: Any) -> None:
    """Write the member into a family's folder, which has an encoder; `family.json` is not changed.

    Args:
        family: the folder.
        config: settings of the painter that differ.
    """
    networks = {"painter": tiny.make_painter(), "upsampler": tiny.make_upsampler()}
    tensors = {
        f"{part}.{name}": tensor
        for part, network in networks.items()
        for name, tensor in pack_int8(network.state_dict())[0].items()
    }
    _, fingerprint = build_text_tower(read_layout(family))
    told = {"painter": tiny.PAINTER.to_dict(), "text_tower": fingerprint, "side": 128, **config}
    write_sharded(tensors, family / "painter", config=told)
