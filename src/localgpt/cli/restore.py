"""`localgpt restore FILE`: a backup back into the data folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from localgpt.cli.backup import PassphraseFileOption, read_passphrase, report_json, report_words
from localgpt.cli.console import print_json, progress, write_text
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.options import DataDirOption, JsonOption, settings_of

__all__ = ["restore"]


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written by 'localgpt backup'.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the store that is there.")] = False,
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Put a backup into the data folder; the server must be stopped.

    Everything is checked before anything is replaced.
    """
    from localgpt.server.store.backup import restore_backup
    from localgpt.settings import data_folder

    settings = settings_of(data_dir=data_dir)
    passphrase = read_passphrase(passphrase_file)
    with progress(f"Reading {file}"), graceful_interrupts():
        report = restore_backup(settings, file, passphrase, force=force)
    folder = data_folder(settings)
    if json:
        print_json({"path": str(folder), **report_json(report)})
    else:
        when = datetime.fromtimestamp(report.created_at, UTC)
        write_text(f"{folder}: {report_words(report)}, as of {when:%Y-%m-%d %H:%M} UTC")
