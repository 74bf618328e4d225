"""`localgpt say TEXT`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_text
from localgpt.cli.media import bar, check_target, media_settings, write_file
from localgpt.cli.options import DataDirOption, DeviceOption, Fp16Option, JsonOption, ModelOption
from localgpt.cli.session import Session, new_id
from localgpt.cli.sound_programs import play as play_file
from localgpt.cli.sound_programs import player
from localgpt.errors import InputError
from localgpt.tasks import SpeakRequest, SpeechFormat

if TYPE_CHECKING:
    from localgpt.tasks import SpeakResult

__all__ = ["say"]

_FORMATS: Final[dict[str, SpeechFormat]] = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".flac": "flac",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".pcm": "pcm",
    ".raw": "pcm",
}


def say(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say; - reads it from standard input.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write it; .wav, .mp3, .flac, .opus, .aac or .pcm say how. Default: spoken.wav, or "
            "nowhere with --play.",
        ),
    ] = None,
    play: Annotated[
        bool, typer.Option("--play", help="Play it, with a program such as aplay; a file of --out is .wav.")
    ] = False,
    voice: Annotated[
        str | None, typer.Option("--voice", metavar="VOICE", help="Default: the model's first.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="LANGUAGE", help="Default: the voice's own.")
    ] = None,
    speed: Annotated[float, typer.Option("--speed", metavar="FACTOR", help="2 is twice as fast.")] = 1.0,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="The same recording again.")] = None,
    sample_rate: Annotated[
        int | None, typer.Option("--sample-rate", metavar="HZ", help="Default: the model's own.")
    ] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
) -> None:
    """Say a text into a file, or aloud.

    Without --model the newest pulled model that speaks is taken, else the embedded one. Writes the file's
    name; with --json {"path", "sample_rate", "seconds"}: the seconds are those of the recording, and
    without a file the path is null.
    """
    command = player() if play else ()
    settings = media_settings("speak", model=model, device=device, fp16=fp16, data_dir=data_dir)
    format: SpeechFormat = "wav"
    if out is None and not play:
        out = Path("spoken.wav")
    if out is not None:
        format = _format_of(out, is_played=play)
        check_target(out)
    request = SpeakRequest(
        id=new_id(),
        text=read_text(text, what="text"),
        voice=voice,
        language=language,
        speed=speed,
        seed=seed,
        sample_rate=sample_rate,
        format=format,
    )
    with Session(settings) as session, bar("Speaking") as watch:
        result: SpeakResult = session.run(request, on_event=watch)
    if out is not None:
        write_file(out, result.data)
    if json:
        path = None if out is None else str(out)
        print_json({"path": path, "sample_rate": result.sample_rate, "seconds": round(result.duration_s, 3)})
    elif out is not None:
        write_text(str(out))
    if play:
        _play(command, result.data)


def _format_of(out: Path, *, is_played: bool) -> SpeechFormat:
    suffix = out.suffix.lower()
    if suffix not in _FORMATS or (is_played and suffix != ".wav"):
        expected = ".wav, which --play plays" if is_played else ", ".join(_FORMATS)
        raise InputError(f"--out is {str(out)!r}; expected a name that ends with {expected}", param="out")
    return _FORMATS[suffix]


def _play(command: tuple[str, ...], data: bytes) -> None:
    with TemporaryDirectory(prefix="localgpt-") as folder:
        path = Path(folder) / "spoken.wav"
        path.write_bytes(data)
        play_file(command, path)
