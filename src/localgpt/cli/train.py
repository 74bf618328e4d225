"""`localgpt train RECIPE`: run a training recipe of the source tree."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer

from localgpt.cli.console import note, print_json, write_text
from localgpt.cli.options import DeviceOption, Fp16Option, JsonOption, settings_of
from localgpt.errors import ConfigError

__all__ = ["train"]


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="decoder, encoder, joint, export, restore, painter, painter_export, upsampler, "
            "icon_judge, speaker, speaker_export, listener, listener_real, listener_prune or "
            "listener_export.",
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", exists=True, file_okay=False, help="What it reads.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", file_okay=False, help="Where it writes.")],
    init: Annotated[
        Path | None,
        typer.Option(
            "--init", metavar="FOLDER", exists=True, file_okay=False, help="Checkpoints to start from."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Length in steps.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="N", min=0.01, help="Length in minutes. Default: the recipe's."),
    ] = None,
    size: Annotated[
        Literal["full", "tiny"],
        typer.Option("--size", metavar="full|tiny", help="tiny: a trial of seconds on a CPU."),
    ] = "full",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed, the same run.")] = 0,
    json: JsonOption = False,
    device: DeviceOption = None,
    fp16: Fp16Option = False,
) -> None:
    """Run a training recipe; needs a checkout of the project.

    The record of the run (command, commit, seed, minutes, figures) is written into the output folder and its
    figures are the answer; the log goes to standard error.
    """
    registry = _registry()
    if recipe not in registry.RECIPES:
        raise ConfigError(f"no recipe is called {recipe!r}; known recipes: {', '.join(registry.RECIPES)}")
    from localgpt.compute import resolve_device

    settings = settings_of(device=device, fp16=fp16)
    choice = resolve_device(settings.device)
    if choice.notice:
        note(choice.notice)
    if choice.device.startswith("opencl"):
        raise ConfigError(f"the device {choice.device} answers but does not train; use cpu, cuda:N or rocm:N")
    options = importlib.import_module("recipes.common").RunOptions(
        data=data,
        out=out,
        init=init,
        steps=steps,
        minutes=minutes,
        size=size,
        seed=seed,
        device=choice.device,
        fp16=settings.fp16,
    )
    figures = registry.run_recipe(recipe, options)
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        write_text(f"{name}: {value}")


def _registry() -> ModuleType:
    """The module `recipes.registry`, which only a checkout has.

    Raises:
        ConfigError: this is an installed package without the source tree.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "recipes" / "registry.py").is_file():
        raise ConfigError(
            "the recipes are part of the source tree, not of the installed package; clone the project and "
            "run this there"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("recipes.registry")
