"""A denoiser's forward pass in fixed shapes, replayed as a CUDA graph: one for each shape that is asked for.

What a graph reads and writes stays where it was captured: inputs are copied in, results are copied out. The
first call of a shape warms up, captures and replays, so that it gives a result like every other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["Capture", "GraphedForward", "capture_cuda"]

Run = Callable[[], Any]
Capture = Callable[[Run], tuple[Callable[[], None], Any]]
"""From what is to be run to what runs it again, and its results, which are overwritten each time."""

_WARM_UPS: Final = 2  # libraries choose kernels and take memory


@dataclass(slots=True, kw_only=True)
class _Graph:
    inputs: list[Tensor]
    replay: Callable[[], None]
    out: Any
    kept: Any


class GraphedForward:
    """Calls a forward pass by its graphs.

    Args:
        forward: of tensors in, tensors out, whatever they are nested in.
        device: where it runs; inputs that are elsewhere are copied there.
        capture: makes a graph.
        get_kept: what a run leaves behind for others, kept alive with its graph.
        set_kept: puts it back when the graph has run again.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        device: torch.device,
        *,
        capture: Capture,
        get_kept: Callable[[], Any] = lambda: None,
        set_kept: Callable[[Any], None] = lambda kept: None,
    ) -> None:
        self._forward, self._device, self._capture = forward, device, capture
        self._get_kept, self._set_kept = get_kept, set_kept
        self._graphs: dict[Any, _Graph] = {}
        self.nbytes = 0  # that the allocator grew by while graphs were captured

    @property
    def num_graphs(self) -> int:
        """How many shapes were captured."""
        return len(self._graphs)

    def __call__(self, phase: Any, *args: Any, **kwargs: Any) -> Any:
        """Run it; `phase` tells runs of one shape apart that do different things."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        key = (phase, str(spec), tuple(map(_shape_of, leaves)))
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = self._new(leaves, spec)
        for own, given in zip(graph.inputs, _tensors(leaves), strict=True):
            own.copy_(given)
        graph.replay()
        self._set_kept(graph.kept)
        return pytree.tree_map_only(Tensor, torch.clone, graph.out)

    def clear(self) -> None:
        """Forget all graphs, and free what they hold."""
        self._graphs.clear()
        self.nbytes = 0

    def _new(self, leaves: list[Any], spec: Any) -> _Graph:
        own = [
            leaf.detach().to(self._device, copy=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves
        ]
        args, kwargs = pytree.tree_unflatten(own, spec)
        before = self._reserved()
        replay, (out, kept) = self._capture(lambda: (self._forward(*args, **kwargs), self._get_kept()))
        self.nbytes += max(0, self._reserved() - before)
        return _Graph(inputs=_tensors(own), replay=replay, out=out, kept=kept)

    def _reserved(self) -> int:
        return torch.cuda.memory_reserved(self._device) if self._device.type == "cuda" else 0


def capture_cuda(run: Run) -> tuple[Callable[[], None], Any]:
    """Capture what runs on a CUDA or ROCm device."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph.replay, out


def _tensors(leaves: list[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _shape_of(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)
