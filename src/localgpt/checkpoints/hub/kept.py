"""The models on this disk: `models/OWNER--NAME/COMMIT/` with a manifest each, and broken-off pulls."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from localgpt.checkpoints.hub.hashes import sha256_of
from localgpt.checkpoints.hub.names import check_names, place_in
from localgpt.checkpoints.hub.selection import MANIFEST_NAME
from localgpt.errors import BusyModelError, CheckpointError, ConfigError, UnknownModelError

__all__ = [
    "KeptFile",
    "Manifest",
    "Unfinished",
    "discard",
    "find_model",
    "folder_name",
    "list_folders",
    "list_models",
    "list_unfinished",
    "lock_model",
    "model_folder",
    "models_folder",
    "pull_folder",
    "read_manifest",
    "remove_model",
    "repo_of",
    "sweep",
    "verify_model",
]

FORMAT = "localgpt-checkpoint-1"
REQUEST_NAME = "request.json"  # in the folder of an unfinished pull
_PULL_PREFIX = ".pull-"
_TRASH_PREFIX = ".trash-"
_LOCKS = ".locks"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """One file of a kept model."""

    path: str  # from the model's folder, with slashes
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is kept of one commit of one model, and where it came from."""

    repo: str
    revision: str  # the commit
    requested: str  # the branch, tag or commit that was asked for
    source: str  # address of the hub
    licence: str
    pulled_at: str  # ISO 8601, UTC
    variant: str | None
    files: tuple[KeptFile, ...]

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    def to_text(self) -> str:
        """As it is written."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A pull that was broken off; pulling again goes on from there."""

    repo: str
    revision: str
    requested: str
    num_bytes: int  # of the whole model
    path: Path


def models_folder(data_folder: Path) -> Path:
    """Where models are kept; not made here."""
    return data_folder / "models"


def model_folder(models: Path, repo: str) -> Path:
    """The folder of one model, with its commits; `--` does not occur in names."""
    return models / folder_name(repo)


def folder_name(repo: str) -> str:
    """What the folder of a model is called."""
    return repo.replace("/", "--").replace(":", "--")


def repo_of(folder: Path) -> str:
    """The model that such a folder is of."""
    owner, _, rest = folder.name.partition("--")
    name, _, quant = rest.partition("--")
    return f"{owner}/{name}:{quant}" if quant else f"{owner}/{name}"


def pull_folder(models: Path, repo: str, commit: str) -> Path:
    """Where a pull of one commit is under way."""
    return model_folder(models, repo) / f"{_PULL_PREFIX}{commit}"


@contextmanager
def lock_model(models: Path, repo: str) -> Iterator[None]:
    """Have a model alone; the lock ends with the process, however it ends.

    Raises:
        BusyModelError: another process pulls, checks or removes it.
        ConfigError: the folder cannot be written to.
    """
    folder = models / _LOCKS
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / f"{folder_name(repo)}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyModelError(f"another LocalGPT is at work on {repo}; wait for it, then try again") from None
    except OSError as error:
        raise ConfigError(
            f"cannot write to {models} ({error.strerror or error}); choose another with --data-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a kept commit.

    Raises:
        CheckpointError: it is missing or broken.
    """
    path = folder / MANIFEST_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        files = tuple(KeptFile(**entry) for entry in values.pop("files"))
        manifest = Manifest(files=files, **values)
        check_names((file.path for file in files), repo=manifest.repo)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no manifest of a pulled model ({error}); run: localgpt models "
            f"remove {repo_of(folder.parent)}, and pull it again"
        ) from None
    return manifest


def list_folders(models: Path) -> list[Path]:
    """The folder of every kept commit of every model, by name. A folder without a manifest is none."""
    folders = (path.parent for path in sorted(models.glob(f"*--*/*/{MANIFEST_NAME}")))
    return [folder for folder in folders if not folder.name.startswith(".")]


def list_models(models: Path) -> list[tuple[Path, Manifest]]:
    """Every kept commit of every model, by name.

    Raises:
        CheckpointError: a manifest is broken.
    """
    return [(folder, read_manifest(folder)) for folder in list_folders(models)]


def list_unfinished(models: Path) -> list[Unfinished]:
    """Every pull that was broken off, by name."""
    found = []
    for path in sorted(models.glob(f"*--*/{_PULL_PREFIX}*/{REQUEST_NAME}")):
        try:
            entry = Unfinished(path=path.parent, **json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not ours
            continue
        if not (path.parent.parent / entry.revision / MANIFEST_NAME).is_file():
            found.append(entry)
    return found


def find_model(models: Path, repo: str, revision: str | None = None) -> Path | None:
    """The folder of a kept model: of that revision, else the one that was pulled last; None if there is none.

    Args:
        models: the folder of models.
        repo: owner/name.
        revision: a commit, its beginning, or the branch or tag that was asked for.
    """
    found = [
        (manifest.pulled_at, folder)
        for folder, manifest in list_models(models)
        if manifest.repo == repo and _is_meant(manifest, revision)
    ]
    return max(found)[1] if found else None


def verify_model(
    folder: Path, manifest: Manifest, on_bytes: Callable[[int], None] = lambda num_bytes: None
) -> list[str]:
    """Read every file again, and name what is not as it was pulled; an empty list when all is well.

    Args:
        folder: of one commit.
        manifest: of it.
        on_bytes: is told of each piece that was read, and may raise to end it.
    """
    problems = []
    for file in manifest.files:
        path = place_in(folder, file.path)
        try:
            size = path.stat().st_size
            if size != file.bytes:
                problems.append(f"{file.path} has {size:,} bytes instead of {file.bytes:,}")
            elif sha256_of(path, on_bytes) != file.sha256:
                problems.append(f"{file.path} has another hash")
        except OSError as error:
            problems.append(f"{file.path} cannot be read ({error.strerror or error})")
    return problems


def remove_model(models: Path, repo: str, revision: str | None = None) -> int:
    """Remove a model, or one revision of it, with what broken-off pulls left; returns the bytes freed.

    Raises:
        UnknownModelError: nothing of that name is here.
        BusyModelError: another process has it.
    """
    doomed = _folders_meant(models, repo, revision)
    if not doomed:
        here = ", ".join(sorted({repo_of(path.parent) for path in models.glob("*--*/*")}))
        what = repo if revision is None else f"{repo} at {revision!r}"
        raise UnknownModelError(f"no model {what} was pulled; pulled models: {here or 'none'}")
    num_bytes = 0
    with lock_model(models, repo):
        for folder in doomed:
            num_bytes += _size(folder)
            discard(folder)
        sweep(models, repo)
    return num_bytes


def sweep(models: Path, repo: str) -> None:
    """Clear away what a process left that was killed while it tidied up. The caller has the lock."""
    parent = model_folder(models, repo)
    for trash in parent.glob(f"{_TRASH_PREFIX}*"):
        shutil.rmtree(trash)
    for path in parent.glob(f"{_PULL_PREFIX}*"):
        if (parent / path.name.removeprefix(_PULL_PREFIX) / MANIFEST_NAME).is_file():
            discard(path)
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def discard(folder: Path) -> None:
    """Remove a folder: out of sight at once, so that half of it is never taken for a model."""
    trash = folder.with_name(f"{_TRASH_PREFIX}{folder.name.lstrip('.')}")
    shutil.rmtree(trash, ignore_errors=True)
    folder.replace(trash)
    shutil.rmtree(trash)


def _folders_meant(models: Path, repo: str, revision: str | None) -> list[Path]:
    """Commits and unfinished pulls of a model, broken ones too; only names of branches need a manifest."""
    found = []
    for folder in sorted(path for path in model_folder(models, repo).glob("*") if path.is_dir()):
        commit = folder.name.removeprefix(_PULL_PREFIX)
        names = {commit}
        if revision is not None:
            with suppress(CheckpointError):
                names.add(read_manifest(folder).requested)
            names |= {entry.requested for entry in list_unfinished(models) if entry.path == folder}
        if revision is None or revision in names or (len(revision) >= 7 and commit.startswith(revision)):
            found.append(folder)
    return found


def _is_meant(manifest: Manifest, revision: str | None) -> bool:
    if revision is None or revision in (manifest.revision, manifest.requested):
        return True
    return len(revision) >= 7 and manifest.revision.startswith(revision)


def _size(folder: Path) -> int:
    """Bytes that a folder takes on the disk; files on their way have holes."""
    total = 0
    for path in folder.rglob("*"):
        status: Any = path.lstat()
        total += status.st_blocks * 512 if os.name == "posix" else status.st_size
    return total
