"""The engine in its own thread, for callers in any event loop.

Notable: all model work goes through the one worker thread: steps of the engine, and other model calls
(pictures) between two steps. Everything the thread owns is touched by the thread only; callers hand it
commands. The thread starts with the first request. If the loop itself ever fails, every waiting caller is
told why and later requests are refused with the same reason: it never dies silently.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import TypeVar

import torch

from localgpt.engine.engine import Engine, as_localgpt_error
from localgpt.engine.sequence import GenerationRequest, Output, Sequence
from localgpt.errors import BackendError, CancelledRequestError, DeadlineError, LocalGPTError

__all__ = ["AsyncEngine", "within"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Stream:
    """One caller's end: its event loop and the queue it reads. `put` is called in the worker thread."""

    def __init__(self) -> None:
        self.sequence: Sequence | None = None
        self.queue: asyncio.Queue[Output | LocalGPTError] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def put(self, item: Output | LocalGPTError) -> bool:
        """Hand something over; False when the caller's loop is gone."""
        return _tell(self.loop, lambda: self.queue.put_nowait(item))


class AsyncEngine:
    """Answers as async iterators over one `Engine` in one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._streams: dict[Sequence, _Stream] = {}  # of the worker thread
        self._lock = threading.Lock()  # guards the two below
        self._thread: threading.Thread | None = None
        self._end: LocalGPTError | None = None  # why nothing is accepted any more

    @property
    def num_slots(self) -> int:
        """Answers that run at once."""
        return self._engine.runner.cache.num_slots

    @property
    def num_running(self) -> int:
        """Answers that hold a cache slot."""
        return self._engine.scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Answers that wait for one."""
        return self._engine.scheduler.num_waiting

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted."""
        return self._end is None

    async def generate(
        self, request: GenerationRequest, *, deadline: float | None = None
    ) -> AsyncGenerator[Output, None]:
        """Make one answer.

        Closing the iterator, or cancelling the task that reads it, frees the slot before the next step.

        Args:
            request: prompt and options.
            deadline: time of the running event loop after which to give up; None = never.

        Yields:
            One output a token; the last one has a `finish_reason`.

        Raises:
            LocalGPTError: the request was refused, failed, met its deadline, or the engine was closed.
        """
        stream = _Stream()
        self._post(lambda: self._submit(request, stream))
        finished = False
        try:
            while not finished:
                item = await within(deadline, stream.queue.get())
                if isinstance(item, LocalGPTError):
                    finished = True
                    raise item
                finished = item.finish_reason is not None
                if item.error is not None:
                    raise item.error
                yield item
        finally:
            if not finished:
                self._post_if_open(lambda: self._cancel(stream))

    async def call(self, function: Callable[[], T], *, deadline: float | None = None) -> T:
        """Run other model work in the worker thread, between two steps.

        Raises:
            LocalGPTError: the work failed, the deadline passed, or the engine was closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._post(lambda: self._run(function, future, loop))
        return await within(deadline, future)

    def close(self, *, timeout_s: float = 1.5) -> None:
        """Refuse new work, end what runs after the current step, and join the thread. May be called twice."""
        with self._lock:
            if self._end is None:
                self._end = CancelledRequestError("LocalGPT is closing; the answer was not finished")
            thread = self._thread
            self._commands.put(lambda: None)  # wakes the thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if thread.is_alive():
                logger.warning("the model did not finish its step within %.1f s of closing", timeout_s)

    # The caller's side.

    def _post(self, command: Callable[[], None]) -> None:
        with self._lock:
            if self._end is not None:
                raise _fresh(self._end)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="localgpt-engine", daemon=True)
                self._thread.start()
            self._commands.put(command)

    def _post_if_open(self, command: Callable[[], None]) -> None:
        with self._lock:
            if self._end is None:
                self._commands.put(command)

    # The worker thread's side.

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while self._end is None:
                    self._run_commands()
                    if self._end is None and self._engine.has_work:
                        self._deliver(self._engine.step())
                        self._engine.keep_prompts()
        except Exception as error:  # the boundary of the loop
            logger.critical("the engine's loop failed", exc_info=error)
            with self._lock:
                self._end = BackendError(
                    f"the engine stopped after an internal error ({type(error).__name__}: {error}); "
                    "restart LocalGPT"
                )
        finally:
            self._end_all()

    def _run_commands(self) -> None:
        """Run what callers asked for; wait for it when there is nothing else to do."""
        if not self._engine.has_work:
            self._commands.get()()
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _submit(self, request: GenerationRequest, stream: _Stream) -> None:
        if self._end is not None:
            stream.put(_fresh(self._end))
            return
        try:
            stream.sequence = self._engine.submit(request)
        except LocalGPTError as error:
            stream.put(error)
        else:
            self._streams[stream.sequence] = stream

    def _cancel(self, stream: _Stream) -> None:
        if stream.sequence is not None and self._streams.pop(stream.sequence, None) is not None:
            self._engine.cancel(stream.sequence)

    def _run(
        self, function: Callable[[], T], future: asyncio.Future[T], loop: asyncio.AbstractEventLoop
    ) -> None:
        if future.cancelled():
            return
        if self._end is not None:
            _tell(loop, partial(_settle, future, error=_fresh(self._end)))
            return
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - handed to the caller
            _tell(loop, partial(_settle, future, error=as_localgpt_error(error)))
        else:
            _tell(loop, partial(_settle, future, result=result))

    def _deliver(self, outputs: list[Output]) -> None:
        """Hand a step's outputs over, waking each event loop once: every wake-up costs the next step time."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Stream, Output]]] = {}
        for output in outputs:
            stream = self._streams.get(output.sequence)
            if stream is None:
                continue
            if output.finish_reason is not None:
                del self._streams[output.sequence]
            by_loop.setdefault(stream.loop, []).append((stream, output))
        for loop, items in by_loop.items():
            if not _tell(loop, partial(_hand_over, items)):
                for stream, _ in items:
                    self._cancel(stream)

    def _end_all(self) -> None:
        """Tell every caller that it is over."""
        assert self._end is not None
        for stream in self._streams.values():
            stream.put(_fresh(self._end))
        self._streams.clear()
        for sequence in self._engine.scheduler.unfinished:
            self._engine.cancel(sequence)
        while True:
            try:
                self._commands.get_nowait()()
            except queue.Empty:
                return


async def within(deadline: float | None, awaitable: Awaitable[T]) -> T:
    """Await something up to a time of the running event loop (None = for ever).

    Raises:
        DeadlineError: the deadline passed.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await awaitable
    except TimeoutError as error:
        raise DeadlineError("the request was not finished before its deadline") from error


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> bool:
    """Run something in a caller's loop; False when that loop is closed."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def _hand_over(items: list[tuple[_Stream, Output]]) -> None:
    for stream, output in items:
        stream.queue.put_nowait(output)


def _settle(
    future: asyncio.Future[T], *, result: T | None = None, error: LocalGPTError | None = None
) -> None:
    """End a future unless its caller has given up."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]  # a T unless there is an error


def _fresh(error: LocalGPTError) -> LocalGPTError:
    """The same error for another caller: a raised exception carries one caller's traceback."""
    return type(error)(str(error))
