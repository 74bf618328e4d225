"""`localgpt describe IMAGE...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_picture
from localgpt.cli.options import (
    DataDirOption,
    DeviceOption,
    Fp16Option,
    JsonOption,
    MaxLengthOption,
    ModelOption,
    QuantizeOption,
    UseCacheOption,
    settings_of,
)
from localgpt.cli.session import Session, new_id
from localgpt.tasks import DescribeRequest, SamplingOptions

__all__ = ["describe"]


def describe(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files; - is standard input.")
    ],
    language: Annotated[
        Literal["en", "zh"], typer.Option("--language", metavar="en|zh", help="English or Chinese.")
    ] = "en",
    max_length: MaxLengthOption = None,
    json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    use_cache: UseCacheOption = False,
    quantize: QuantizeOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Describe pictures in a sentence.

    One picture gives its description, several give a line each. With --json one picture gives
    {"generated_text": ...}, several give a list of these with the picture's name.
    """
    pictures = [read_picture(path) for path in images]
    options = SamplingOptions(temperature=0.0, max_tokens=max_length)
    several = len(pictures) > 1
    answers: list[dict[str, Any]] = []
    settings = settings_of(
        model=model, device=device, fp16=fp16, use_cache=use_cache, quantize=quantize, data_dir=data_dir
    )
    with Session(settings) as session:
        for path, picture in zip(images, pictures, strict=True):
            request = DescribeRequest(id=new_id(), image=picture, language=language, options=options)
            text = session.answer(request, source=str(path)).text
            answer = {"generated_text": text}
            answers.append({"image": str(path), **answer} if several else answer)
            if not json:
                write_text(f"{path}: {text}" if several else text)
    if json:
        print_json(answers if several else answers[0])
