"""The survey of open models: the catalogue, joined with what is on the disk."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from localgpt.checkpoints.catalogue import CatalogueEntry, Job, fit_to
from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.names import place_in
from localgpt.checkpoints.hub.partial import bytes_there
from localgpt.errors import CheckpointError
from localgpt.runtime.open.base import LOADERS, OpenKind
from localgpt.tasks.kept_models import BrokenOffPull, KeptCopy, KnownModel

__all__ = ["Checked", "survey"]

_JOBS: Final[Mapping[OpenKind, Job]] = {
    "language": "chat",
    "vision": "vision",
    "clip": "embed",
    "embedder": "embed",
    "paint": "paint",
    "listen": "listen",
    "speak": "speak",
    "detect": "detect",
    "gguf": "chat",
    "gguf-embed": "embed",
}

Checked = dict[Path, tuple[float, tuple[str, ...]]]
"""Folder to when it was checked, in seconds since the epoch, and what was wrong."""


def survey(
    entries: Mapping[str, CatalogueEntry], models: Path, checked: Checked, memory_bytes: int | None
) -> tuple[KnownModel, ...]:
    """Every model of the catalogue in its order, then those that are here without being in it.

    Args:
        entries: the catalogue.
        models: the folder of models; need not be there.
        checked: what checks since the start found.
        memory_bytes: of the device that would run a model; None where unknown.
    """
    copies: dict[str, list[KeptCopy]] = {}
    for folder in kept.list_folders(models):
        repo, copy = _copy(folder, checked)
        copies.setdefault(repo, []).append(copy)
    broken_off: dict[str, list[BrokenOffPull]] = {}
    for entry in kept.list_unfinished(models):
        pull = BrokenOffPull(
            revision=entry.revision,
            requested=entry.requested,
            total_bytes=entry.num_bytes,
            here_bytes=min(entry.num_bytes, bytes_there(entry.path)),
        )
        broken_off.setdefault(entry.repo, []).append(pull)
    known = [
        _entry_model(entry, memory_bytes, copies.pop(entry.repo, []), broken_off.pop(entry.repo, []))
        for entry in entries.values()
    ]
    others = sorted(copies.keys() | broken_off.keys())
    return (*known, *(_other_model(repo, copies.get(repo, []), broken_off.get(repo, [])) for repo in others))


def _copy(folder: Path, checked: Checked) -> tuple[str, KeptCopy]:
    """The model and its copy; one whose manifest is broken is told of, so that it can be removed."""
    when, found = checked.get(folder, (None, ()))
    try:
        manifest = kept.read_manifest(folder)
    except CheckpointError as error:
        copy = KeptCopy(
            revision=folder.name,
            requested=folder.name,
            num_bytes=0,
            num_files=0,
            licence="unknown",
            source="",
            pulled_at="",
            folder=str(folder),
            problems=(str(error),),
        )
        return kept.repo_of(folder.parent), copy
    return manifest.repo, KeptCopy(
        revision=manifest.revision,
        requested=manifest.requested,
        num_bytes=manifest.num_bytes,
        num_files=len(manifest.files),
        licence=manifest.licence,
        source=manifest.source,
        pulled_at=manifest.pulled_at,
        folder=str(folder),
        verified_at=when,
        problems=found or _missing(folder, manifest),
    )


def _missing(folder: Path, manifest: kept.Manifest) -> tuple[str, ...]:
    """Files that are not there as far as sizes tell."""
    problems = []
    for file in manifest.files:
        try:
            found = place_in(folder, file.path).stat()
        except OSError:  # not there, or removed in this moment
            is_there = False
        else:
            is_there = stat.S_ISREG(found.st_mode) and found.st_size == file.bytes
        if not is_there:
            problems.append(f"{file.path} is missing, or a piece of it")
    return tuple(problems)


def _entry_model(
    entry: CatalogueEntry,
    memory_bytes: int | None,
    copies: list[KeptCopy],
    broken_off: list[BrokenOffPull],
) -> KnownModel:
    fit = fit_to(entry, memory_bytes) if memory_bytes else None
    return KnownModel(
        id=entry.name,
        repo=entry.repo,
        revision=entry.revision,
        job=entry.job,
        licence=entry.licence,
        commercial=entry.commercial,
        gated=entry.gated,
        num_params=entry.parameters,
        download_bytes=entry.download_bytes,
        context_len=entry.context,
        memory_bytes={
            "fp16": entry.memory_bytes("fp16"),
            "int8": entry.memory_bytes("int8"),
            "int4": entry.memory_bytes("int4"),
        },
        fits=fit.precision if fit else None,
        lacking_bytes=fit.lacking_bytes if fit else None,
        notes=entry.note.model_dump(),
        runs=entry.job in {_JOBS[kind] for kind in LOADERS},
        copies=tuple(copies),
        broken_off=tuple(broken_off),
    )


def _other_model(repo: str, copies: list[KeptCopy], broken_off: list[BrokenOffPull]) -> KnownModel:
    newest = max(copies, key=lambda copy: copy.pulled_at, default=None)
    return KnownModel(
        id=repo,
        repo=repo,
        revision=newest.requested if newest else broken_off[0].requested,
        job=None,
        licence=newest.licence if newest else "unknown",
        commercial=None,
        gated=False,
        num_params=None,
        download_bytes=newest.num_bytes if newest else broken_off[0].total_bytes,
        context_len=None,
        memory_bytes={},
        fits=None,
        lacking_bytes=None,
        notes={},
        runs=False,
        copies=tuple(copies),
        broken_off=tuple(broken_off),
    )
