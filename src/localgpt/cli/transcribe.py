"""`localgpt transcribe AUDIO...`."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.media import bar, check_target, media_settings, read_recording, recordings_of, write_file
from localgpt.cli.options import DataDirOption, DeviceOption, Fp16Option, JsonOption, ModelOption
from localgpt.cli.session import Session, new_id
from localgpt.cli.sound_programs import MAX_RECORD_S, record, recorder
from localgpt.errors import InputError
from localgpt.tasks import AudioPart, ListenRequest
from localgpt.tasks.shapes import transcript_of
from localgpt.tasks.subtitles import as_srt, as_vtt

if TYPE_CHECKING:
    from localgpt.tasks import ListenResult

__all__ = ["transcribe"]

_Format = Literal["text", "json", "srt", "vtt"]
_SUFFIXES: Final[dict[_Format, str]] = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def transcribe(
    audio: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[AUDIO...]", help="Recordings, or folders of them; - is standard input."),
    ] = None,
    microphone: Annotated[
        bool,
        typer.Option("--microphone", help="Record now, with a program such as arecord; the Enter key ends."),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="N", help="With --microphone: end after so long by itself."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="LANGUAGE", help="Such as en or zh. Default: found out."),
    ] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Write it in English.")] = False,
    timestamps: Annotated[
        Literal["none", "segment", "word"],
        typer.Option("--timestamps", metavar="none|segment|word", help="What is told when it was said."),
    ] = "segment",
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="Names and words to expect.")
    ] = None,
    format: Annotated[
        Literal["text", "json", "srt", "vtt"],
        typer.Option("--format", metavar="text|json|srt|vtt", help="How to write it."),
    ] = "text",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="A file for it; a folder gets one for each recording. Default: standard output.",
        ),
    ] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
) -> None:
    """Write down what is said in recordings, of any length and in any common format.

    Without --model the newest pulled model that listens is taken, else the embedded one. Silence gives an
    empty text. With --json (or --format json) one recording gives {"text", "language", "segments"}, and
    "words" with --timestamps word; several give a list of these with the recording's name. With --out the
    files' names are written.
    """
    format = "json" if json else format
    if format in ("srt", "vtt") and timestamps == "none":
        raise InputError(f"--format {format} needs times; leave out --timestamps none", param="timestamps")
    if bool(audio) == microphone:
        raise InputError("expected recordings or --microphone, one of the two", param="audio")
    if seconds is not None and not (microphone and 0 < seconds <= MAX_RECORD_S):
        raise InputError(
            f"--seconds is {seconds:g}; expected above 0 and at most {MAX_RECORD_S:,.0f}, with --microphone",
            param="seconds",
        )
    command = recorder() if microphone else ()
    paths = [Path("microphone")] if microphone else recordings_of(audio or [])
    targets = _targets(paths, out, format)
    settings = media_settings("listen", model=model, device=device, fp16=fp16, data_dir=data_dir)
    answers: list[dict[str, Any]] = []
    try:
        with Session(settings) as session:
            for path, target in zip(paths, targets, strict=True):
                recording = AudioPart(data=record(command, seconds)) if microphone else read_recording(path)
                request = ListenRequest(
                    id=new_id(),
                    audio=recording,
                    language=language,
                    translate=translate,
                    timestamps=timestamps,
                    prompt=prompt,
                )
                with bar(f"Listening to {path.name}") as watch:
                    result: ListenResult = session.run(request, on_event=watch, source=str(path))
                answer = transcript_of(result, with_words=timestamps == "word")
                if target is not None:
                    write_file(target, _written(result, format, answer).encode())
                    write_text(str(target))
                elif format == "json":
                    answers.append({"audio": str(path), **answer} if len(paths) > 1 else answer)
                elif format == "text":
                    write_text(f"{path}: {result.text}" if len(paths) > 1 else result.text)
                else:
                    write_text(_written(result, format, answer), end="")
    finally:  # a recording that cannot be read takes nothing away from those before it
        if answers:
            print_json(answers if len(paths) > 1 else answers[0])


def _targets(paths: Sequence[Path], out: Path | None, format: _Format) -> list[Path | None]:
    """Where each transcript goes; None is standard output.

    Raises:
        InputError: it cannot go there.
    """
    if out is None:
        if len(paths) > 1 and format in ("srt", "vtt"):
            raise InputError(
                f"--format {format} is of one recording; got {len(paths)}, have a folder for them with --out",
                param="format",
            )
        return [None] * len(paths)
    out = out.expanduser()
    if not out.is_dir():
        if len(paths) > 1:
            raise InputError(
                f"--out is {out}; {len(paths)} recordings need a folder that is there", param="out"
            )
        check_target(out)
        return [out]
    targets: list[Path | None] = []
    for path in paths:
        target = out / f"{'standard-input' if str(path) == '-' else path.stem}{_SUFFIXES[format]}"
        if target in targets:
            raise InputError(
                f"two recordings would be written to {target}; take them one by one", param="out"
            )
        targets.append(target)
    return targets


def _written(result: ListenResult, format: _Format, answer: dict[str, Any]) -> str:
    """A transcript as a file holds it."""
    if format == "json":
        return f"{dumps(answer, ensure_ascii=False)}\n"
    if format == "text":
        return f"{result.text}\n"
    return as_srt(result) if format == "srt" else as_vtt(result)
