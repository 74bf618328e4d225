"""The open models that may be asked for: every pulled one, and folders that the operator named.

A pulled model goes by its name in the catalogue where it has one, else by owner/name; it answers to the
others of these, too, with the revision behind an @ where that is meant. A folder goes by its own name. Nobody
who sends requests can name a folder: what is not on the shelf is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import torch

from localgpt.checkpoints.catalogue import CatalogueEntry, find_entry, load_catalogue
from localgpt.checkpoints.gguf_header import GGUF_SUFFIX, GgufHeader, read_gguf_header
from localgpt.checkpoints.hub.kept import Manifest, list_models, models_folder, read_manifest
from localgpt.checkpoints.hub.names import place_in
from localgpt.checkpoints.hub.selection import MANIFEST_NAME
from localgpt.checkpoints.store import TensorShape, read_shapes
from localgpt.errors import LocalGPTError
from localgpt.runtime.open.base import CONFIG_NAME, OpenKind, check_folder, kind_of, read_description
from localgpt.runtime.open.files import weight_files
from localgpt.runtime.open.precision import STAYS, choose_dtype
from localgpt.tasks import ModelStatus

__all__ = ["TASKS", "Shelf", "ShelfModel", "model_of_folder", "readable"]

# What a kind of model is asked for; a loaded model says it itself.
TASKS: Final[Mapping[OpenKind, tuple[str, ...]]] = {
    "language": ("chat", "complete"),
    "vision": ("chat", "complete", "describe", "ask"),
    "clip": ("embed",),
    "embedder": ("embed",),
    "paint": ("paint",),
    "listen": ("listen",),
    "speak": ("speak",),
    "detect": ("detect",),
    "gguf": ("chat", "complete"),
    "gguf-embed": ("embed",),
}
_COMMIT_LEN: Final = 12
_DTYPE_KEYS: Final = ("dtype", "torch_dtype")
_GROUP_BYTES: Final = {"int8": 1 + 4 / 1024, "int4": 0.5 + 4 / 64}  # of a weight, its scales included


@dataclass(frozen=True)
class ShelfModel:
    """One model that may be asked for; nothing of it is loaded."""

    id: str
    folder: Path  # or the GGUF file
    names: tuple[str, ...] = ()  # others that it answers to
    licence: str = "unknown"
    created: int = 0
    entry: CatalogueEntry | None = None

    @cached_property
    def kind(self) -> OpenKind:
        """What it is for.

        Raises:
            CheckpointError: it cannot be run here, for the reason that is told.
        """
        check_folder(self.folder)
        return kind_of(self.folder)

    @cached_property
    def header(self) -> GgufHeader | None:
        """Of a GGUF file; None for a folder.

        Raises:
            CheckpointError: the file is broken.
        """
        return read_gguf_header(self.folder) if self.folder.is_file() else None

    @cached_property
    def shapes(self) -> dict[str, TensorShape]:
        """Its tensors, by folder and name.

        Raises:
            CheckpointError: a file is broken.
        """
        return {
            f"{path.parent.relative_to(self.folder)}/{name}": shape
            for path in weight_files(self.folder)
            for name, shape in read_shapes(path).items()
        }

    @cached_property
    def num_params(self) -> int:
        """Numbers in its weights."""
        if self.header is not None:
            return self.header.num_params
        return sum(_numel(shape) for shape in self.shapes.values())

    def params_in(self, folders: Sequence[str]) -> int:
        """Numbers in the weights of some of its folders.

        Raises:
            CheckpointError: a file is broken.
        """
        return sum(_numel(shape) for name, shape in self.shapes.items() if name.split("/")[0] in folders)

    @cached_property
    def stored_bytes(self) -> int:
        """Of its weights as they are kept."""
        if self.header is not None:
            return self.header.num_bytes
        return sum(shape.num_bytes for shape in self.shapes.values())

    @cached_property
    def context_len(self) -> int:
        """Tokens of its context; 0 where it reads none."""
        if self.header is not None:
            return self.header.context_len
        if not (self.folder / CONFIG_NAME).is_file():
            return 0
        config = read_description(self.folder / CONFIG_NAME)
        text = config.get("text_config")
        told = (text if isinstance(text, dict) else config).get("max_position_embeddings", 0)
        return told if isinstance(told, int) else 0

    def weight_bytes(self, *, device: str, fp16: bool, quantize: str) -> int:
        """What its weights take once they are loaded, as far as their shapes tell.

        Raises:
            CheckpointError: a file is broken.
        """
        if self.header is not None:
            return self.stored_bytes
        dtype, _ = choose_dtype(self._stored_dtype(), device=device, fp16=fp16)
        if quantize == "none":
            return self.num_params * dtype.itemsize
        linear = sum(map(_numel, self._linear_shapes()))
        rest = self.num_params - linear
        return round(rest * torch.bfloat16.itemsize + linear * _GROUP_BYTES[quantize])

    def status(self) -> ModelStatus:
        """What can be told of it without loading it.

        Raises:
            CheckpointError: it cannot be run.
        """
        return ModelStatus(
            id=self.id,
            tasks=TASKS[self.kind],
            num_params=self.num_params,
            weight_bytes=self.stored_bytes,
            context_len=self.context_len,
            num_image_tokens=0,
            created=self.created,
            licence=self.licence if self.header is None else self.header.licence,
            names=self.names,
            is_loaded=False,
        )

    def _stored_dtype(self) -> torch.dtype:
        """As most numbers are kept, by their size."""
        per_number = self.stored_bytes / max(self.num_params, 1)
        if per_number > 3:
            return torch.float32
        told = {}
        if (self.folder / CONFIG_NAME).is_file():
            told = read_description(self.folder / CONFIG_NAME)
        text = told.get("text_config")
        names = [
            one.get(key) for one in (told, text if isinstance(text, dict) else {}) for key in _DTYPE_KEYS
        ]
        return torch.bfloat16 if "bfloat16" in names else torch.float16

    def _linear_shapes(self) -> Iterator[TensorShape]:
        for name, shape in self.shapes.items():
            if len(shape.shape) == 2 and not any(part in name for part in STAYS):
                yield shape


class Shelf:
    """All models that may be asked for, looked at again whenever something was pulled or removed.

    Args:
        data_folder: where pulled models and the user's catalogue are; None for none.
        folders: what the operator named besides.
    """

    def __init__(self, data_folder: Path | None, folders: Sequence[ShelfModel] = ()) -> None:
        self._data_folder = data_folder
        self._named = tuple(folders)
        self._lock = threading.Lock()
        self._seen: object = None
        self._models: dict[str, ShelfModel] = {}

    @cached_property
    def catalogue(self) -> dict[str, CatalogueEntry]:
        """Known models, the user's included."""
        return load_catalogue(self._data_folder)

    def models(self) -> list[ShelfModel]:
        """Those that are here now, by id."""
        with self._lock:
            seen = self._signature()
            if seen != self._seen:
                found = {model.id: model for model in (*self._pulled(), *self._named)}
                # The same folder is the same model: what was read of it is kept.
                known = {(model.id, model.folder): model for model in self._models.values()}
                self._models = {
                    name: known.get((name, model.folder), model) for name, model in sorted(found.items())
                }
                self._seen = seen
            return list(self._models.values())

    def find(self, name: str) -> ShelfModel | None:
        """The model that answers to a name."""
        models = self.models()
        for model in models:
            if model.id == name:
                return model
        return next((model for model in models if name in model.names), None)

    def _signature(self) -> object:
        """Changes when a model comes or goes."""
        if self._data_folder is None:
            return ()
        try:
            parents = sorted(models_folder(self._data_folder).glob("*--*"))
            return tuple((str(path), path.stat().st_mtime_ns) for path in parents)
        except OSError:
            return None

    def _pulled(self) -> Iterator[ShelfModel]:
        if self._data_folder is None:
            return
        by_repo: dict[str, list[tuple[Path, Manifest]]] = {}
        for folder, manifest in list_models(models_folder(self._data_folder)):
            by_repo.setdefault(manifest.repo, []).append((folder, manifest))
        for kept in by_repo.values():
            kept.sort(key=lambda one: one[1].pulled_at)
            last_asked = {manifest.requested: folder for folder, manifest in kept}
            for folder, manifest in kept:
                model = _of_manifest(folder, manifest, self.catalogue, is_latest=folder == kept[-1][0])
                asked = f"{manifest.repo}@{manifest.requested}"
                is_older = last_asked[manifest.requested] != folder  # the branch has gone on since
                names = tuple(name for name in model.names if not (is_older and name == asked))
                yield replace(model, names=names)


def model_of_folder(folder: Path, data_folder: Path | None = None) -> ShelfModel:
    """A folder or GGUF file that the operator named, as a model; a pulled one keeps what is known of it.

    Raises:
        ConfigError: the user's catalogue is broken.
        CheckpointError: its manifest is.
    """
    folder = folder.resolve()
    if (folder / MANIFEST_NAME).is_file():
        catalogue = load_catalogue(data_folder)
        return _of_manifest(folder, read_manifest(folder), catalogue, is_latest=True)
    try:
        created = int(folder.stat().st_mtime)
    except OSError:
        created = 0
    name = folder.stem if folder.is_file() else folder.name
    return ShelfModel(id=name or "model", folder=folder, created=created)


def _of_manifest(
    folder: Path, manifest: Manifest, catalogue: Mapping[str, CatalogueEntry], *, is_latest: bool
) -> ShelfModel:
    entry = find_entry(catalogue, manifest.repo)
    commit = f"{manifest.repo}@{manifest.revision[:_COMMIT_LEN]}"
    names = [f"{manifest.repo}@{manifest.revision}", f"{manifest.repo}@{manifest.requested}"]
    main = commit
    if is_latest:
        main = entry.name if entry is not None else manifest.repo
        names = [manifest.repo, commit, *names]
    ggufs = [file.path for file in manifest.files if file.path.endswith(GGUF_SUFFIX)]
    return ShelfModel(
        id=main,
        folder=place_in(folder, ggufs[0]) if ggufs else folder,
        names=tuple(name for name in dict.fromkeys(names) if name != main),
        licence=manifest.licence,
        created=_seconds(manifest.pulled_at),
        entry=entry,
    )


def _seconds(when: str) -> int:
    try:
        return int(datetime.fromisoformat(when).timestamp())
    except ValueError:
        return 0


def _numel(shape: TensorShape) -> int:
    number = 1
    for length in shape.shape:
        number *= length
    return number


def readable(models: Sequence[ShelfModel]) -> list[ModelStatus]:
    """What can be told of those models that can be run; the others say why when they are asked for."""
    found = []
    for model in models:
        try:
            found.append(model.status())
        except (LocalGPTError, OSError):
            continue
    return found
