"""Options that several commands share, and the settings they amount to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from localgpt.settings import Settings

__all__ = [
    "DataDirOption",
    "DeviceOption",
    "FastOption",
    "Fp16Option",
    "JsonOption",
    "MaxLengthOption",
    "ModelOption",
    "QuantizeOption",
    "UseCacheOption",
    "settings_of",
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A model folder, a file written by 'localgpt models export', a GGUF file, or a pulled model by "
        "its name in the catalogue or as OWNER/NAME. Default: the embedded models.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda:N, rocm:N, opencl:N or mps. Default: auto, the best that torch has here.",
    ),
]
Fp16Option = Annotated[bool, typer.Option("--fp16", help="Half precision on a GPU: less memory.")]
UseCacheOption = Annotated[
    bool,
    typer.Option(
        "--use-cache",
        help="Answer the same question quicker the next time, in the same words (the embedded models).",
    ),
]
QuantizeOption = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        metavar="BITS",
        help="Weights of open models: none, int8, int4, or auto, the most precise that fit. Default: auto.",
    ),
]
FastOption = Annotated[
    str | None,
    typer.Option(
        "--fast",
        metavar="HOW",
        help="Of open models: off, exact (the same up to rounding), compiled (so too; the first work of each "
        "shape waits for it), max (pictures change a little). Default: off.",
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option("--max-length", "--max-tokens", metavar="N", min=1, help="Most tokens of the answer."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Where LocalGPT keeps its state."),
]


def settings_of(**values: Any) -> Settings:
    """Settings of the options that were given; the environment and the defaults say the rest.

    Raises:
        ConfigError: a value is impossible.
    """
    from localgpt.settings import build_settings

    given = {name: value for name, value in values.items() if not _is_left_out(value)}
    return build_settings(**given)


def _is_left_out(value: Any) -> bool:
    """Whether an option was not given; 0 is a value, though it equals False."""
    return value is None or value is False or value == []
