"""`localgpt models`: what is there and what could be, one by one, checked, removed, or as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgpt.cli.console import print_json, progress, write_text
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.options import DataDirOption, JsonOption, ModelOption, settings_of
from localgpt.errors import CheckpointError, ConfigError
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.checkpoints import FamilySummary

__all__ = ["app"]

NON_COMMERCIAL = (
    "The weights may be used, changed and shared for non-commercial purposes only; for commercial use train "
    "your own."
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A name of the catalogue, or OWNER/NAME as it was pulled.")
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", metavar="REVISION", help="Only this commit, branch or tag. Default: all."),
]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    json: JsonOption = False,
    model: ModelOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the models: the embedded ones, those that were pulled, and those of the catalogue.

    For the embedded ones: members, sizes, context, licence. For those of the catalogue: what they do, their
    download, and the best precision at which they fit into the memory of this machine.
    """
    if context.invoked_subcommand is not None:
        return
    from localgpt.checkpoints import describe_family, resolve_family
    from localgpt.cli.kept_models import Collection
    from localgpt.cli.machine import model_memory_bytes
    from localgpt.settings import data_folder

    settings = settings_of(model=model, data_dir=data_dir)
    summary = describe_family(resolve_family(settings.model))
    collection = Collection(data_folder(settings), model_memory_bytes())
    if json:
        print_json({"models": [_as_json(summary)], **collection.as_json()})
        return
    for line in (*_as_lines(summary), *collection.as_lines()):
        write_text(line)


@app.command("show")
def show(name: NameArgument, json: JsonOption = False, data_dir: DataDirOption = None) -> None:
    """Tell all that is known of one model: of the catalogue, and of what was pulled."""
    from localgpt.checkpoints.catalogue import find_entry, resolve_name
    from localgpt.cli.kept_models import Collection, entry_json, entry_lines, manifest_json, manifest_lines
    from localgpt.cli.machine import model_memory_bytes
    from localgpt.settings import data_folder

    collection = Collection(data_folder(settings_of(data_dir=data_dir)), model_memory_bytes())
    repo, entry = resolve_name(collection.entries, name)
    found = [(folder, manifest) for folder, manifest in collection.pulled if manifest.repo == repo]
    entry = entry or find_entry(collection.entries, repo)
    if entry is None and not found:
        raise ConfigError(
            f"{repo} was not pulled and is not in the catalogue; localgpt pull {repo} fetches it"
        )
    if json:
        known = entry_json(entry, collection.memory_bytes) if entry else None
        print_json({"catalogue": known, "pulled": [manifest_json(*pair) for pair in found]})
        return
    for line in entry_lines(entry, collection.memory_bytes) if entry else []:
        write_text(line)
    for pair in found:
        for line in manifest_lines(*pair):
            write_text(line)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Default: all that were pulled.")] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Read pulled models again and compare every hash; exit status 2 if anything is not as it was pulled."""
    from localgpt.checkpoints.catalogue import load_catalogue, resolve_name
    from localgpt.checkpoints.hub.kept import list_models, lock_model, models_folder, verify_model
    from localgpt.settings import data_folder

    folder = data_folder(settings_of(data_dir=data_dir))
    repo = resolve_name(load_catalogue(folder), name)[0] if name else None
    store = models_folder(folder)
    found = [(path, manifest) for path, manifest in list_models(store) if repo in (None, manifest.repo)]
    if repo and not found:
        raise ConfigError(f"no model {repo} was pulled; localgpt models lists those that were")
    results = []
    for path, manifest in found:
        with progress(f"Reading {manifest.repo}"), lock_model(store, manifest.repo):
            problems = verify_model(path, manifest)
        results.append({"id": manifest.repo, "revision": manifest.revision, "problems": problems})
        if not json:
            write_text(
                f"{manifest.repo}  {manifest.revision[:12]}  {'; '.join(problems) or 'as it was pulled'}"
            )
    if json:
        print_json({"verified": results})
    if broken := [result["id"] for result in results if result["problems"]]:
        raise CheckpointError(
            f"{', '.join(map(str, broken))}: not as pulled; run localgpt models remove, then localgpt pull"
        )


@app.command("remove")
def remove(
    name: NameArgument,
    revision: RevisionOption = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a pulled model, and what pulls of it that were broken off left."""
    from localgpt.checkpoints.catalogue import load_catalogue, resolve_name
    from localgpt.checkpoints.hub.kept import models_folder, remove_model
    from localgpt.settings import data_folder

    folder = data_folder(settings_of(data_dir=data_dir))
    repo, _ = resolve_name(load_catalogue(folder), name)
    num_bytes = remove_model(models_folder(folder), repo, revision)
    if json:
        print_json({"removed": repo, "bytes": num_bytes})
    else:
        write_text(f"removed {repo}: {format_bytes(num_bytes)}")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, of any name.")],
    json: JsonOption = False,
    model: ModelOption = None,
) -> None:
    """Write a model as one safetensors file, which --model and start_api read."""
    from localgpt.checkpoints import export_family, resolve_family

    family = resolve_family(settings_of(model=model).model)
    with progress(f"Writing {file}"), graceful_interrupts():
        num_bytes = export_family(family, file)
    if json:
        print_json({"path": str(file), "bytes": num_bytes})
    else:
        write_text(f"{file}: {format_bytes(num_bytes)}")


def _as_json(summary: FamilySummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "path": str(summary.path),
        "context": summary.context_len,
        "parameters": summary.num_params,
        "bytes": summary.num_bytes,
        "licence": summary.licence,
        "licence_note": NON_COMMERCIAL if _is_non_commercial(summary) else None,
        "members": [
            {"name": member.name, "parameters": member.num_params, "bytes": member.num_bytes}
            for member in summary.members
        ],
    }


def _as_lines(summary: FamilySummary) -> list[str]:
    lines = [summary.id, f"  path      {summary.path}", f"  context   {summary.context_len or 0:,} tokens"]
    sizes = [(member.name, member.num_params, member.num_bytes) for member in summary.members]
    for name, num_params, num_bytes in (*sizes, ("together", summary.num_params, summary.num_bytes)):
        lines.append(f"  {name:<9} {num_params / 1e6:6.1f} M parameters  {format_bytes(num_bytes):>10}")
    lines.append(f"  licence   {summary.licence}")
    return [*lines, f"            {NON_COMMERCIAL}"] if _is_non_commercial(summary) else lines


def _is_non_commercial(summary: FamilySummary) -> bool:
    return "NC" in summary.licence.upper().replace("-", " ").split()
