"""`localgpt embed TEXT... --image FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_picture, read_text
from localgpt.cli.options import (
    DataDirOption,
    DeviceOption,
    Fp16Option,
    JsonOption,
    ModelOption,
    QuantizeOption,
    settings_of,
)
from localgpt.cli.session import Session
from localgpt.errors import InputError
from localgpt.tasks import ImagePart, TextPart

__all__ = ["embed"]


def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="Texts; - is standard input.")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="A picture; may be repeated.")
    ] = None,
    json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    quantize: QuantizeOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Turn texts and pictures into vectors of one space.

    Every vector has length one, so that the dot product of two says how alike they are. Texts come first,
    then pictures, each on a line; with --json {"embeddings": [[...], ...]}.
    """
    parts: list[tuple[TextPart | ImagePart, str | None]] = []
    parts += [(TextPart(text=read_text(text, what="text")), None) for text in texts or []]
    parts += [(read_picture(path), str(path)) for path in images or []]
    if not parts:
        raise InputError("nothing to embed; expected texts, or pictures with --image")
    settings = settings_of(model=model, device=device, fp16=fp16, quantize=quantize, data_dir=data_dir)
    with Session(settings) as session:
        vectors = [session.embed(part, source=source) for part, source in parts]
    if json:
        print_json({"embeddings": vectors})
        return
    for vector in vectors:
        write_text(" ".join(f"{value:.6f}" for value in vector))
