"""Whether a model fits a machine, from what its weights need and what has to stay free beside them."""

from __future__ import annotations

from dataclasses import dataclass

from localgpt.checkpoints.catalogue.entries import CatalogueEntry, Precision
from localgpt.units import GIB

__all__ = ["Fit", "fit_to"]

_RESERVE_BYTES = round(1.6 * GIB)  # activations, caches, and what else the machine does


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a model fits."""

    precision: Precision | None  # the best that does; None if none does
    lacking_bytes: int  # at the smallest precision; 0 if it fits


def fit_to(entry: CatalogueEntry, memory_bytes: int) -> Fit:
    """The best precision at which a model's weights leave a reserve of 1.6 GiB free.

    Args:
        entry: the model.
        memory_bytes: of the device that would run it.
    """
    room = memory_bytes - _RESERVE_BYTES
    for precision in entry.precisions:
        if entry.memory_bytes(precision) <= room:
            return Fit(precision=precision, lacking_bytes=0)
    return Fit(precision=None, lacking_bytes=entry.memory_bytes(entry.precisions[-1]) - room)
