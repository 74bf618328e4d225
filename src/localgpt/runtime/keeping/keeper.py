"""`HubKeeper`: the catalogue, the models on this disk and the hub behind one `ModelKeeper`."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from localgpt.checkpoints.catalogue import CatalogueEntry, find_entry, load_catalogue, resolve_name
from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.address import Hub, check_revision, hub_of
from localgpt.checkpoints.hub.download import PullOptions
from localgpt.checkpoints.hub.pull import Watcher, pull
from localgpt.checkpoints.hub.transfer import Patience
from localgpt.errors import (
    BusyModelError,
    CancelledRequestError,
    CheckpointError,
    ConfigError,
    UnknownModelError,
    WrongHashError,
)
from localgpt.runtime.keeping.jobs import Job, Jobs
from localgpt.runtime.keeping.survey import Checked, survey
from localgpt.tasks.kept_models import JobStatus, Survey

__all__ = ["HubKeeper"]

_MAX_PROBLEMS_TOLD = 3
_COMMIT_LEN = 12  # of a commit in a name


class HubKeeper:
    """Implements `ModelKeeper` on a data folder and a hub.

    Args:
        data_folder: has `models` and, where the user wrote one, `catalogue.yaml`.
        environment: names the hub, its token, and whether to stay offline; looked at each time.
        options: how models are fetched.
        patience: how long a silent hub is waited for.
    """

    def __init__(
        self,
        data_folder: Path,
        environment: Mapping[str, str],
        *,
        options: PullOptions = PullOptions(),  # noqa: B008 - frozen
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._data_folder = data_folder
        self._models = kept.models_folder(data_folder)
        self._environment = environment
        self._options, self._patience = options, patience
        self._jobs = Jobs()
        self._checked: Checked = {}

    async def survey(self, memory_bytes: int | None) -> Survey:
        """What there is and what could be; see `ModelKeeper`."""
        return await asyncio.to_thread(self._survey, memory_bytes)

    async def pull(self, name: str, revision: str | None) -> JobStatus:
        """Begin to get a model; see `ModelKeeper`."""
        repo, entry = await asyncio.to_thread(self._resolve, name)
        hub = self._hub()
        revision = check_revision(revision or (entry.revision if entry else "main"))
        return self._jobs.start(
            repo, _id(repo, entry), "pull", revision, lambda job: self._pull(job, hub, repo, revision)
        )

    async def verify(self, name: str) -> JobStatus:
        """Begin to check a model; see `ModelKeeper`."""
        repo, entry = await asyncio.to_thread(self._resolve, name)
        found = await asyncio.to_thread(self._copies, repo)
        if not found:
            raise UnknownModelError(f"no model {repo} was pulled; there is nothing to check")
        return self._jobs.start(repo, _id(repo, entry), "verify", "all", lambda job: self._verify(job, repo))

    async def cancel(self, name: str) -> JobStatus:
        """End the work on a model soon; see `ModelKeeper`."""
        return self._jobs.cancel((await asyncio.to_thread(self._resolve, name))[0])

    async def remove(self, name: str, revision: str | None) -> int:
        """Remove a model; see `ModelKeeper`."""
        repo, _ = await asyncio.to_thread(self._resolve, name)
        job = self._jobs.find(repo)
        if job is not None and not job.is_over:
            doing = "pulled" if job.kind == "pull" else "checked"
            raise BusyModelError(f"{repo} is being {doing}; cancel that, or wait for its end")
        num_bytes = await asyncio.to_thread(kept.remove_model, self._models, repo, revision)
        self._checked = {folder: told for folder, told in self._checked.items() if folder.is_dir()}
        self._jobs.forget(repo)
        return num_bytes

    async def names(self, name: str) -> tuple[str, ...]:
        """Everything that requests may call a model; see `ModelKeeper`."""
        return await asyncio.to_thread(self._names, name)

    def watch(self) -> AsyncIterator[tuple[JobStatus, ...]]:
        """All work as it goes; see `ModelKeeper`."""
        return self._jobs.watch()

    async def close(self) -> None:
        """End all work soon."""
        self._jobs.close()

    def _survey(self, memory_bytes: int | None) -> Survey:
        hub, reason = None, None
        try:
            hub = self._hub()
        except ConfigError as error:  # offline, or an address that cannot be one
            reason = str(error)
        folder = next(path for path in (self._models, *self._models.parents) if path.is_dir())
        return Survey(
            models=survey(load_catalogue(self._data_folder), self._models, self._checked, memory_bytes),
            folder=str(self._models),
            free_bytes=shutil.disk_usage(folder).free,
            hub=hub.url if hub else None,
            offline_reason=reason,
            has_token=bool(hub and hub.token),
        )

    def _hub(self) -> Hub:
        return hub_of(self._environment)

    def _resolve(self, name: str) -> tuple[str, CatalogueEntry | None]:
        """The repository that is meant, with its entry also where it was named by its repository."""
        entries = load_catalogue(self._data_folder)
        repo, entry = resolve_name(entries, name)
        return repo, entry or find_entry(entries, repo)

    def _copies(self, repo: str) -> list[Path]:
        parent = kept.model_folder(self._models, repo)
        return [folder for folder in kept.list_folders(self._models) if folder.parent == parent]

    def _names(self, name: str) -> tuple[str, ...]:
        repo, entry = self._resolve(name)
        folders = self._copies(repo)
        if entry is None and not folders:
            raise UnknownModelError(f"{repo} was not pulled and is not in the catalogue")
        return (*([entry.name] if entry else []), repo, *map(str, folders), *_commit_names(repo, folders))

    def _pull(self, job: Job, hub: Hub, repo: str, revision: str) -> None:
        watcher = Watcher(
            on_total=job.sized, on_bytes=job.came, on_part=job.part, on_note=job.note, stop=job.stop
        )
        kept.models_folder(self._data_folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        pulled = pull(
            hub,
            repo,
            self._models,
            revision=revision,
            options=self._options,
            patience=self._patience,
            watcher=watcher,
        )
        if pulled.was_here:
            job.sized(pulled.manifest.num_bytes, pulled.manifest.num_bytes)
            job.note(f"{repo} was here already")

    def _verify(self, job: Job, repo: str) -> None:
        def on_bytes(num_bytes: int) -> None:
            if job.stop.is_set():
                raise CancelledRequestError(f"the check of {repo} was stopped")
            job.came(num_bytes)

        with kept.lock_model(self._models, repo):
            found = [(folder, kept.read_manifest(folder)) for folder in self._copies(repo)]
            job.sized(sum(manifest.num_bytes for _, manifest in found), 0)
            told: list[str] = []
            for folder, manifest in found:
                problems = tuple(kept.verify_model(folder, manifest, on_bytes))
                self._checked[folder] = (time.time(), problems)
                told += problems
        if told:
            num_untold = len(told) - _MAX_PROBLEMS_TOLD
            shown = [*told[:_MAX_PROBLEMS_TOLD], *([f"{num_untold} more"] if num_untold > 0 else [])]
            raise WrongHashError(
                f"{repo} is not as it was pulled: {'; '.join(shown)}; remove it, and pull it again"
            )


def _commit_names(repo: str, folders: Iterable[Path]) -> Iterator[str]:
    """What requests may call one commit of a model: owner/name@REVISION."""
    for folder in folders:
        revisions = {folder.name, folder.name[:_COMMIT_LEN]}
        with suppress(CheckpointError):
            revisions.add(kept.read_manifest(folder).requested)
        yield from (f"{repo}@{revision}" for revision in sorted(revisions))


def _id(repo: str, entry: CatalogueEntry | None) -> str:
    return entry.name if entry else repo
