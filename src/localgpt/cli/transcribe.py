"""`localgpt transcribe AUDIO...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.media import bar, media_settings, read_recording, recordings_of
from localgpt.cli.options import DataDirOption, DeviceOption, Fp16Option, JsonOption, ModelOption
from localgpt.cli.session import Session, new_id
from localgpt.errors import InputError
from localgpt.tasks import ListenRequest
from localgpt.tasks.shapes import transcript_of
from localgpt.tasks.subtitles import as_srt, as_vtt

if TYPE_CHECKING:
    from localgpt.tasks import ListenResult

__all__ = ["transcribe"]


def transcribe(
    audio: Annotated[
        list[Path],
        typer.Argument(metavar="AUDIO...", help="Recordings, or folders of them; - is standard input."),
    ],
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
    json: JsonOption = False,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
) -> None:
    """Write down what is said in recordings, of any length and in any common format.

    Without --model the newest pulled model that listens is taken. Silence gives an empty text. With --json
    (or --format json) one recording gives {"text", "language", "segments"}, and "words" with --timestamps
    word; several give a list of these with the recording's name.
    """
    format = "json" if json else format
    if format in ("srt", "vtt") and timestamps == "none":
        raise InputError(f"--format {format} needs times; leave out --timestamps none", param="timestamps")
    paths = recordings_of(audio)
    several = len(paths) > 1
    if several and format in ("srt", "vtt"):
        raise InputError(f"--format {format} is of one recording; got {len(paths)}", param="format")
    settings = media_settings("listen", model=model, device=device, fp16=fp16, data_dir=data_dir)
    answers: list[dict[str, Any]] = []
    with Session(settings) as session:
        for path in paths:
            request = ListenRequest(
                id=new_id(),
                audio=read_recording(path),
                language=language,
                translate=translate,
                timestamps=timestamps,
                prompt=prompt,
            )
            with bar(f"Listening to {path.name}") as watch:
                result: ListenResult = session.run(request, on_event=watch, source=str(path))
            if format == "json":
                answer = transcript_of(result, with_words=timestamps == "word")
                answers.append({"audio": str(path), **answer} if several else answer)
            elif format == "text":
                write_text(f"{path}: {result.text}" if several else result.text)
            else:
                write_text(as_srt(result) if format == "srt" else as_vtt(result), end="")
    if format == "json":
        print_json(answers if several else answers[0])
