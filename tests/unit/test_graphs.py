"""Capturing graphs: how kernels are launched meanwhile, and what is left of a capture that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from localgpt.compute import graphs
from localgpt.compute.graphs import capture_graph
from localgpt.compute.memory import give_back_pinned
from localgpt.nn import launching
from localgpt.nn.launching import may_overlap, overlap, overlapping

CARD = torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device here")


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


class Card:
    """Stands for torch with a card, whose captures end like torch's: an invalid one undoes nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, can_overlap: bool = True) -> None:
        self.home = self.stream = Stream()
        self.streams: dict[str, Stream] = {}  # by what they are for
        self.pools: list[Any] = []  # that are allocated to
        self.released: list[Any] = []
        self.is_in_capture = self.is_invalid = False
        self.generator = SimpleNamespace(state="old", clone_state=lambda: "new")
        self.generator.graphsafe_set_state = lambda state: setattr(self.generator, "state", state)
        cuda = SimpleNamespace(
            CUDAGraph=lambda: SimpleNamespace(capture_begin=self.begin, capture_end=self.end),
            current_device=lambda: 0,
            current_stream=lambda: self.stream,
            default_generators=[self.generator],
            device=lambda device: nullcontext(),
            empty_cache=lambda: None,
            graph_pool_handle=lambda: "own",
            memory_reserved=lambda: 0,
            stream=self.on,
            synchronize=lambda: None,
        )
        private = SimpleNamespace(
            _cuda_endAllocateToPool=self.end_allocate,
            _cuda_releasePool=lambda _, pool: self.released.append(pool),
        )
        fake = SimpleNamespace(cuda=cuda, _C=private, OutOfMemoryError=torch.OutOfMemoryError)
        monkeypatch.setattr(graphs, "torch", fake)
        monkeypatch.setattr(graphs, "can_overlap", lambda device: can_overlap)
        monkeypatch.setattr(graphs, "_stream", lambda index, use: self.streams.setdefault(use, Stream()))
        monkeypatch.setattr(graphs, "_in_turn", set())

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def begin(self, *, pool: Any, capture_error_mode: str) -> None:
        assert self.stream is self.streams["capture"]  # on which nothing runs
        self.is_in_capture, self.is_invalid = True, False
        self.pools.append(pool)

    def end(self) -> None:
        self.is_in_capture = False
        if self.is_invalid:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.pools.pop()

    def refuse(self, why: str) -> None:
        """As a driver does what it does not capture."""
        self.is_invalid = True
        raise RuntimeError(why)

    def end_allocate(self, index: int, pool: Any) -> None:
        if pool not in self.pools:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pools.remove(pool)


def test_kernels_overlap_while_a_graph_is_captured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    assert capture_graph(may_overlap, CARD).out is True
    assert not may_overlap()
    Card(monkeypatch, can_overlap=False)
    assert capture_graph(may_overlap, CARD).out is False


@pytest.mark.parametrize("is_at_launch", [False, True])
def test_what_a_driver_does_not_capture_is_captured_in_turn(
    monkeypatch: pytest.MonkeyPatch, *, is_at_launch: bool
) -> None:
    card, overlapped = Card(monkeypatch), []

    def run() -> str:
        overlapped.append(may_overlap())
        if may_overlap() and (is_at_launch or card.is_in_capture):
            card.refuse("operation not supported")
        return "made"

    assert capture_graph(run, CARD).out == "made"
    assert overlapped[0] and not overlapped[-1]
    overlapped.clear()
    assert capture_graph(run, CARD, pool="given").out == "made"
    assert not any(overlapped)  # it is known by now
    assert card.stream is card.home and not card.pools


@pytest.mark.parametrize("pool", [None, "given"])
def test_nothing_is_left_of_a_capture_that_failed(monkeypatch: pytest.MonkeyPatch, pool: Any) -> None:
    card = Card(monkeypatch, can_overlap=False)

    def run() -> None:
        if card.is_in_capture:
            card.refuse("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="previous error"):
        capture_graph(run, CARD, pool=pool)
    assert card.stream is card.home and card.generator.state == "new"
    assert not card.pools and card.released == [pool or "own"]


def test_memory_that_ran_out_is_no_reason_to_launch_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    overlapped = []

    def run() -> None:
        overlapped.append(may_overlap())
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        capture_graph(run, CARD)
    assert overlapped == [True]


def test_launches_overlap_where_device_and_work_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    able: Callable[[Any], bool] = lambda index: True  # noqa: E731
    monkeypatch.setattr(launching, "_has_programmatic_launch", able)
    assert overlap(CARD) == ({}, False)
    with overlapping():
        assert overlap(CARD) == ({"launch_pdl": True}, True)
        assert overlap(torch.device("cpu")) == ({}, False)
    assert overlap(CARD) == ({}, False)


@needs_cuda
def test_a_card_goes_on_after_a_capture_that_failed() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    x, stream = torch.ones(4, device=device), torch.cuda.current_stream()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            capture_graph(lambda: float(x.sum()), device)  # waits for the card, which no graph can
        assert torch.cuda.current_stream() == stream
        assert bool(torch.randn(4, device=device).isfinite().all())
        torch.cuda.empty_cache()
    captured = capture_graph(lambda: x + 1, device)
    captured.graph.replay()
    assert captured.out.tolist() == [2.0] * 4


@needs_cuda
def test_pinned_memory_is_kept_for_the_next_that_rests_there() -> None:
    torch.empty(2**20, pin_memory=True).fill_(1.0)
    kept = torch.cuda.host_memory_stats()["allocated_bytes.current"]
    x = torch.ones(4, device="cuda")
    capture_graph(lambda: x + 1, torch.device("cuda", torch.cuda.current_device()))
    assert torch.cuda.host_memory_stats()["allocated_bytes.current"] >= kept > 0
    give_back_pinned()
    assert torch.cuda.host_memory_stats()["allocated_bytes.current"] < kept
