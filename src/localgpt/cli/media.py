"""What the commands for pictures and sound share: a model for the job, progress, files written at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from localgpt.errors import AudioFormatError, InputError
from localgpt.tasks import AudioPart, Event, Progress
from localgpt.units import format_bytes

if TYPE_CHECKING:
    from localgpt.checkpoints.catalogue import Job
    from localgpt.settings import Settings

__all__ = ["bar", "check_target", "media_settings", "read_recording", "recordings_of", "write_file"]

_SOUND_SUFFIXES: Final = frozenset((
    ".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".webm", ".mkv", ".aiff",
    ".aif", ".wma", ".amr", ".mov", ".avi", ".3gp",
))  # fmt: skip


def media_settings(job: Job, *, model: str | None, **values: Any) -> Settings:
    """Settings with a model for a job: the one that was named, else the newest pulled one that can.

    Raises:
        InputError: none was named and none that can was pulled; names one of the catalogue.
    """
    from localgpt.cli.options import settings_of
    from localgpt.runtime.lacking import model_for
    from localgpt.settings import data_folder

    if model is None:
        settings = settings_of(**values)
        model = model_for(job, data_folder(settings), preferred=settings.model)
    return settings_of(model=model, **values)


@contextmanager
def bar(what: str) -> Iterator[Callable[[Event], None]]:
    """A bar of `Progress` events on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)

        def watch(event: Event) -> None:
            if isinstance(event, Progress):
                total = None if event.total is None else round(event.total)
                shown.update(task, completed=round(event.done), total=total)

        yield watch


def read_recording(path: Path) -> AudioPart:
    """A recording: a file, which is read as it is heard, or the bytes of standard input for "-".

    Raises:
        InputError: it cannot be read.
        AudioFormatError: a pipe brings more than memory shall hold.
    """
    from localgpt.media.audio import MAX_AUDIO_BYTES

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_AUDIO_BYTES + 1)
        else:
            path = path.expanduser()
            with path.open("rb") as file:
                if path.is_file():
                    return AudioPart(path=str(path.absolute()))
                data = file.read(MAX_AUDIO_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:  # unreadable, no such home, impossible name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the recording {path}: {reason}", param="audio") from None
    if len(data) > MAX_AUDIO_BYTES:
        raise AudioFormatError(
            f"{path} has more than {format_bytes(MAX_AUDIO_BYTES)}; cut it into parts", param="audio"
        )
    return AudioPart(data=data)


def recordings_of(paths: list[Path]) -> list[Path]:
    """Files as they are, and all recordings below folders, in order.

    Raises:
        InputError: a folder without recordings.
    """
    found: list[Path] = []
    for path in paths:
        if str(path) == "-" or not path.expanduser().is_dir():
            if str(path) != "-" and not path.expanduser().exists():
                raise InputError(f"cannot read the recording {path}: there is no such file", param="audio")
            found.append(path)
            continue
        inside = sorted(
            file
            for file in path.expanduser().rglob("*")
            if file.suffix.lower() in _SOUND_SUFFIXES and file.is_file()
        )
        if not inside:
            raise InputError(
                f"no recordings in {path}; expected files such as .wav, .mp3 or .m4a", param="audio"
            )
        found += inside
    return found


def check_target(path: Path) -> None:
    """Refuse a name that no file can be written under, before any work is done for it.

    Raises:
        InputError: its folder is not there, or it is a folder.
    """
    path = path.expanduser()
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder", param="out")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}", param="out")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    path = path.expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="out") from None
