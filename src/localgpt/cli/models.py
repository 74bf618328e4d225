"""`localgpt models`: what is there, and one file of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgpt.cli.console import print_json, progress, write_text
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.options import JsonOption, ModelOption, settings_of
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.checkpoints import FamilySummary

__all__ = ["app"]

NON_COMMERCIAL = (
    "The weights may be used, changed and shared for non-commercial purposes only; for commercial use train "
    "your own."
)

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: JsonOption = False, model: ModelOption = None) -> None:
    """List the models: members, sizes, context, licence."""
    if context.invoked_subcommand is not None:
        return
    from localgpt.checkpoints import describe_family, resolve_family

    summary = describe_family(resolve_family(settings_of(model=model).model))
    if json:
        print_json({"models": [_as_json(summary)]})
        return
    for line in _as_lines(summary):
        write_text(line)


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
