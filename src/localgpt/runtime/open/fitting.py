"""How an open model is made to fit: which precision, and what to do where none is small enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from localgpt.checkpoints.catalogue import CatalogueEntry
from localgpt.compute.memory import State, TooLarge
from localgpt.runtime.open.base import OpenKind, Quantize
from localgpt.runtime.open.shelf import ShelfModel
from localgpt.units import GIB, format_bytes

if TYPE_CHECKING:
    from localgpt.runtime.open.homes import OpenOptions

__all__ = ["choose_quantize", "choose_resident", "denoiser_bytes", "what_would_fit"]

_PRECISIONS: Final[tuple[Quantize, ...]] = ("none", "int8", "int4")
_QUANTIZABLE: Final[tuple[OpenKind, ...]] = ("language", "vision")
_GGUF: Final[tuple[OpenKind, ...]] = ("gguf", "gguf-embed")
_DENOISERS: Final = ("unet", "transformer")
_PAINTING_BYTES: Final = 3 * GIB  # for the other parts of a painter, and for what painting takes
_SPARE: Final = 16  # a part of the budget is left for activations
_JOBS: Final[Mapping[OpenKind, str]] = {
    "language": "chat",
    "vision": "vision",
    "clip": "embed",
    "embedder": "embed",
    "paint": "paint",
    "listen": "listen",
    "speak": "speak",
    "detect": "detect",
    "gguf": "chat",
    "gguf-embed": "embed",
}


def choose_quantize(model: ShelfModel, state: State, *, device: str, fp16: bool) -> Quantize:
    """The best precision whose weights leave room for work beside what stays, else the smallest."""
    if model.kind not in _QUANTIZABLE:
        return "none"
    fixed = sum(one.nbytes for one in state.residents if one.is_fixed)
    room = state.budget_bytes - fixed - state.budget_bytes // _SPARE
    for quantize in _PRECISIONS:
        if model.weight_bytes(device=device, fp16=fp16, quantize=quantize) <= room:
            return quantize
    return _PRECISIONS[-1]


def choose_resident(model: ShelfModel, state: State, *, device: str, fp16: bool) -> int | None:
    """How much of a painter's denoiser may lie on a card; None where all of it fits, or there is none."""
    if model.kind != "paint" or not device.startswith("cuda"):
        return None
    fixed = sum(one.nbytes for one in state.residents if one.is_fixed)
    room = max(0, state.budget_bytes - fixed - _PAINTING_BYTES)
    return None if denoiser_bytes(model, device=device, fp16=fp16) <= room else room


def denoiser_bytes(model: ShelfModel, *, device: str, fp16: bool) -> int:
    """Of a painter's largest part, once it is loaded."""
    each = model.weight_bytes(device=device, fp16=fp16, quantize="none") // max(1, model.num_params)
    return each * model.params_in(_DENOISERS)


def what_would_fit(
    model: ShelfModel, catalogue: Mapping[str, CatalogueEntry], plan: TooLarge, options: OpenOptions
) -> str:
    """What somebody can do whose model is too large, as the end of a sentence."""
    hints = []
    now = model.weight_bytes(device=options.device, fp16=options.fp16, quantize=options.quantize)
    room = now - plan.short_bytes  # for weights beside the same work
    if model.kind in _QUANTIZABLE:
        for quantize in _PRECISIONS[1:]:
            takes = model.weight_bytes(device=options.device, fp16=options.fp16, quantize=quantize)
            if takes <= room and takes < now:
                hints.append(f"it fits with --quantize {quantize} ({format_bytes(takes)})")
                break
    smaller = [
        entry
        for entry in catalogue.values()
        if entry.job == _JOBS[model.kind]
        and entry.is_gguf == (model.kind in _GGUF)
        and entry.parameters < model.num_params
        and entry.memory_bytes("int4" if model.kind in _QUANTIZABLE else "fp16") <= room
    ]
    if smaller:
        best = max(smaller, key=lambda entry: entry.parameters)
        hints.append(f"a smaller model that fits is {best.name} (localgpt pull {best.name})")
    return ", or ".join(hints) or "no model of the catalogue for this is small enough"
