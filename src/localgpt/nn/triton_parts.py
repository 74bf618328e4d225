"""What our Triton kernels share; importable without Triton, which CPU builds of torch do not bring.

Notable: without it, kernels are plain functions that nobody may call. A kernel that is launched to overlap
(`nn.launching`) calls `begin` first, and `wait` before it reads what another launch writes, or writes.
"""

from __future__ import annotations

from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

__all__ = ["begin", "jit", "rounded", "tl", "triton", "wait"]


def _plain(function: Any) -> Any:
    return function


jit: Any = _plain if triton is None else triton.jit


@jit
def begin(is_early: tl.constexpr):
    """Let the next kernel come, where kernels overlap."""
    if is_early:
        tl.extra.cuda.gdc_launch_dependents()


@jit
def wait(is_early: tl.constexpr):
    """Until what was launched before has ended, where kernels overlap."""
    if is_early:
        tl.extra.cuda.gdc_wait()


@jit
def rounded(x, like):
    """Numbers as memory of the type that `like` points to would keep them, in float32."""
    return x.to(like.dtype.element_ty).to(tl.float32)
