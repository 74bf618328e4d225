"""A denoiser's forward pass in fixed shapes, replayed as a CUDA graph: one for each shape that is asked for.

What a graph reads and writes stays where it was captured: inputs are copied in, results are copied out. The
first call of a shape warms up, captures and replays, so that it gives a result like every other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localgpt.compute.graphs import capture_graph

__all__ = ["Capture", "GraphedForward", "capture_cuda"]

logger = logging.getLogger(__name__)

Run = Callable[[], Any]
Capture = Callable[[Run], tuple[Callable[[], None], Any, int]]
"""From what is to be run to what runs it again, its results, overwritten each time, and bytes it holds."""


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
        self.nbytes = 0  # of what the graphs hold
        self.refusal = ""  # why nothing is captured any more

    @property
    def num_graphs(self) -> int:
        """How many shapes were captured."""
        return len(self._graphs)

    def __call__(self, phase: Any, *args: Any, **kwargs: Any) -> Any:
        """Run it; `phase` tells runs of one shape apart that do different things.

        Where it cannot be captured, or there is no memory for that, it runs as it is from then on.
        """
        if self.refusal:
            return self._forward(*args, **kwargs)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        key = (phase, str(spec), tuple(map(_shape_of, leaves)))
        graph = self._graphs.get(key)
        if graph is None:
            try:
                graph = self._graphs[key] = self._new(leaves, spec)
            except RuntimeError as error:
                logger.warning("a denoiser cannot be captured as a graph", exc_info=True)
                self.give_up((str(error).strip().splitlines() or [type(error).__name__])[0])
        if graph is None:  # after the error, which holds what its frames held
            return self._forward(*args, **kwargs)
        for own, given in zip(graph.inputs, _tensors(leaves), strict=True):
            own.copy_(given)
        graph.replay()
        self._set_kept(graph.kept)
        return pytree.tree_map_only(Tensor, torch.clone, graph.out)

    def give_up(self, why: str) -> None:
        """Capture nothing any more."""
        self.refusal = why
        self.clear()

    def clear(self) -> None:
        """Forget all graphs, and free what they hold."""
        self._graphs.clear()
        self.nbytes = 0

    def _new(self, leaves: list[Any], spec: Any) -> _Graph:
        own = [
            leaf.detach().to(self._device, copy=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves
        ]
        args, kwargs = pytree.tree_unflatten(own, spec)
        run = self._capture(lambda: (self._forward(*args, **kwargs), self._get_kept()))
        replay, (out, kept), nbytes = run
        self.nbytes += nbytes
        return _Graph(inputs=_tensors(own), replay=replay, out=out, kept=kept)


def capture_cuda(run: Run, device: torch.device) -> tuple[Callable[[], None], Any, int]:
    """Capture what runs on a CUDA or ROCm device."""
    captured = capture_graph(run, device)
    return captured.graph.replay, captured.out, captured.nbytes


def _tensors(leaves: list[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _shape_of(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)
