"""What an operator means by `--model`: a family, a pulled model, a folder, or a GGUF file."""

from __future__ import annotations

import difflib
from pathlib import Path

from localgpt.checkpoints.catalogue import find_entry
from localgpt.checkpoints.gguf_header import GGUF_SUFFIX, is_gguf
from localgpt.checkpoints.layout import FAMILY_NAME
from localgpt.checkpoints.locate import resolve_family
from localgpt.errors import ConfigError
from localgpt.runtime.open.base import check_folder, is_open_folder, kind_of
from localgpt.runtime.open.llama import require_llama
from localgpt.runtime.open.shelf import Shelf, ShelfModel, model_of_folder
from localgpt.tasks import EMBEDDED_MODEL_ID

__all__ = ["resolve_model"]


def resolve_model(name: str | None, data_folder: Path | None = None) -> Path | ShelfModel:
    """The family's folder or file that a name stands for, or the open model.

    Args:
        name: None or "local/multimodal-base" for the embedded family; a path; a name of the catalogue or
            owner/name of a pulled model, with @ and a revision where one is meant.
        data_folder: where pulled models are.

    Raises:
        ConfigError: nothing of that name, or a model that was not pulled.
        CheckpointError: a folder or file that is no model, or of a kind that is not run here.
    """
    if name is None or name == EMBEDDED_MODEL_ID:
        return resolve_family(None)
    shelf = Shelf(data_folder)
    if (model := shelf.find(name)) is not None:
        return _checked(model)
    try:
        path = Path(name).expanduser()
        if path.is_dir() and is_open_folder(path) and not (path / FAMILY_NAME).is_file():
            return _checked(model_of_folder(path, data_folder))
        if path.is_file() and (path.suffix == GGUF_SUFFIX or is_gguf(path)):
            return _checked(model_of_folder(path, data_folder))
        if path.exists():
            return resolve_family(name)
    except (OSError, RuntimeError, ValueError) as error:  # not readable, no such home, impossible name
        raise ConfigError(f"cannot read the model {name!r}: {error}") from None
    if (entry := find_entry(shelf.catalogue, name)) is not None:
        raise ConfigError(f"the model {name!r} was not pulled; run: localgpt pull {entry.name}")
    known = [EMBEDDED_MODEL_ID, *(one.id for one in shelf.models())]
    near = difflib.get_close_matches(name, [*known, *shelf.catalogue], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise ConfigError(
        f"no model {name!r}: neither a file nor a folder, nor one of {', '.join(known)}{hint} "
        "localgpt models lists all that can be pulled"
    )


def _checked(model: ShelfModel) -> ShelfModel:
    """The same model, which can be run as far as its folder tells."""
    check_folder(model.folder)
    kind_of(model.folder)
    if model.header is not None:
        require_llama()
    return model
