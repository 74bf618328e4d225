"""Finding, reading, writing and exporting weights; safetensors only."""

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
