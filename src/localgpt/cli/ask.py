"""`localgpt ask IMAGE QUESTION`."""

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
    MaxLengthOption,
    ModelOption,
    QuantizeOption,
    UseCacheOption,
    settings_of,
)
from localgpt.cli.session import Session, new_id
from localgpt.tasks import AskRequest, SamplingOptions

__all__ = ["ask"]


def ask(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.")],
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask; - reads it from standard input.")
    ],
    max_length: MaxLengthOption = None,
    json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    use_cache: UseCacheOption = False,
    quantize: QuantizeOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Answer a question about a picture."""
    picture = read_picture(image)
    text = read_text(question, what="question")
    options = SamplingOptions(temperature=0.0, max_tokens=max_length)
    request = AskRequest(id=new_id(), image=picture, question=text, options=options)
    settings = settings_of(
        model=model, device=device, fp16=fp16, use_cache=use_cache, quantize=quantize, data_dir=data_dir
    )
    with Session(settings) as session:
        answer = session.answer(request, source=str(image)).text
    if json:
        print_json({"generated_text": answer})
    else:
        write_text(answer)
