"""Work on the files of models, in threads: one piece for each model, two at once, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from localgpt.checkpoints.hub.transfer import Stop
from localgpt.errors import BusyModelError, CancelledRequestError, LocalGPTError, UnknownModelError
from localgpt.tasks.kept_models import JobKind, JobState, JobStatus

__all__ = ["Job", "Jobs"]

logger = logging.getLogger(__name__)
_MAX_AT_ONCE = 2
_MAX_KEPT = 50  # that are over, and still told of
_TELL_EVERY_S = 0.25
_LOOK_AGAIN_S = 1.0  # a rate falls although nothing comes that could tell of it
_WINDOW_S = 6.0  # over which the rate is taken


class Job:
    """One piece of work, as its thread tells of it; the methods may be called from any thread.

    Args:
        repo: the model, owner/name.
        id: what requests call it.
        kind: what is done.
        revision: of the model.
        on_change: called when there is something to tell; now, or when the next watcher has time.
        clock: seconds.
    """

    def __init__(
        self,
        repo: str,
        id: str,
        kind: JobKind,
        revision: str,
        *,
        on_change: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.repo, self.id, self.kind, self.revision = repo, id, kind, revision
        self.stop = Stop()  # a pull that fails sets it too, to end its own threads
        self.is_cancelled = False
        self._on_change, self._clock = on_change, clock
        self._lock = threading.Lock()
        self._state: JobState = "waiting"
        self._total = self._here = 0
        self._came: deque[tuple[float, int]] = deque()
        self._files: dict[str, int] = {}  # parts of each that are under way, the last begun last
        self._notes: list[str] = []
        self._error: LocalGPTError | None = None

    def cancel(self) -> None:
        """Have it end soon."""
        self.is_cancelled = True
        self.stop.set()

    def began(self) -> None:
        """Its turn has come."""
        with self._lock:
            self._state = "running"
        self._on_change(True)

    def sized(self, total: int, here: int) -> None:
        """How many bytes there are to work on, and how many are done."""
        with self._lock:
            self._total, self._here = total, here
        self._on_change(True)

    def came(self, num_bytes: int) -> None:
        """So many more are done; less than zero when some have to be done again."""
        with self._lock:
            self._here += num_bytes
            self._came.append((self._clock(), num_bytes))
            self._forget_old()
        self._on_change(False)

    def part(self, name: str, is_over: bool) -> None:
        """A part of a file is begun or over."""
        with self._lock:
            num_parts = self._files.pop(name, 0) + (-1 if is_over else 1)
            if num_parts > 0:
                self._files[name] = num_parts
        self._on_change(False)

    def note(self, line: str) -> None:
        """Something a user should know."""
        with self._lock:
            self._notes.append(line)
        self._on_change(True)

    def ended(self, error: LocalGPTError | None) -> None:
        """It is over; None if it went well."""
        with self._lock:
            is_cancelled = isinstance(error, CancelledRequestError)
            self._state = "cancelled" if is_cancelled else "failed" if error else "done"
            self._error = None if is_cancelled else error
            self._files.clear()
            self._came.clear()
        self._on_change(True)

    @property
    def status(self) -> JobStatus:
        """How it is."""
        with self._lock:
            self._forget_old()
            rate = self._rate()
            left = max(0, self._total - self._here)
            is_read = self.kind == "pull" and self._state == "running" and self._total > 0 and left == 0
            return JobStatus(
                repo=self.repo,
                id=self.id,
                kind=self.kind,
                state="checking" if is_read else self._state,
                revision=self.revision,
                total_bytes=self._total,
                here_bytes=self._here,
                bytes_per_s=rate,
                remaining_s=left / rate if rate > 0 and self._total else None,
                file=next(reversed(self._files), None),
                num_parts=sum(self._files.values()),
                notes=tuple(self._notes),
                error=self._error,
            )

    def _rate(self) -> float:
        if not self._came:
            return 0.0
        passed = max(self._clock() - self._came[0][0], _TELL_EVERY_S)
        return max(0.0, sum(num_bytes for _, num_bytes in self._came) / passed)

    def _forget_old(self) -> None:
        oldest = self._clock() - _WINDOW_S
        while self._came and self._came[0][0] < oldest:
            self._came.popleft()


class Jobs:
    """All work there is. Its methods are called from the event loop, the work is done in threads.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}  # the last one of each model
        self._queue: deque[tuple[Job, Callable[[Job], None]]] = deque()
        self._num_running = 0
        self._is_closed = False
        self._watchers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._told_at = 0.0

    def start(
        self, repo: str, id: str, kind: JobKind, revision: str, work: Callable[[Job], None]
    ) -> JobStatus:
        """Begin with some work on a model, or find it begun.

        Args:
            repo: the model, owner/name.
            id: what requests call it.
            kind: what is done.
            revision: of the model.
            work: called in a thread; raises a LocalGPTError where it fails.

        Raises:
            BusyModelError: other work is being done on that model.
        """
        with self._lock:
            known = self._jobs.get(repo)
            if known is not None and not known.status.is_over:
                if (known.kind, known.revision) == (kind, revision):
                    return known.status
                doing = "pulled" if known.kind == "pull" else "checked"
                raise BusyModelError(f"{repo} is being {doing} ({known.revision}); wait for it, or cancel it")
            job = Job(repo, id, kind, revision, on_change=self._tell, clock=self._clock)
            self._jobs.pop(repo, None)
            self._jobs[repo] = job
            self._queue.append((job, work))
            self._drop_old()
        self._begin()
        self._tell(True)
        return job.status

    def cancel(self, repo: str) -> JobStatus:
        """End the work on a model soon; forget it where it has failed.

        Raises:
            UnknownModelError: there is none.
        """
        with self._lock:
            job = self._jobs.get(repo)
            if job is not None and job.status.state == "failed":
                del self._jobs[repo]
                self._tell(True)
                return job.status
            if job is None or job.status.is_over:
                raise UnknownModelError(f"nothing is being done to {repo}; there is nothing to cancel")
            job.cancel()
            waits = [entry for entry in self._queue if entry[0] is job]
            for entry in waits:
                self._queue.remove(entry)
        if waits:
            job.ended(CancelledRequestError("cancelled before it began"))
        return job.status

    def forget(self, repo: str) -> None:
        """Tell no more of work on a model that is over."""
        with self._lock:
            if (job := self._jobs.get(repo)) is not None and job.status.is_over:
                del self._jobs[repo]
        self._tell(True)

    def find(self, repo: str) -> JobStatus | None:
        """How the last work on a model is; None if there was none."""
        with self._lock:
            job = self._jobs.get(repo)
        return None if job is None else job.status

    @property
    def statuses(self) -> tuple[JobStatus, ...]:
        """Of every model's last work, the oldest first."""
        with self._lock:
            return tuple(job.status for job in self._jobs.values())

    async def watch(self) -> AsyncIterator[tuple[JobStatus, ...]]:
        """`statuses`, at once and then whenever they changed, at most four times a second."""
        changed = asyncio.Event()
        self._watchers[changed] = asyncio.get_running_loop()
        try:
            while not self._is_closed:
                changed.clear()
                now = self.statuses
                yield now
                moves = any(not job.is_over for job in now)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_S if moves else None):
                        await changed.wait()
        finally:
            del self._watchers[changed]

    def close(self) -> None:
        """End all work soon; what waits never begins."""
        with self._lock:
            self._is_closed = True
            waiting = [job for job, _ in self._queue]
            self._queue.clear()
            for job in self._jobs.values():
                job.cancel()
        for job in waiting:
            job.ended(CancelledRequestError("the server is stopping"))
        self._tell(True)

    def _begin(self) -> None:
        """Begin with what waits, as far as there is room."""
        while True:
            with self._lock:
                if not self._queue or self._num_running >= _MAX_AT_ONCE or self._is_closed:
                    return
                job, work = self._queue.popleft()
                self._num_running += 1
            threading.Thread(
                target=self._run, args=(job, work), name=f"{job.kind}-model", daemon=True
            ).start()

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        job.began()
        error: LocalGPTError | None = None
        try:
            work(job)
        except LocalGPTError as failure:
            error = failure
        except Exception:
            logger.exception("the work on %s failed", job.repo)
            error = LocalGPTError("an internal error; the server's log has the details")
        if error is not None and job.is_cancelled:  # whatever it met on its way out
            error = CancelledRequestError(f"the work on {job.repo} was stopped")
        job.ended(error)  # first, so that who asks for more work meanwhile does not find this one under way
        with self._lock:
            self._num_running -= 1
        self._begin()

    def _drop_old(self) -> None:
        over = [repo for repo, job in self._jobs.items() if job.status.is_over]
        for repo in over[: max(0, len(over) - _MAX_KEPT)]:
            del self._jobs[repo]

    def _tell(self, now: bool) -> None:
        """Wake who watches; what comes all the time is told of now and then."""
        clock = self._clock()
        if not now and clock < self._told_at + _TELL_EVERY_S:
            return
        self._told_at = clock
        for changed, loop in list(self._watchers.items()):
            with contextlib.suppress(RuntimeError):  # its event loop is closed
                loop.call_soon_threadsafe(changed.set)
