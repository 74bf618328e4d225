"""Finding a model: the embedded family, a folder, or one exported file.

The embedded weights are package data (`localgpt/weights`) in an installed wheel and the folder `weights/`
beside `src` in a checkout.
"""

from __future__ import annotations

from pathlib import Path

from localgpt.checkpoints.layout import FAMILY_NAME, METADATA_KEY
from localgpt.checkpoints.store import INDEX_NAME, read_metadata
from localgpt.errors import CheckpointError, ConfigError, MissingWeightsError
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["embedded_folder", "resolve_family"]


def embedded_folder() -> Path:
    """The folder of the embedded weights.

    Raises:
        MissingWeightsError: this installation carries none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights", package.parents[1] / "weights"):
        if (folder / FAMILY_NAME).is_file():
            return folder
    raise MissingWeightsError(
        "this installation carries no embedded weights; install the wheel or clone the whole project, "
        "or name a model folder with --model"
    )


def resolve_family(model: str | Path | None) -> Path:
    """The folder or exported file that a name stands for.

    Args:
        model: None or "local/multimodal-base" for the embedded family; else a family's folder, a file in
            one, or a file written by `localgpt models export`, whatever its name.

    Raises:
        ConfigError: nothing of that name.
        MissingWeightsError: a folder without weights.
        CheckpointError: a file that is no model, or a lone shard (the message names its folder).
        UnsafeCheckpointError: a pickle.
    """
    if model is None or str(model) == EMBEDDED_MODEL_ID:
        return embedded_folder()
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            return _check_folder(path)
        if path.is_file():
            return _check_file(path)
    except (OSError, RuntimeError, ValueError) as error:  # not readable, no such home, impossible name
        raise ConfigError(f"cannot read the model {str(model)!r}: {error}") from None
    raise ConfigError(
        f"no model {str(model)!r}: neither a file nor a folder, nor the id {EMBEDDED_MODEL_ID}; "
        "name a model folder or an exported file"
    )


def _check_folder(folder: Path) -> Path:
    if (folder / FAMILY_NAME).is_file():
        return folder
    if (folder / INDEX_NAME).is_file() and (folder.parent / FAMILY_NAME).is_file():
        raise CheckpointError(f"{folder} is one member of a family; name the family's folder {folder.parent}")
    raise MissingWeightsError(
        f"{folder} holds no model: no {FAMILY_NAME}; expected a folder with {FAMILY_NAME}, tokenizer.json "
        "and weights"
    )


def _check_file(path: Path) -> Path:
    if path.name in (FAMILY_NAME, "tokenizer.json") and (path.parent / FAMILY_NAME).is_file():
        return path.parent
    if path.suffix == ".json" and (path.parent.parent / FAMILY_NAME).is_file():
        return path.parent.parent
    if METADATA_KEY in read_metadata(path):
        return path
    if (path.parent / INDEX_NAME).is_file():
        folder = path.parent.parent if (path.parent.parent / FAMILY_NAME).is_file() else path.parent
        raise CheckpointError(f"{path} is one shard of a model; name its folder {folder}")
    raise CheckpointError(
        f"{path} holds tensors but no model description; expected a file written by 'localgpt models export'"
    )
