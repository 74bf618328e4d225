"""CUDA graphs: what runs is captured once and replayed with one launch; torch's HIP build has them, too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from localgpt.nn.launching import can_overlap, overlapping

__all__ = ["Captured", "capture_graph"]

logger = logging.getLogger(__name__)
_WARM_UPS: Final = 2  # libraries choose kernels and take memory
_in_turn: Final[set[int]] = set()  # devices whose driver does not capture kernels that overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A graph, what each replay writes its results to, and what it holds of the device's memory."""

    graph: torch.cuda.CUDAGraph
    out: Any
    nbytes: int


def capture_graph(run: Callable[[], Any], device: torch.device, *, pool: Any = None) -> Captured:
    """Warm up and capture what runs; nothing is in the results yet.

    Other threads may go on allocating meanwhile, as the memory ledger's does. Our kernels overlap where the
    device can do that; older drivers do not capture it, and it runs again with one kernel after the other.

    Args:
        run: reads and writes the same memory each time, of the host's what is pinned alone; makes no weights.
        device: a CUDA or ROCm device, on which it runs.
        pool: memory that is shared with another graph (`CUDAGraph.pool`); None for its own.

    Raises:
        Exception: whatever `run` raises, or the capture; the device is as it was.
    """
    with torch.cuda.device(device):
        index = torch.cuda.current_device()
        if index in _in_turn or not can_overlap(device):
            return _captured(run, pool)
        try:
            with overlapping():
                return _captured(run, pool)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a compiler and a driver raise
            reason = str(error)
        captured = _captured(run, pool)  # after the error, which holds what its frames held
        _in_turn.add(index)
        logger.info("kernels of graphs are launched one after the other (%s)", reason)
    return captured


def _captured(run: Callable[[], Any], pool: Any) -> Captured:
    """The same on the current device."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    index, current = torch.cuda.current_device(), torch.cuda.current_stream()
    stream = _stream(index, "warm up")
    stream.wait_stream(current)
    try:
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                run()
    finally:
        current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    out = _record(run, graph, pool or torch.cuda.graph_pool_handle(), _stream(index, "capture"))
    torch.cuda.empty_cache()
    nbytes = max(0, torch.cuda.memory_reserved() - before)
    return Captured(graph=graph, out=out, nbytes=nbytes)


def _record(run: Callable[[], Any], graph: torch.cuda.CUDAGraph, pool: Any, stream: Any) -> Any:
    """As `torch.cuda.graph` does it, which would also give all pinned memory back that is not in use.

    Models that take turns rest there, and pinning anew takes seconds for each that goes.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    try:
        with torch.cuda.stream(stream):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                out = run()
            finally:
                graph.capture_end()
    except BaseException:
        _end_capture(pool)
        raise
    return out


def _end_capture(pool: Any) -> None:
    """Undo what torch leaves of a capture that was invalid.

    Its allocator would hold back memory for it, and no random number could be drawn any more.
    """
    index = torch.cuda.current_device()
    try:
        torch._C._cuda_endAllocateToPool(index, pool)
    except RuntimeError:  # it has ended, and the rest with it
        return
    torch._C._cuda_releasePool(index, pool)
    generator = torch.cuda.default_generators[index]
    generator.graphsafe_set_state(generator.clone_state())  # of which no capture is under way


@cache
def _stream(device: int, use: str) -> Any:
    """One for each use: libraries keep a workspace for each stream they ever ran on.

    Graphs hold that of the stream they were captured on, so nothing else may run there.
    """
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream
