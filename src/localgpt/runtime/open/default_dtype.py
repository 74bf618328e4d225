"""The dtype that libraries give to what they allocate without one, in one thread alone.

transformers and diffusers build a network by setting torch's default dtype, which is the whole process's: a
voice that draws its noise in another thread meanwhile draws it in half precision. Here the functions that
allocate are told the dtype instead, by a mode of torch, which is the thread's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["allocating", "leave_the_default_alone"]

# What makes floating-point numbers whatever it is given, unless it is told a dtype.
_OF_FLOATS: Final = frozenset(
    {
        torch.empty,
        torch.zeros,
        torch.ones,
        torch.rand,
        torch.randn,
        torch.eye,
        torch.linspace,
        torch.logspace,
        torch.hann_window,
        torch.hamming_window,
        torch.blackman_window,
        torch.kaiser_window,
    }
)
# What makes them of Python's floats alone.
_OF_VALUES: Final = frozenset(
    {torch.arange, torch.full, torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor}
)


@contextmanager
def allocating(dtype: torch.dtype, _for_class: str | None = None) -> Iterator[None]:
    """Have what this thread allocates without a dtype be of this one.

    Args:
        dtype: a floating-point one.
    """
    with _Allocating(dtype):
        yield


@cache
def leave_the_default_alone() -> None:
    """Have transformers build its networks by `allocating` from now on, whoever asks it."""
    from transformers import modeling_utils

    library: Any = modeling_utils
    library.local_torch_dtype = allocating


class _Allocating(TorchFunctionMode):
    """See `allocating`."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") is not None:
            return func(*args, **kwargs)
        if func in _OF_FLOATS:
            return func(*args, **kwargs | {"dtype": self._dtype})
        made = func(*args, **kwargs)
        if func in _OF_VALUES and made.dtype == torch.get_default_dtype() and not _has_dtype(args, kwargs):
            return made.to(self._dtype)
        return made


def _has_dtype(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the values that are given have a dtype of their own, as tensors and arrays do."""
    return any(
        isinstance(value, Tensor) or hasattr(value, "__array__") for value in (*args, *kwargs.values())
    )
