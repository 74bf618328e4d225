"""Building a service: find the model, choose the device, load, and start; at once or in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import torch

from localgpt.checkpoints import load_family, read_layout, resolve_family
from localgpt.compute import resolve_device
from localgpt.compute.native.loading import load_native_family
from localgpt.compute.opencl.loading import load_opencl_family
from localgpt.errors import BackendError
from localgpt.nn.linear import hear_deprecations
from localgpt.runtime.holdings import MemoryOptions
from localgpt.runtime.local import LocalService
from localgpt.runtime.models import Models
from localgpt.runtime.remembering import CacheOptions
from localgpt.tasks import Channel, Event, Request, Result, Status

__all__ = ["LazyService", "LoadOptions", "LoadPlan", "load_models", "load_service", "plan_load"]

logger = logging.getLogger(__name__)
_JOIN_S = 0.7  # less than a server waits for its service to close


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What to load and where; see `localgpt.settings.Settings` for the meaning of each."""

    model: str | None = None
    device: str = "auto"
    fp16: bool = False
    max_batch_size: int = 4
    cpu_kernel: bool = True  # decode on the CPU in C++ where it can; False: in torch
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Options settled on this machine: the model is there, the device is one of this machine."""

    path: Path
    device: str
    dtype: torch.dtype | None  # None: int8 on the CPU and in OpenCL, bfloat16 elsewhere
    max_batch_size: int
    notices: tuple[str, ...]  # what differs from what was asked for
    cpu_kernel: bool = True
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)


def plan_load(options: LoadOptions) -> LoadPlan:
    """Settle everything that can be known before the weights are read.

    Raises:
        ConfigError: the device or the model is unknown.
        CheckpointError: the model's folder is incomplete or no model.
    """
    choice = resolve_device(options.device)
    notices = [choice.notice] if choice.notice else []
    is_half_faster = choice.device.startswith(("cuda", "mps"))
    dtype = torch.float16 if options.fp16 and is_half_faster else None
    if options.fp16 and choice.device == "cpu":
        notices.append("half precision is slower than int8 on a CPU; using int8 weights instead")
    elif options.fp16 and not is_half_faster:
        notices.append("the OpenCL kernels know no half precision; using int8 weights instead")
    path = resolve_family(options.model)
    read_layout(path)
    return LoadPlan(
        path=path,
        device=choice.device,
        dtype=dtype,
        max_batch_size=options.max_batch_size,
        notices=tuple(notices),
        cpu_kernel=options.cpu_kernel,
        memory=options.memory,
        cache=options.cache,
    )


def load_service(options: LoadOptions | LoadPlan) -> LocalService:
    """Load a family and make a service of it.

    Raises:
        LocalGPTError: the model or the device cannot be used.
    """
    plan = options if isinstance(options, LoadPlan) else plan_load(options)
    return LocalService(
        load_models(plan),
        max_batch_size=plan.max_batch_size,
        notices=plan.notices,
        device=plan.device,
        memory=plan.memory,
        cache=plan.cache,
    )


def load_models(plan: LoadPlan) -> Models:
    """Load the networks of a family where the plan wants them.

    Raises:
        LocalGPTError: the model or the device cannot be used.
    """
    if plan.device.startswith("opencl"):
        return load_opencl_family(plan.path, plan.device)
    if plan.device == "cpu" and plan.dtype is None and plan.cpu_kernel:
        try:
            return load_native_family(plan.path)
        except BackendError as error:
            logger.info("decoding in torch: %s", error)
    return load_family(plan.path, device=plan.device, dtype=plan.dtype)


class LazyService:
    """A TaskService that loads in a thread while the server already listens; requests wait for it.

    A load that fails is told to every request that waited or comes later.

    Args:
        plan: what to load.
    """

    def __init__(self, plan: LoadPlan) -> None:
        self._loaded: Future[LocalService] = Future()
        self._loaded.set_running_or_notify_cancel()  # a caller who goes away cannot cancel it for the others
        self.plan = plan
        self._thread: threading.Thread | None = None

    def start(self, *, on_failure: Callable[[], None] | None = None) -> None:
        """Begin to load, once.

        Args:
            on_failure: called in the loading thread.
        """
        hear_deprecations()
        load = partial(self._load, on_failure)
        self._thread = threading.Thread(target=load, name="localgpt-load", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> BaseException | None:
        """Why the load failed, once it has."""
        return self._loaded.exception() if self._loaded.done() else None

    async def loaded(self) -> None:
        """Wait until the models are loaded.

        Raises:
            LocalGPTError: they cannot be.
        """
        await self._service()

    async def run(self, request: Request) -> Result:
        """Run one request, once the models are loaded."""
        return await (await self._service()).run(request)

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Stream one request, once the models are loaded."""
        service = await self._service()
        async with aclosing(cast("AsyncGenerator[Event]", service.stream(request))) as events:
            async for event in events:
                yield event

    async def open(self, request: Request) -> Channel:
        """Open a channel, once the models are loaded."""
        return await (await self._service()).open(request)

    async def status(self) -> Status:
        """Status of the loaded service; before that, "not ready", at once."""
        if self._loaded.done():
            return await self._loaded.result().status()
        return Status(
            ready=False,
            device=self.plan.device,
            dtype="",
            models=(),
            resident_bytes=0,
            num_running=0,
            num_waiting=0,
            max_batch_size=self.plan.max_batch_size,
            notices=self.plan.notices,
        )

    async def close(self) -> None:
        """Free what is loaded; a load that still runs gets a moment, then it is left to the process's end."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_S)
        if self._loaded.done() and self._loaded.exception() is None:
            await self._loaded.result().close()

    async def _service(self) -> LocalService:
        return await asyncio.wrap_future(self._loaded)

    def _load(self, on_failure: Callable[[], None] | None) -> None:
        try:
            service = load_service(self.plan)
            for notice in service.notices[len(self.plan.notices) :]:
                logger.warning("%s", notice)
            self._loaded.set_result(service)
        except BaseException as error:  # noqa: BLE001 - handed to everyone who waits
            self._loaded.set_exception(error)
            if on_failure is not None:
                on_failure()
