"""`OpenService`: the TaskService of open checkpoints in this process.

* A model is loaded by the first request for it, which waits; others that come meanwhile wait for the same
  load.
* The memory ledger decides what stays: a model that nobody uses gives way to one that is asked for, first
  what it remembers, then its weights to the machine's memory where the device has its own, then altogether.
* A model that was removed, or pulled anew, is let go with its last answer; where it had none, once somebody
  looks what there is. What was pulled anew answers from then on.
* A model answers one request after the other, in the order in which there is memory for them; on a CPU
  several models answer at once (see `lanes`).
* A model that does not fit is refused with what is missing and what would fit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final

from localgpt.compute.memory import Ledger, Need, Reservation, Size, TooLarge, make_plan
from localgpt.engine.async_engine import within
from localgpt.errors import CancelledRequestError, CapacityError, InputError, LocalGPTError
from localgpt.runtime.memory_status import memory_status
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel, load_open
from localgpt.runtime.open.fitting import what_would_fit
from localgpt.runtime.open.home import OpenHome
from localgpt.runtime.open.homes import Homes, OpenOptions
from localgpt.runtime.open.lanes import Lanes
from localgpt.runtime.open.shelf import TASKS, Shelf, ShelfModel, readable
from localgpt.runtime.open.work import Work
from localgpt.tasks import (
    Channel,
    EmbedRequest,
    Event,
    Finished,
    ModelStatus,
    Request,
    Result,
    Status,
)
from localgpt.units import format_bytes

__all__ = ["OpenOptions", "OpenService", "task_of"]

_KIND_OF_REQUEST: Final = "Request"


class OpenService:
    """Runs open models; implements `tasks.TaskService`. May be used from several event loops.

    Args:
        shelf: what may be asked for.
        ledger: of the device that `options` names.
        options: how models run.
        load: reads a checkpoint.
    """

    def __init__(
        self,
        shelf: Shelf,
        ledger: Ledger,
        *,
        options: OpenOptions | None = None,
        load: Callable[[OpenCheckpoint], OpenModel] = load_open,
    ) -> None:
        self.shelf, self.ledger = shelf, ledger
        self._options = options or OpenOptions()
        self._homes = Homes(shelf, ledger, self._options, load)
        self._lanes = Lanes(is_shared=self._options.device != "cpu")
        self._lock = threading.Lock()
        self._running: set[Work] = set()
        self._num_waiting = 0
        self._is_closed = False

    async def load(self, name: str) -> None:
        """Load a model before anybody asks it something.

        Raises:
            InputError: there is none of that name; `param` is "model".
            LocalGPTError: it cannot be loaded.
        """
        model = self._known(name)
        async with self._at_home(model) as home, AsyncExitStack() as stack:
            await self._reserve(stack, model, self._loading(home))

    async def run(self, request: Request) -> Result:
        """Run one request to its end.

        Raises:
            LocalGPTError: the request was refused, failed, or met its deadline.
        """
        async with aclosing(self._work(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("work ended without its last event")

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request and yield its events; the last one is `Finished`.

        Raises:
            InputError: the request is one to embed, which has no events.
        """
        if isinstance(request, EmbedRequest):
            raise InputError("got a request to embed, expected one with an answer to stream", param="stream")
        return self._work(request)

    async def open(self, request: Request) -> Channel:
        """Refused: open models hold no channels.

        Raises:
            InputError: always.
        """
        raise InputError(f"the model {request.model} has no voice channel", param="model")

    async def status(self) -> Status:
        """The models that may be asked for, and how busy this service is."""
        models = await asyncio.to_thread(self._statuses)
        homes = self._homes.all()
        with self._lock:
            num_running, num_waiting = len(self._running), self._num_waiting
        return Status(
            ready=not self._is_closed,
            device=self._options.device,
            dtype="",
            models=tuple(models),
            resident_bytes=sum(home.nbytes for home in homes if home.model is not None),
            num_running=num_running,
            num_waiting=num_waiting,
            max_batch_size=1,
            notices=tuple(
                f"{home.name}: {text}"
                for home in homes
                if home.model is not None
                for text in home.model.notices
            ),
            memory=memory_status(self.ledger),
        )

    async def close(self) -> None:
        """End what runs, refuse what comes, and let the models go. May be called twice."""
        self._is_closed = True
        with self._lock:
            running = list(self._running)
        for work in running:
            work.cancel()
        await asyncio.to_thread(self._lanes.close)
        for let_go in self._homes.take_all():
            await asyncio.to_thread(let_go)

    async def _work(self, request: Request) -> AsyncGenerator[Event]:
        self._check_open()
        deadline = _deadline_of(request)
        model = self._find(request)
        async with (
            self._at_home(model, deadline) as home,
            aclosing(self._work_at(home, model, request, deadline)) as events,
        ):
            async for event in events:
                yield event

    async def _work_at(
        self, home: OpenHome, model: ShelfModel, request: Request, deadline: float | None
    ) -> AsyncGenerator[Event]:
        with self._lock:
            self._num_waiting += 1
        is_waiting = True
        work = Work()
        try:
            async with AsyncExitStack() as stack:
                sizes = await within(deadline, self._sizes(model, home, request))
                need = self._need(home, f"{task_of(request)} with {model.id}", sizes)
                reservation = await within(deadline, self._reserve(stack, model, need))
                loaded = home.model
                assert loaded is not None
                with self._lock:
                    self._num_waiting -= 1
                    self._running.add(work)
                is_waiting = False
                self._check_open()
                work.start(self._lanes.of(home.name), loaded, request, reservation.size)
                stack.push_async_callback(work.ended)
                async for event in await stack.enter_async_context(aclosing(work.events(deadline))):
                    yield event
        finally:
            with self._lock:
                self._num_waiting -= is_waiting
                self._running.discard(work)
            home.tell_cache()

    async def _sizes(self, model: ShelfModel, home: OpenHome, request: Request) -> tuple[Size, ...]:
        """What the work will take, asked of the loaded model, which is loaded for that if it has to be."""
        async with AsyncExitStack() as stack:
            await self._reserve(stack, model, self._loading(home))
            loaded = home.model
            assert loaded is not None
            self._check_open()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._lanes.of(home.name), partial(loaded.sizes, request))

    async def _reserve(self, stack: AsyncExitStack, model: ShelfModel, need: Need) -> Reservation:
        """Memory until the stack ends.

        Raises:
            CapacityError: it never fits; says by how much, and what would.
        """
        try:
            return await stack.enter_async_context(self.ledger.reserve(need))
        except CapacityError as error:
            plan = make_plan(self.ledger.state(), need)
            if isinstance(plan, TooLarge):
                raise self._too_large(model, need, plan) from error
            raise

    def _too_large(self, model: ShelfModel, need: Need, plan: TooLarge) -> CapacityError:
        hints = what_would_fit(model, self.shelf.catalogue, plan, self._homes.options_for(model))
        return CapacityError(
            f"{need.name} needs {format_bytes(plan.least_bytes)} on {self.ledger.device.id}, which is "
            f"{format_bytes(plan.short_bytes)} more than the {format_bytes(plan.room_bytes)} that can be "
            f"made free; {hints}, or raise --memory-budget"
        )

    def _loading(self, home: OpenHome) -> Need:
        """Have a model on its device, whatever it will be asked."""
        return self._need(home, f"loading {home.name}", (Size(shape="loading", nbytes=0),))

    def _need(self, home: OpenHome, name: str, sizes: tuple[Size, ...]) -> Need:
        dtype = home.model.dtype if home.model is not None else home.checkpoint.quantize
        model = home.checkpoint.id
        return Need(name=name, model=model, dtype=dtype, sizes=sizes, residents=(home.name,))

    def _find(self, request: Request) -> ShelfModel:
        """The model that a request names, if it does what is asked.

        Raises:
            InputError: there is none, or it does something else; `param` is "model".
            CheckpointError: it cannot be run here.
        """
        model = self._known(request.model)
        if (task := task_of(request)) not in TASKS[model.kind]:
            can = ", ".join(TASKS[model.kind])
            raise InputError(
                f"the model {model.id} cannot {task}, it can {can}; {_others(self.shelf, task)}",
                param="model",
            )
        return model

    def _known(self, name: str) -> ShelfModel:
        model = self.shelf.find(name)
        if model is None:
            known = ", ".join(one.id for one in self.shelf.models())
            raise InputError(
                f"the model {name!r} is not known, expected {known or 'one that was pulled'}", param="model"
            )
        return model

    @asynccontextmanager
    async def _at_home(self, model: ShelfModel, deadline: float | None = None) -> AsyncGenerator[OpenHome]:
        """Where a model lives, which is not let go meanwhile."""
        await within(deadline, asyncio.to_thread(self._homes.let_go_removed))
        while (home := self._homes.enter(model)) is None:
            await within(deadline, asyncio.to_thread(self._homes.make, model))
        try:
            yield home
        finally:
            self._homes.leave(model)
            await asyncio.to_thread(self._let_go_removed)

    def _let_go_removed(self) -> None:
        """Free what was removed while this was its last answer, whose caller is not told of trouble there."""
        with suppress(LocalGPTError, OSError):
            self._homes.let_go_removed()

    def _statuses(self) -> list[ModelStatus]:
        self._homes.let_go_removed()
        models = self.shelf.models()
        homes = {model.id: self._homes.find(model) for model in models}
        found = []
        for status in readable(models):
            home = homes[status.id]
            loaded = home.status if home is not None else None
            found.append(status if loaded is None else replace(loaded, names=status.names))
        return found

    def _check_open(self) -> None:
        if self._is_closed:
            raise CancelledRequestError("LocalGPT is closing; the request was not answered")


def task_of(request: Request) -> str:
    """The task of a request: its class says it."""
    return type(request).__name__.removesuffix(_KIND_OF_REQUEST).lower()


def _others(shelf: Shelf, task: str) -> str:
    """Where to go with a task."""
    here = [status.id for status in readable(shelf.models()) if task in status.tasks]
    return f"use {' or '.join(here)}" if here else "localgpt models lists those that can"


def _deadline_of(request: Request) -> float | None:
    if request.deadline_s is None:
        return None
    return asyncio.get_running_loop().time() + request.deadline_s
