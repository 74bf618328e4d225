"""`localgpt backup FILE`: the store as one sealed file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localgpt.cli.console import note, print_json, progress, write_text
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.options import DataDirOption, JsonOption, settings_of
from localgpt.errors import ConfigError
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.server.store.backup import BackupReport

__all__ = ["PassphraseFileOption", "backup", "read_passphrase", "read_words", "report_json", "report_words"]

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Holds the backup's own passphrase; LOCALGPT_BACKUP_PASSPHRASE goes first. Default: the store's "
        "own key seals the backup.",
    ),
]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; must not be there.")],
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Write conversations, pictures, keys and settings into one sealed file, also while the server runs.

    Without a passphrase only the key file (or passphrase, or keyring) of this store opens it: keep a copy of
    store.key elsewhere, or give the backup a passphrase.
    """
    from localgpt.server.store.backup import create_backup

    passphrase = read_passphrase(passphrase_file)
    with progress(f"Writing {file}"), graceful_interrupts():
        report = create_backup(settings_of(data_dir=data_dir), file, passphrase)
    if json:
        print_json({"path": str(file), **report_json(report)})
        return
    write_text(f"{file}: {report_words(report)}, {format_bytes(report.num_bytes)}")
    if report.sealed_by == "file":
        note("only this store's key file opens it: keep a copy of store.key elsewhere")
    elif report.sealed_by == "none":
        note("encryption is off: whoever has the file can read it")


def read_passphrase(file: Path | None) -> str | None:
    """The backup's own passphrase: of the environment, else of the file; None without either.

    Raises:
        ConfigError: the file cannot be read, or what should hold words is empty.
    """
    words = os.environ.get("LOCALGPT_BACKUP_PASSPHRASE")
    if words is not None:
        if not words.strip():
            raise ConfigError("LOCALGPT_BACKUP_PASSPHRASE is empty; choose several words, or leave it unset")
        return words
    return None if file is None else read_words(file)


def read_words(file: Path) -> str:
    """The passphrase in a file, without the white space around it.

    Raises:
        ConfigError: the file cannot be read, or holds nothing.
    """
    try:
        words = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the passphrase file {file} ({error})") from None
    if not words:
        raise ConfigError(f"the passphrase file {file} is empty; write one line of several words into it")
    return words


def report_json(report: BackupReport) -> dict[str, object]:
    """What a backup holds, as JSON."""
    return {
        "conversations": report.num_conversations,
        "messages": report.num_messages,
        "bytes": report.num_bytes,
        "created_at": report.created_at,
        "sealed_by": report.sealed_by,
    }


def report_words(report: BackupReport) -> str:
    """What a backup holds, in words."""
    return f"{report.num_conversations} conversations, {report.num_messages} messages"
