"""`pull`: a model from a hub to this disk, whole or not at all.

What is under way lies in `.pull-COMMIT`, which is no model. When every file is there and has the hash that
the hub had told, the folder is moved to its place in one step. A pull that ends in between, however it ends,
is gone on with by the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.address import Hub, check_repo, check_revision
from localgpt.checkpoints.hub.disk import check_room, disk_errors
from localgpt.checkpoints.hub.download import Downloader, PullOptions
from localgpt.checkpoints.hub.known_types import known_types
from localgpt.checkpoints.hub.metadata import HubModel, is_commit, read_model
from localgpt.checkpoints.hub.partial import sync
from localgpt.checkpoints.hub.selection import MANIFEST_NAME, Selection, check_needs_no_code, select_files
from localgpt.checkpoints.hub.transfer import HubClient, Patience, Stop
from localgpt.errors import CheckpointError

__all__ = ["Pulled", "Watcher", "pull"]

_CODE_TELLERS = ("config.json", "model_index.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A model that is here now."""

    folder: Path
    manifest: kept.Manifest
    was_here: bool  # before this pull


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Is told how one pull goes, and can end it; `on_bytes` and `on_part` from any thread.

    Args:
        on_total: the bytes of the model, and how many of them are here already.
        on_bytes: so many more came; less than zero when some have to come again.
        on_part: the name of a file of which a part begins to come (False), or is over (True).
        on_note: something a user should know, as one line.
        stop: set it to end the pull; a pull that fails sets it, to end its own threads.
    """

    on_total: Callable[[int, int], None] = lambda total, here: None
    on_bytes: Callable[[int], None] = lambda num_bytes: None
    on_part: Callable[[str, bool], None] = lambda name, is_over: None
    on_note: Callable[[str], None] = lambda line: None
    stop: Stop = field(default_factory=Stop)


def pull(
    hub: Hub,
    repo: str,
    models: Path,
    *,
    revision: str = "main",
    options: PullOptions = PullOptions(),  # noqa: B008 - frozen
    patience: Patience = Patience(),  # noqa: B008 - frozen
    watcher: Watcher | None = None,
) -> Pulled:
    """Have a model here.

    Args:
        hub: where it comes from.
        repo: owner/name.
        models: the folder of models; made when missing.
        revision: branch, tag or commit.
        options: how many connections, and how large a part is.
        patience: how long a silent hub is waited for.
        watcher: is told how it goes.

    Raises:
        ConfigError: a name is wrong, the model is not there or not for everybody, the folder is not writable.
        HubError: the hub cannot be reached, is gone, or changed the model meanwhile.
        CheckpointError: what came is not what the hub had said.
        UnsafeCheckpointError: the model has pickles or code only, or names files outside of its folder.
        CapacityError: no room on the disk, or another process pulls the same model.
        CancelledRequestError: the watcher stopped it.
    """
    repo = check_repo(repo)
    check_revision(revision)
    watcher = watcher or Watcher()
    with disk_errors(models), kept.lock_model(models, repo):
        kept.sweep(models, repo)
        if is_commit(revision) and (here := _look(models, repo, revision)):
            return here  # a commit never changes: no need to ask
        with HubClient(hub, patience=patience, stop=watcher.stop) as client:
            model = read_model(client, repo, revision)
            if here := _look(models, repo, model.commit):
                return here
            work = _Pull(client, model, models, revision=revision, options=options, watcher=watcher)
            place = kept.model_folder(models, repo) / model.commit
            return Pulled(folder=place, manifest=work.run(place), was_here=False)


class _Pull:
    """One pull that has something to fetch."""

    def __init__(
        self,
        client: HubClient,
        model: HubModel,
        models: Path,
        *,
        revision: str,
        options: PullOptions,
        watcher: Watcher,
    ) -> None:
        self._client, self._model, self._models = client, model, models
        self._revision, self._watcher = revision, watcher
        self._selection: Selection = select_files(model)
        self._folder = kept.pull_folder(models, model.repo, model.commit)
        self._downloader = Downloader(
            client,
            model.repo,
            model.commit,
            self._folder,
            options=options,
            on_bytes=watcher.on_bytes,
            on_part=watcher.on_part,
        )

    def run(self, place: Path) -> kept.Manifest:
        """Fetch what is missing and move it to its place."""
        self._drop_older()
        self._begin()
        missing = self._downloader.missing(self._selection.files)
        check_room(missing, repo=self._model.repo, folder=self._models)
        self._watcher.on_total(self._selection.num_bytes, self._selection.num_bytes - missing)
        self._downloader.fetch(self._selection.texts)  # they tell whether the rest is worth fetching
        self._check_needs_no_code()
        self._downloader.fetch(self._selection.weights)
        return self._move_to(place)

    def _begin(self) -> None:
        self._downloader.files.mkdir(mode=0o700, parents=True, exist_ok=True)
        request = {
            "repo": self._model.repo,
            "revision": self._model.commit,
            "requested": self._revision,
            "num_bytes": self._selection.num_bytes,
        }
        _write(self._folder / kept.REQUEST_NAME, json.dumps(request) + "\n")

    def _drop_older(self) -> None:
        """A broken-off pull of what this name meant before will never be gone on with."""
        for entry in kept.list_unfinished(self._models):
            is_same = entry.repo == self._model.repo and entry.requested == self._revision
            if is_same and entry.revision != self._model.commit:
                self._watcher.on_note(
                    f"{entry.repo} changed since the pull of {entry.revision[:12]} was broken off; "
                    f"{self._model.commit[:12]} is fetched from the start"
                )
                kept.discard(entry.path)

    def _check_needs_no_code(self) -> None:
        texts = {
            name: _read_object(self._downloader.files / name, self._model.repo)
            for name in _CODE_TELLERS
            if (self._downloader.files / name).is_file()
        }
        known = known_types() if "auto_map" in texts.get("config.json", {}) else ()
        check_needs_no_code(self._model.repo, texts, known)

    def _move_to(self, place: Path) -> kept.Manifest:
        files = tuple(
            kept.KeptFile(path=file.name, bytes=file.size, sha256=self._downloader.sha256_of(file))
            for file in sorted(self._selection.files, key=lambda file: file.name)
        )
        manifest = kept.Manifest(
            repo=self._model.repo,
            revision=self._model.commit,
            requested=self._revision,
            source=self._client.hub.url,
            licence=self._model.licence,
            pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
            variant=self._selection.variant,
            files=files,
        )
        _write(self._downloader.files / MANIFEST_NAME, manifest.to_text())
        sync(self._downloader.files / MANIFEST_NAME)
        if place.exists():  # without a manifest, so no model
            kept.discard(place)
        self._downloader.files.replace(place)
        _sync_folder(place.parent)
        kept.discard(self._folder)
        return manifest


def _look(models: Path, repo: str, commit: str) -> Pulled | None:
    """The model if it is here, whole as far as sizes tell."""
    folder = kept.model_folder(models, repo) / commit
    if not (folder / MANIFEST_NAME).is_file():
        return None
    manifest = kept.read_manifest(folder)
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise CheckpointError(
                f"{folder} lacks {file.path}, or a piece of it; run: localgpt models remove {manifest.repo}, "
                "and pull it again"
            )
    return Pulled(folder=folder, manifest=manifest, was_here=True)


def _read_object(path: Path, repo: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, or not UTF-8
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} of {repo} is not a JSON object; expected a model's description")
    return value


def _write(path: Path, text: str) -> None:
    """In one move, so that a kill leaves all of it or nothing."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    """Have the disk keep that a file was moved; systems that cannot do this do it by themselves."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
