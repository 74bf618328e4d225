"""Finding, reading, writing and exporting weights; safetensors only."""

from localgpt.checkpoints.export import export_family
from localgpt.checkpoints.family import Family, FamilyInfo, load_family, read_family
from localgpt.checkpoints.locate import embedded_folder, resolve_family
from localgpt.checkpoints.store import read_config, read_tensors, write_sharded

__all__ = [
    "Family",
    "FamilyInfo",
    "embedded_folder",
    "export_family",
    "load_family",
    "read_config",
    "read_family",
    "read_tensors",
    "resolve_family",
    "write_sharded",
]
