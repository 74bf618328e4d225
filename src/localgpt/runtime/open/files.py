"""Which files of a model's folder hold the weights that are read."""

from __future__ import annotations

from pathlib import Path

from localgpt.checkpoints.store import INDEX_NAME, read_json
from localgpt.errors import CheckpointError, MissingWeightsError

__all__ = ["weight_files"]


def weight_files(folder: Path) -> list[Path]:
    """The files of an index, or the one file, in each folder of a model.

    Raises:
        MissingWeightsError: a file that an index names is not there.
        CheckpointError: an index is broken.
    """
    files: list[Path] = []
    for place in sorted({path.parent for path in folder.rglob("*.safetensors")}):
        indexes = sorted(place.glob("*.safetensors.index*.json"))
        if indexes:
            files += _of_index(next((path for path in indexes if path.name == INDEX_NAME), indexes[0]))
            continue
        single = sorted(path for path in place.glob("*.safetensors") if "-of-" not in path.name)
        files += single[:1] if place != folder else single
    return files


def _of_index(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index} has no weight_map; copy the folder again")
    files = [index.parent / Path(str(name)).name for name in sorted(set(weight_map.values()))]
    for file in files:
        if not file.is_file():
            raise MissingWeightsError(
                f"{index.parent} lacks {file.name}, which its index names; copy it again"
            )
    return files
