"""How our Triton kernels are launched: where their tensors are, and whether they may overlap.

Notable: a kernel that overlaps begins before the one in front of it has ended, and reads its weights
meanwhile (programmatic dependent launch, NVIDIA from Hopper on). That is right only where weights were
complete before the work began, as in a graph that is captured; a kernel right behind the one that makes its
weights could read them too early. So nothing overlaps outside of `overlapping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import torch

__all__ = ["can_overlap", "may_overlap", "on", "overlap", "overlapping"]

_OVERLAPS_FROM: Final = (9, 0)  # compute capability
_may: Final[ContextVar[bool]] = ContextVar("may_overlap", default=False)


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device the current one, which is where Triton launches."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def overlap(device: torch.device) -> tuple[dict[str, bool], bool]:
    """Options of a launch on a device, and whether the kernel overlaps: then it has to `wait`."""
    overlaps = may_overlap() and can_overlap(device)
    return ({"launch_pdl": True} if overlaps else {}), overlaps


def may_overlap() -> bool:
    """Whether the work at hand may overlap."""
    return _may.get()


def can_overlap(device: torch.device) -> bool:
    """Whether a device, and Triton as it is installed, have what that takes."""
    return device.type == "cuda" and _has_programmatic_launch(device.index)


@contextmanager
def overlapping() -> Iterator[None]:
    """Work whose weights are complete: its kernels may overlap."""
    token = _may.set(True)
    try:
        yield
    finally:
        _may.reset(token)


@cache
def _has_programmatic_launch(index: int | None) -> bool:
    if torch.version.hip is not None or torch.cuda.get_device_capability(index) < _OVERLAPS_FROM:
        return False
    try:
        return find_spec("triton.language.extra.cuda.gdc") is not None  # older releases have none
    except ModuleNotFoundError:  # of what it lies in
        return False
