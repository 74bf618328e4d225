"""What the server counts, in a registry of its own: two applications in one process do not mix.

Labels are routes as written in the code, methods, statuses and fixed reasons; nothing a caller wrote.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from localgpt.tasks import Status, Usage

__all__ = ["AnswerMeter", "Metrics", "RecentRate", "process_bytes", "total_process_bytes"]

_WINDOW_S = 60
_TOKEN_BUCKETS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)
_WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RecentRate:
    """How many a second, over those of the last sixty seconds in which there were any.

    Args:
        clock: seconds from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, int]] = deque()  # (second, number)

    def add(self, number: int) -> None:
        """Count some now."""
        now = int(self._clock())
        if self._seconds and self._seconds[-1][0] == now:
            number += self._seconds.pop()[1]
        self._seconds.append((now, number))
        self._forget(now)

    def per_s(self) -> float:
        """The rate; 0 when there were none for a minute."""
        self._forget(int(self._clock()))
        if not self._seconds:
            return 0.0
        return sum(number for _, number in self._seconds) / len(self._seconds)

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] <= now - _WINDOW_S:
            self._seconds.popleft()


class Metrics:
    """Counters, histograms and gauges of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.recent_tokens = RecentRate()
        self._requests = Counter(
            "localgpt_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "localgpt_request_seconds",
            "First byte to last.",
            ["route"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "localgpt_admissions_refused",
            "Requests for model work not let in.",
            ["reason"],
            registry=registry,
        )
        self._tokens = Counter(
            "localgpt_tokens", "Tokens read (in) and written (out).", ["direction"], registry=registry
        )
        self.queue_seconds = Histogram(
            "localgpt_queue_seconds", "Waiting for a turn.", buckets=_WAIT_BUCKETS, registry=registry
        )
        self.first_token_seconds = Histogram(
            "localgpt_time_to_first_token_seconds",
            "Arrival to the first piece of a streamed answer.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.inter_token_seconds = Histogram(
            "localgpt_inter_token_seconds",
            "From piece to piece of a streamed answer.",
            buckets=_TOKEN_BUCKETS,
            registry=registry,
        )
        self.calls = Gauge("localgpt_calls", "Spoken conversations that are open.", registry=registry)
        self._voice_seconds = Histogram(
            "localgpt_voice_seconds",
            "End of the user's turn to the first sound of the answer.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._gauges = {
            name: Gauge(f"localgpt_{name}", text, registry=registry)
            for name, text in (
                ("ready", "1 once the models are loaded."),
                ("running", "Requests being answered."),
                ("waiting", "Requests waiting for their turn."),
                ("model_resident_bytes", "Memory of the models and their caches."),
                (
                    "process_bytes",
                    "Resident memory of this process and that of the models; -1 where it cannot be told.",
                ),
                ("model_process_bytes", "Resident memory of the models' own process; 0 where there is none."),
                ("asyncio_tasks", "Tasks of the event loop, the one that answers this included."),
            )
        }
        ProcessCollector(registry=registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the route as written in the code, not the path that was asked for."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count one request for model work that was not let in."""
        self._refused.labels(reason).inc()

    def voice_turn(self, first_sound_ms: float | None) -> None:
        """Count one turn of a spoken conversation; None where its answer had no sound."""
        if first_sound_ms is not None:
            self._voice_seconds.observe(max(0.0, first_sound_ms / 1000))

    def answer(self, arrived: float) -> AnswerMeter:
        """A meter for one piece of model work that arrived at that time of the running event loop."""
        return AnswerMeter(self, arrived)

    def count_tokens(self, usage: Usage) -> None:
        """Count what one request read and wrote."""
        self._tokens.labels("in").inc(usage.prompt_tokens)
        self._tokens.labels("out").inc(usage.completion_tokens)

    def page(self, status: Status) -> bytes:
        """Everything in the text format of Prometheus; called in the event loop."""
        now = {
            "ready": int(status.ready),
            "running": status.num_running,
            "waiting": status.num_waiting,
            "model_resident_bytes": status.resident_bytes,
            "process_bytes": -1 if (resident := total_process_bytes(status)) is None else resident,
            "model_process_bytes": status.model_process_bytes or 0,
            "asyncio_tasks": len(asyncio.all_tasks()),
        }
        for name, value in now.items():
            self._gauges[name].set(value)
        return generate_latest(self.registry)


class AnswerMeter:
    """Times of one piece of model work, and its tokens as they come."""

    def __init__(self, metrics: Metrics, arrived: float) -> None:
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._arrived = arrived
        self._last_piece: float | None = None
        self._num_pieces = 0

    def started(self) -> None:
        """Its turn has come."""
        self._metrics.queue_seconds.observe(self._clock() - self._arrived)

    def piece(self) -> None:
        """A piece of the answer is there; about one token."""
        now = self._clock()
        if self._last_piece is None:
            self._metrics.first_token_seconds.observe(now - self._arrived)
        else:
            self._metrics.inter_token_seconds.observe(now - self._last_piece)
        self._last_piece = now
        self._num_pieces += 1
        self._metrics.recent_tokens.add(1)

    def finished(self, usage: Usage) -> None:
        """The answer is whole: its tokens are known exactly."""
        self._metrics.count_tokens(usage)
        if usage.completion_tokens > self._num_pieces:
            self._metrics.recent_tokens.add(usage.completion_tokens - self._num_pieces)


def total_process_bytes(status: Status) -> int | None:
    """Resident memory of this process and of the models' own one, or None where it cannot be told."""
    own = process_bytes()
    return None if own is None else own + (status.model_process_bytes or 0)


def process_bytes() -> int | None:
    """Resident memory of this process, or None where it cannot be told."""
    try:
        num_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _peak_bytes()
    import resource

    return num_pages * resource.getpagesize()


def _peak_bytes() -> int | None:
    """Where the present size is not told without a further library: the largest there was (macOS)."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
