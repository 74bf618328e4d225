"""Keeps a process of the models running: connects it to the event loop, and starts another where one ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from localgpt.errors import BackendError, CancelledRequestError
from localgpt.tasks import Status
from localgpt.tasks.wire import decode_status
from localgpt.worker.frames import Frame, Kind
from localgpt.worker.link import Link
from localgpt.worker.messages import Plan, copy_error, decode_error, decode_plan
from localgpt.worker.process import ModelProcess

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)
_EXIT_S: Final = 1.0  # from a closed socket to the end of the process, and of what it said
_CLOSE_S: Final = 0.6  # less than a server waits for its service to close
_CALM_S: Final = 60.0  # the end of a process that lived so long is the first one again
_MAX_PAUSE_S: Final = 30.0


class Keeper:
    """One process after the other; the first begins to load with this object.

    Args:
        launch: starts a process; called again where one ends, in the event loop's thread.
        on_frame: called with every frame that is about no process as a whole.
        on_loaded: called with the first status of each process.
        on_end: called with the reason when a process has ended that had loaded.
        pause_s: before the second start in a row; doubled for each one after it.
    """

    def __init__(
        self,
        launch: Callable[[], ModelProcess],
        *,
        on_frame: Callable[[Frame], None],
        on_loaded: Callable[[Status], None],
        on_end: Callable[[BaseException], None],
        pause_s: float = 1.0,
    ) -> None:
        self._launch = launch
        self._on_frame = on_frame
        self._on_loaded = on_loaded
        self._on_end = on_end
        self._pause_s = pause_s
        self._process = launch()
        self._plan: Plan | None = None
        self.failure: BaseException | None = None  # why the first process loaded nothing
        self.loaded: Link | None = None  # to a process that answers
        self._link: Link | None = None  # to a process, from its start to its end
        self._refusal: BaseException | None = None  # why requests do not even wait
        self._settled = asyncio.Event()  # one of `loaded` and `_refusal` is there
        self._failed: BaseException | None = None  # what the process says of its end
        self._has_ever_loaded = False
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def plan(self) -> Plan:
        """What is loaded where; blocks the first time, until the process has settled that.

        Raises:
            LocalGPTError: the model or the device cannot be used.
        """
        if self._plan is None:
            self._plan = self._process.wait_for_plan()
        return self._plan

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def start(self, on_failure: Callable[[], None] | None) -> None:
        """Take part in the running event loop, once.

        Args:
            on_failure: called when the first process has loaded nothing.
        """
        assert self.plan  # read before the event loop reads what follows
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep_safely(on_failure), name="localgpt-worker")

    async def link(self) -> Link:
        """Wait for a process that answers.

        Raises:
            LocalGPTError, RemoteError: there is none, and waiting a little would not help.
        """
        while True:
            await self._settled.wait()
            if self._refusal is not None:
                raise copy_error(self._refusal)
            if self.loaded is not None:
                return self.loaded

    async def close(self) -> None:
        """End the process: it ends what runs, and says so; may be called twice."""
        self._is_closing = True
        self._refuse(CancelledRequestError("LocalGPT is closing; the answer was not finished"))
        try:
            if self._task is not None and self._link is not None:
                self._link.send(Kind.CLOSE)
                async with asyncio.timeout(_CLOSE_S):
                    await asyncio.wait([self._task])
        except TimeoutError:
            logger.warning("the models did not stop within %.1f s; ending their process", _CLOSE_S)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
            self.kill()

    def kill(self) -> None:
        """End the process at once; also where the event loop is gone."""
        self._process.end()

    async def _keep_safely(self, on_failure: Callable[[], None] | None) -> None:
        try:
            await self._keep(on_failure)
        except Exception as error:  # the boundary of the task: it never dies silently
            logger.critical("the keeper of the model process failed", exc_info=error)
            self._refuse(
                BackendError(
                    f"the model process is no longer kept running, after an internal error "
                    f"({type(error).__name__}: {error}); restart LocalGPT"
                )
            )

    async def _keep(self, on_failure: Callable[[], None] | None) -> None:
        clock = asyncio.get_running_loop().time
        num_ends = 0
        while True:
            begun = clock()
            reason = await self._live()
            if self._is_closing:
                return
            if not self._has_ever_loaded:
                self.failure = reason
                self._refuse(reason)
                if on_failure is not None:
                    on_failure()
                return
            num_ends = 1 if clock() - begun > _CALM_S else num_ends + 1
            await self._start_again(num_ends, reason)

    async def _live(self) -> BaseException:
        """One process, from its connection to its end, and why it ended."""
        process, self._failed = self._process, None
        link = self._link = Link(self._take)
        lines, pipe = await process.listen_to_log()
        try:
            await link.connect(process.socket)
            await link.ended()
            has_loaded = self.loaded is not None
            self._unload()  # at once: whoever comes while it ends waits for the next one
            how = await asyncio.to_thread(process.end, grace_s=0.0 if link.failure else _EXIT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_S):
                    await lines.over()
        finally:
            self._unload()
            self._link = None
            link.abort()
            pipe.close()
            process.end()
        if link.failure is not None and not self._is_closing:
            how = f"sent what cannot be read ({link.failure}) and {how}"
        reason = self._failed
        if reason is None:
            doing = "with what it was answering" if has_loaded else "while it loaded the models"
            reason = BackendError(f"the model process {how}, {doing}; it is started again, so try again soon")
        if has_loaded:
            self._on_end(reason)
        return reason

    def _unload(self) -> None:
        self.loaded = None
        if self._refusal is None:
            self._settled.clear()

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.PLAN:
                self._plan = decode_plan(frame.body)
            case Kind.LOADED:
                self._on_loaded(decode_status(frame.body))
                self.loaded, self._has_ever_loaded = self._link, True
                if not self._is_closing:
                    self._settled.set()
            case Kind.FAILED:
                self._failed = decode_error(frame.body)
            case _:
                self._on_frame(frame)

    async def _start_again(self, num_ends: int, reason: BaseException) -> None:
        """Another process, after a pause that grows with the number of ends in a row."""
        pause_s = 0.0 if num_ends == 1 else min(self._pause_s * 2 ** (num_ends - 2), _MAX_PAUSE_S)
        while True:
            logger.error("%s (the next process starts in %.0f s)", reason, pause_s)
            if pause_s:
                self._refuse(reason)
                await asyncio.sleep(pause_s)
            self._refusal = None
            self._settled.clear()
            try:
                self._process = self._launch()
                return
            except OSError as error:
                reason = BackendError(f"the model process cannot be started ({error}); try again soon")
                pause_s = _MAX_PAUSE_S

    def _refuse(self, reason: BaseException) -> None:
        self._refusal = reason
        self._settled.set()
