"""`localgpt detect IMAGE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_picture
from localgpt.cli.media import media_settings
from localgpt.cli.options import DataDirOption, DeviceOption, Fp16Option, JsonOption, ModelOption
from localgpt.cli.session import Session, new_id
from localgpt.tasks import DetectRequest
from localgpt.tasks.shapes import objects_of

if TYPE_CHECKING:
    from localgpt.tasks import DetectResult

__all__ = ["detect"]


def detect(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files; - is standard input.")
    ],
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="SCORE", help="Least score, from 0 to 1.")
    ] = 0.5,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="LABEL", help="Only this kind of object; may be repeated."),
    ] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
) -> None:
    """Find objects in pictures.

    Without --model the newest pulled model that detects is taken. Each object is a line of score, label and
    left, top, right and bottom in pixels of the upright picture, surest first. With --json one picture gives
    {"objects": [{"label", "score", "box_xyxy"}]}, several give a list of these with the picture's name.
    """
    settings = media_settings("detect", model=model, device=device, fp16=fp16, data_dir=data_dir)
    pictures = [read_picture(path) for path in images]
    several = len(pictures) > 1
    answers: list[dict[str, Any]] = []
    with Session(settings) as session:
        for path, picture in zip(images, pictures, strict=True):
            request = DetectRequest(
                id=new_id(), image=picture, labels=tuple(labels) if labels else None, threshold=threshold
            )
            result: DetectResult = session.run(request, source=str(path))
            if json:
                answer = objects_of(result)
                answers.append({"image": str(path), **answer} if several else answer)
                continue
            for found in result.objects:
                box = " ".join(f"{side:.1f}" for side in found.box_xyxy)
                line = f"{found.score:.3f}  {found.label}  {box}"
                write_text(f"{path}: {line}" if several else line)
    if json:
        print_json(answers if several else answers[0])
