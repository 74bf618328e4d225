"""Finding, reading, writing, exporting and getting weights; safetensors only.

What needs torch is loaded when it is asked for, so that getting a model (`checkpoints.hub`) does without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localgpt.checkpoints.export import export_family
    from localgpt.checkpoints.family import Family, FamilyInfo, load_family
    from localgpt.checkpoints.layout import FamilySummary, MemberSummary, describe_family, read_layout
    from localgpt.checkpoints.locate import embedded_folder, resolve_family
    from localgpt.checkpoints.store import read_config, read_tensors, write_sharded

__all__ = [
    "Family",
    "FamilyInfo",
    "FamilySummary",
    "MemberSummary",
    "describe_family",
    "embedded_folder",
    "export_family",
    "load_family",
    "read_config",
    "read_layout",
    "read_tensors",
    "resolve_family",
    "write_sharded",
]

_HOMES = {
    "export": ("export_family",),
    "family": ("Family", "FamilyInfo", "load_family"),
    "layout": ("FamilySummary", "MemberSummary", "describe_family", "read_layout"),
    "locate": ("embedded_folder", "resolve_family"),
    "store": ("read_config", "read_tensors", "write_sharded"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
