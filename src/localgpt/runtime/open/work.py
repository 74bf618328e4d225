"""One request in the thread of open models, and its events on their way to the event loop that asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor, Future

import torch

from localgpt.compute.memory.state import Size
from localgpt.engine.async_engine import within
from localgpt.engine.engine import as_localgpt_error
from localgpt.errors import LocalGPTError
from localgpt.runtime.open.base import OpenModel
from localgpt.tasks import Event, Finished, Request

__all__ = ["Work"]


class Work:
    """Runs `OpenModel.answer` in a thread; made in the caller's event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | LocalGPTError] = asyncio.Queue()
        self._is_cancelled = threading.Event()
        self._future: Future[None] | None = None

    def start(self, thread: Executor, model: OpenModel, request: Request, size: Size) -> None:
        """Hand the work to the thread."""
        self._future = thread.submit(self._run, model, request, size)

    def cancel(self) -> None:
        """Have the work end soon."""
        self._is_cancelled.set()

    async def events(self, deadline: float | None) -> AsyncGenerator[Event]:
        """Events as they happen; the last one is `Finished`.

        Raises:
            LocalGPTError: the work was refused, failed, or met its deadline.
        """
        while True:
            item = await within(deadline, self._queue.get())
            if isinstance(item, LocalGPTError):
                raise item
            yield item
            if isinstance(item, Finished):
                return

    async def ended(self) -> None:
        """Wait until the thread is done with the model, whoever loses patience meanwhile."""
        self.cancel()
        if self._future is None or self._future.cancel():
            return
        was_cancelled = False
        while not self._future.done():
            try:
                await asyncio.wait([asyncio.wrap_future(self._future)])
            except asyncio.CancelledError:
                was_cancelled = True
        if was_cancelled:
            raise asyncio.CancelledError

    def _run(self, model: OpenModel, request: Request, size: Size) -> None:
        try:
            with torch.inference_mode():
                result = model.answer(request, self._tell, self._is_cancelled.is_set, size)
            self._tell(Finished(result=result))
        except Exception as error:  # noqa: BLE001 - the boundary between a model and its caller
            self._tell(as_localgpt_error(error))

    def _tell(self, item: Event | LocalGPTError) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the caller's loop is gone, and the caller with it
            self.cancel()
