"""CUDA graphs: what runs is captured once and replayed with one launch; torch's HIP build has them, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from localgpt.nn.launching import overlapping

__all__ = ["Captured", "capture_graph"]

_WARM_UPS: Final = 2  # libraries choose kernels and take memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A graph, what each replay writes its results to, and what it holds of the device's memory."""

    graph: torch.cuda.CUDAGraph
    out: Any
    nbytes: int


def capture_graph(run: Callable[[], Any], device: torch.device, *, pool: Any = None) -> Captured:
    """Warm up and capture what runs; nothing is in the results yet.

    Other threads may go on allocating meanwhile, as the memory ledger's does. Our kernels may overlap.

    Args:
        run: reads and writes the same memory each time, of the host's what is pinned alone; makes no weights.
        device: a CUDA or ROCm device, on which it runs.
        pool: memory that is shared with another graph (`CUDAGraph.pool`); None for its own.
    """
    with torch.cuda.device(device), overlapping():
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        stream = _side_stream(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            out = run()
        torch.cuda.empty_cache()
        nbytes = max(0, torch.cuda.memory_reserved() - before)
    return Captured(graph=graph, out=out, nbytes=nbytes)


@cache
def _side_stream(device: int) -> Any:
    """One for all: libraries keep a workspace for each stream they ever ran on."""
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream
