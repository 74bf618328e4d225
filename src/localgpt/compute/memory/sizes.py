"""Smaller ways to do the same work: first less context, then fewer at once, then a smaller picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from localgpt.compute.memory.state import Size

__all__ = ["Shape", "smaller_sizes"]

_RESOLUTIONS = (1024, 768, 512)
_MIN_CONTEXT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What decides how much memory a piece of work takes; 0 where it has no such side."""

    context_len: int = 0  # tokens
    batch: int = 1
    resolution_px: int = 0  # the longer side of a picture

    def __str__(self) -> str:
        parts = [f"{self.context_len} tokens"] if self.context_len else []
        parts += [f"{self.resolution_px} px"] if self.resolution_px else []
        return " ".join([*parts, f"x{self.batch}"])


def smaller_sizes(
    wanted: Shape, bytes_of: Callable[[Shape], int], *, min_context_len: int = _MIN_CONTEXT
) -> tuple[Size, ...]:
    """What was asked for, then every smaller way in the order in which they are tried.

    Args:
        wanted: what was asked for.
        bytes_of: an upper estimate of the activations of a shape.
        min_context_len: tokens below which the context is not cut.
    """
    return tuple(
        Size(shape=str(shape), nbytes=bytes_of(shape), notice=_notice(wanted, shape))
        for shape in (wanted, *_smaller(wanted, min_context_len))
    )


def _smaller(shape: Shape, min_context_len: int) -> Iterator[Shape]:
    while shape.context_len > min_context_len:
        shape = replace(shape, context_len=max(min_context_len, shape.context_len // 2))
        yield shape
    while shape.batch > 1:
        shape = replace(shape, batch=shape.batch // 2)
        yield shape
    for resolution in _RESOLUTIONS:
        if resolution < shape.resolution_px:
            shape = replace(shape, resolution_px=resolution)
            yield shape


def _notice(wanted: Shape, shape: Shape) -> str:
    changes = []
    if shape.context_len < wanted.context_len:
        changes.append(f"the context is {shape.context_len:,} tokens instead of {wanted.context_len:,}")
    if shape.batch < wanted.batch:
        changes.append(f"{shape.batch} at once instead of {wanted.batch}")
    if shape.resolution_px < wanted.resolution_px:
        changes.append(f"{shape.resolution_px} px instead of {wanted.resolution_px}")
    return f"Memory is short: {', '.join(changes)}." if changes else ""
