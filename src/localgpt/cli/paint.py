"""`localgpt paint PROMPT`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from localgpt.cli.console import print_json, write_text
from localgpt.cli.inputs import read_picture, read_text
from localgpt.cli.media import bar, check_target, media_settings, write_file
from localgpt.cli.options import DataDirOption, DeviceOption, FastOption, Fp16Option, JsonOption, ModelOption
from localgpt.cli.session import Session, new_id
from localgpt.errors import InputError
from localgpt.tasks import STAGES, Event, PaintPreview, PaintRequest, PictureFormat

if TYPE_CHECKING:
    from localgpt.tasks import PaintedImage, PaintResult

__all__ = ["paint"]

_KINDS: Final[dict[str, PictureFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_QUALITY: Final = 92  # of JPEG and WebP files
_NegativeOption = Annotated[
    str, typer.Option("--negative", metavar="TEXT", help="What shall not be seen.", show_default=False)
]
_MaskOption = Annotated[
    Path | None,
    typer.Option("--mask", metavar="FILE", help="Of --image: white is painted over, black stays."),
]
_StrengthOption = Annotated[
    float | None,
    typer.Option("--strength", metavar="PART", help="How much of --image is painted over, up to 1."),
]
_StagesOption = Annotated[
    bool, typer.Option("--save-stages", help="Write sketch and middle beside the picture, too.")
]
_HeatMapsOption = Annotated[
    bool,
    typer.Option("--heat-maps", help="Write where each word was looked for beside the picture, too."),
]
_BindWordsOption = Annotated[
    bool | None,
    typer.Option(
        "--bind-words/--no-bind-words",
        help="Keep things where the prompt says they are. Default: as the model does.",
        show_default=False,
    ),
]
_QualityOption = Annotated[
    Literal["low", "medium", "high"],
    typer.Option(
        "--quality", metavar="low|medium|high", help="Half the model's steps, all, or half as many more."
    ),
]


def paint(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to paint; - reads it from standard input.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write it, as PNG, or as JPEG or WebP by its ending. Default: painted.png.",
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Width and height, such as 768x512.")
    ] = None,
    width: Annotated[int | None, typer.Option("--width", metavar="PIXELS", help="With --height.")] = None,
    height: Annotated[int | None, typer.Option("--height", metavar="PIXELS", help="With --width.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Default: the model's own.")
    ] = None,
    quality: _QualityOption = "medium",
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", metavar="SCALE", help="How closely the prompt is followed."),
    ] = None,
    negative: _NegativeOption = "",
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="The same picture again. Default: a fresh one.")
    ] = None,
    num: Annotated[int, typer.Option("--n", metavar="N", help="How many pictures; seeds count up.")] = 1,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="A picture to begin from.")
    ] = None,
    mask: _MaskOption = None,
    strength: _StrengthOption = None,
    save_stages: _StagesOption = False,
    bind_words: _BindWordsOption = None,
    heat_maps: _HeatMapsOption = False,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
    fast: FastOption = None,
) -> None:
    """Paint pictures of a text, from nothing, from a picture, or into the masked part of one.

    Without --model the newest pulled model that paints is taken, and without a size its own, or less where
    memory is short. Writes the files' names; with --json one picture gives {"path", "width", "height",
    "seed", "stages", "seconds"}, several give a list of these. Every file says that it was generated, which
    `localgpt provenance` reads.
    """
    settings = media_settings("paint", model=model, device=device, fp16=fp16, data_dir=data_dir, fast=fast)
    sides = _sides(size, width, height)
    paths = _Paths(out or Path("painted.png"), num)
    request = PaintRequest(
        id=new_id(),
        prompt=read_text(prompt, what="prompt"),
        negative_prompt=negative,
        width=sides[0],
        height=sides[1],
        num_steps=steps,
        guidance_scale=guidance,
        seed=seed,
        num_images=num,
        image=read_picture(image) if image else None,
        mask=read_picture(mask) if mask else None,
        strength=strength,
        num_previews=len(STAGES) - 1 if save_stages else 0,
        effort=quality,
        binds_words=bind_words,
        wants_heat_maps=heat_maps,
        format=paths.kind,
        format_quality=100 if paths.kind == "png" else _QUALITY,
    )
    check_target(paths.of(0))
    with Session(settings) as session, bar("Painting") as watch:
        result: PaintResult = session.run(request, on_event=_saving(paths, watch))
    for index, painted in enumerate(result.images):
        write_file(paths.of(index), painted.data)
        for number, one in enumerate(painted.heat_maps, 1):
            write_file(paths.heat_map(index, number, one.word), one.data)
    answers = _answers(result, paths)
    if json:
        print_json(answers if num > 1 else answers[0])
    else:
        for answer in answers:
            write_text(answer["path"])


class _Paths:
    """Names of the files: the first is as it was given, others are numbered, stages have theirs in it."""

    def __init__(self, out: Path, num: int) -> None:
        self.kind: PictureFormat = _KINDS.get(out.suffix.lower(), "png")
        self._out = out if out.suffix.lower() in _KINDS else Path(f"{out}.png")
        self._num = num

    def of(self, index: int, stage: str = "") -> Path:
        """Where a picture, or a stage of it, goes."""
        number = f"-{index + 1}" if self._num > 1 else ""
        return self._out.with_name(
            f"{self._out.stem}{number}{f'-{stage}' if stage else ''}{self._out.suffix}"
        )

    def heat_map(self, index: int, number: int, word: str) -> Path:
        """Where the heat map of a word goes: a PNG in any case."""
        shown = re.sub(r"[^\w]+", "", word)[:40]
        return self.of(index, f"heat-{number:02}-{shown}").with_suffix(".png")


def _saving(paths: _Paths, watch: Callable[[Event], None]) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if isinstance(event, PaintPreview):
            write_file(paths.of(event.index, event.stage), event.data)
        watch(event)

    return on_event


def _answers(result: PaintResult, paths: _Paths) -> list[dict[str, Any]]:
    return [
        {
            "path": str(paths.of(index)),
            "width": painted.width,
            "height": painted.height,
            "seed": painted.seed,
            "stages": [
                {
                    "name": stage.name,
                    "path": str(paths.of(index, stage.name)),
                    "width": stage.width,
                    "height": stage.height,
                    "steps": stage.num_steps,
                }
                for stage in painted.stages
            ],
            "seconds": round(result.seconds, 3),
        }
        | _heat_maps(painted, paths, index)
        for index, painted in enumerate(result.images)
    ]


def _heat_maps(painted: PaintedImage, paths: _Paths, index: int) -> dict[str, Any]:
    """The files of heat maps, where there are some."""
    if not painted.heat_maps:
        return {}
    names = [
        {"word": one.word, "path": str(paths.heat_map(index, number, one.word))}
        for number, one in enumerate(painted.heat_maps, 1)
    ]
    return {"heat_maps": names}


def _sides(size: str | None, width: int | None, height: int | None) -> tuple[int | None, int | None]:
    if size is None:
        return width, height
    found = re.fullmatch(r"\s*(\d{1,6})\s*[xX*×]\s*(\d{1,6})\s*", size)
    if found is None or width is not None or height is not None:
        raise InputError(
            f"--size is {size!r}; expected width and height, such as 768x512, and no --width or --height",
            param="size",
        )
    return int(found[1]), int(found[2])
