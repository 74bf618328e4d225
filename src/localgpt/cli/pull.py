"""`localgpt pull`: a model from the hub to this disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from localgpt.cli.console import note, print_json, write_text
from localgpt.cli.options import DataDirOption, JsonOption, settings_of
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.checkpoints.hub.pull import Watcher

__all__ = ["pull"]

# What a model of each job is used with.
_COMMANDS = {
    "chat": "chat",
    "vision": "ask",
    "embed": "embed",
    "paint": "paint",
    "listen": "transcribe",
    "speak": "say",
    "detect": "detect",
}


def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name of the catalogue, OWNER/NAME of a model on the hub, or OWNER/NAME:QUANT for one of "
            "its GGUF files.",
        ),
    ],
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REVISION", help="A branch, a tag or a commit. Default: main."),
    ] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Fetch an open model; `localgpt models` lists those of the catalogue.

    Only safetensors and what is needed to read them is fetched, or the one GGUF file that is named, and
    every file is checked against the hash that the hub tells. A pull that ends early, however it ends, goes
    on from there when the same command is run again. The hub is `LOCALGPT_HUB`, else `HF_ENDPOINT`, else
    huggingface.co; `HF_TOKEN` opens gated models. No other command fetches anything. Afterwards `--model
    NAME` names it in the commands that use models, and a server answers for it.
    """
    from localgpt.checkpoints.catalogue import load_catalogue, resolve_name
    from localgpt.checkpoints.hub.address import hub_of
    from localgpt.checkpoints.hub.kept import models_folder
    from localgpt.checkpoints.hub.pull import pull as pull_model
    from localgpt.settings import data_folder

    settings = settings_of(data_dir=data_dir)
    repo, entry = resolve_name(load_catalogue(data_folder(settings)), name)
    revision = revision or (entry.revision if entry else "main")
    hub = hub_of(os.environ)
    models = models_folder(data_folder(settings, create=True))
    with _watching(repo) as watcher:
        pulled = pull_model(hub, repo, models, revision=revision, watcher=watcher)
    manifest = pulled.manifest
    if json:
        print_json(
            {
                "id": repo,
                "revision": manifest.revision,
                "path": str(pulled.folder),
                "files": len(manifest.files),
                "bytes": manifest.num_bytes,
                "licence": manifest.licence,
                "commercial": entry.commercial if entry else None,
                "was_here": pulled.was_here,
            }
        )
        return
    used_with = _COMMANDS[entry.job] if entry else "chat"
    note(f"use it with localgpt {used_with} --model {entry.name if entry else repo}")
    if pulled.was_here:
        note(f"{repo} was here already")
    elif entry and entry.commercial is False:
        note(f"the licence of {repo} ({manifest.licence}) does not allow commercial use")
    write_text(
        f"{pulled.folder}: {len(manifest.files)} files, {format_bytes(manifest.num_bytes)}, "
        f"licence {manifest.licence}"
    )


@contextmanager
def _watching(repo: str) -> Iterator[Watcher]:
    """A bar on a terminal's standard error; elsewhere notes only."""
    from localgpt.checkpoints.hub.pull import Watcher

    if not sys.stderr.isatty():
        yield Watcher(on_note=note)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(repo, total=None)
        yield Watcher(
            on_total=lambda total, here: bar.update(task, total=total, completed=here),
            on_bytes=lambda num_bytes: bar.advance(task, num_bytes),
            on_note=lambda line: bar.console.print(f"localgpt: {line}", markup=False, highlight=False),
        )
