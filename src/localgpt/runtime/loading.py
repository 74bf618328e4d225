"""Building a service: find the model, choose the device, load, and start; at once or in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch

from localgpt.checkpoints import load_family, read_layout
from localgpt.checkpoints.family import read_info
from localgpt.compute import resolve_device
from localgpt.compute.memory import Budget, Ledger, PeakBook, device_of, reserve_bytes
from localgpt.compute.native.loading import load_native_family
from localgpt.compute.opencl.loading import load_opencl_family
from localgpt.errors import BackendError, ConfigError
from localgpt.nn.linear import hear_deprecations
from localgpt.runtime.finishing import Finisher, PictureOptions
from localgpt.runtime.holdings import MemoryOptions, host_budget
from localgpt.runtime.local import LocalService
from localgpt.runtime.members import Members
from localgpt.runtime.models import Models
from localgpt.runtime.naming import resolve_model
from localgpt.runtime.open.base import Fast, Quantize
from localgpt.runtime.open.service import OpenOptions, OpenService
from localgpt.runtime.open.shelf import Shelf, ShelfModel
from localgpt.runtime.remembering import CacheOptions
from localgpt.runtime.switchboard import Switchboard
from localgpt.tasks import Channel, Event, Request, Result, Status
from localgpt.units import MIB

__all__ = ["LazyService", "LoadOptions", "LoadPlan", "load_models", "load_service", "new_ledger", "plan_load"]

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
    data_folder: Path | None = None  # where pulled models are; None: none may be asked for
    quantize: Quantize | Literal["auto"] = "auto"  # of open models
    fast: Fast = "auto"  # of open models
    pictures: PictureOptions = field(default_factory=PictureOptions)  # that are painted


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Options settled on this machine: the model is there, the device is one of this machine."""

    path: Path | None  # of the family; None where the main model is an open one
    device: str
    dtype: torch.dtype | None  # None: int8 on the CPU and in OpenCL, bfloat16 elsewhere
    max_batch_size: int
    notices: tuple[str, ...]  # what differs from what was asked for
    cpu_kernel: bool = True
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    main: ShelfModel | None = None  # the open model that was named instead of a family
    data_folder: Path | None = None
    open_models: OpenOptions = field(default_factory=OpenOptions)
    finisher: Finisher = field(default_factory=lambda: Finisher(PictureOptions()))


def plan_load(options: LoadOptions) -> LoadPlan:
    """Settle everything that can be known before the weights are read.

    Raises:
        ConfigError: the device or the model is unknown, or the filter of pictures cannot be used.
        CheckpointError: the model's folder is incomplete or no model.
    """
    choice = resolve_device(options.device)
    notices = [choice.notice] if choice.notice else []
    is_half_faster = choice.device.startswith(("cuda", "mps"))
    dtype = torch.float16 if options.fp16 and is_half_faster else None
    place = resolve_model(options.model, options.data_folder)
    path, main = (place, None) if isinstance(place, Path) else (None, place)
    if path is not None:
        read_layout(path)
    if options.fp16 and path is not None and choice.device == "cpu":
        notices.append("half precision is slower than int8 on a CPU; using int8 weights instead")
    elif options.fp16 and path is not None and not is_half_faster:
        notices.append("the OpenCL kernels know no half precision; using int8 weights instead")
    on_torch = "cpu" if choice.device.startswith("opencl") else choice.device
    if main is not None and on_torch != choice.device:
        notices.append(f"open models run on no OpenCL device; {main.id} runs on the CPU")
    if main is not None and options.cache.keeps_answers:
        notices.append(f"use_cache keeps answers of the embedded models alone; it has no effect on {main.id}")
    return LoadPlan(
        path=path,
        device=choice.device,
        dtype=dtype,
        max_batch_size=options.max_batch_size,
        notices=tuple(notices),
        cpu_kernel=options.cpu_kernel,
        memory=options.memory,
        cache=options.cache,
        main=main,
        data_folder=options.data_folder,
        finisher=Finisher(options.pictures),
        open_models=OpenOptions(
            device=on_torch,
            fp16=options.fp16,
            quantize=options.quantize,
            fast=options.fast,
            keeps_prompts=options.cache.prompt_mib > 0,
        ),
    )


def load_service(options: LoadOptions | LoadPlan) -> Switchboard:
    """Load a family, and make one service of it and all open models; those are loaded when asked for.

    Raises:
        LocalGPTError: the model or the device cannot be used.
    """
    plan = options if isinstance(options, LoadPlan) else plan_load(options)
    local: LocalService | None = None
    if plan.path is not None:
        local = LocalService(
            load_models(plan),
            max_batch_size=plan.max_batch_size,
            notices=plan.notices,
            device=plan.device,
            memory=plan.memory,
            cache=plan.cache,
        )
    ledger = new_ledger(plan) if local is None else local.ledger
    named = () if plan.main is None else (plan.main,)
    open_models = OpenService(Shelf(plan.data_folder, named), ledger, options=plan.open_models)
    if plan.main is not None:
        _load_main(open_models, plan.main.id)
    return Switchboard(
        local=local,
        open_models=open_models,
        main=None if plan.main is None else plan.main.id,
        notices=plan.notices,
        finisher=plan.finisher,
        members=None if local is None else _members_of(plan, local),
    )


def _members_of(plan: LoadPlan, local: LocalService) -> Members:
    assert plan.path is not None
    layout = read_layout(plan.path)
    return Members(layout, read_info(layout).created, local.ledger, plan.open_models)


def _load_main(open_models: OpenService, name: str) -> None:
    """Load the model that was asked for before anything else; in a thread, for the caller may have a loop."""

    async def load() -> None:
        try:
            await open_models.load(name)
        except BaseException:
            await open_models.close()
            await asyncio.to_thread(open_models.ledger.close)
            raise

    with ThreadPoolExecutor(1, thread_name_prefix="localgpt-load") as thread:
        thread.submit(asyncio.run, load()).result()


def new_ledger(plan: LoadPlan) -> Ledger:
    """The ledger of a device on which there is no family."""
    device = device_of(plan.open_models.device)
    nbytes = device.free_bytes() - reserve_bytes(device)
    if plan.memory.budget_mib is not None:
        nbytes = plan.memory.budget_mib * MIB
    host_bytes = host_budget(device)
    return Ledger(
        device, Budget(nbytes=max(0, nbytes), host_bytes=host_bytes), peaks=PeakBook(plan.memory.peaks_file)
    )


def load_models(plan: LoadPlan) -> Models:
    """Load the networks of a family where the plan wants them.

    Raises:
        ConfigError: the plan names an open model, which is no family.
        LocalGPTError: the model or the device cannot be used.
    """
    if plan.path is None:
        name = "the model" if plan.main is None else plan.main.id
        raise ConfigError(f"{name} is no model of the embedded family's form, which this needs")
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
        self._loaded: Future[Switchboard] = Future()
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

    async def _service(self) -> Switchboard:
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
