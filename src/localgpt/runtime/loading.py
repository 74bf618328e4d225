"""Building a service: find the model, choose the device, load, and start; at once or in the background."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from localgpt.checkpoints import load_family, resolve_family
from localgpt.compute import resolve_device
from localgpt.runtime.local import LocalService
from localgpt.tasks import Channel, Event, Request, Result, Status

__all__ = ["LazyService", "LoadOptions", "load_service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What to load and where; see `localgpt.settings.Settings` for the meaning of each."""

    model: str | None = None
    device: str = "auto"
    fp16: bool = False
    max_batch_size: int = 4


def load_service(options: LoadOptions) -> LocalService:
    """Load a family and make a service of it.

    Raises:
        LocalGPTError: the model or the device cannot be used.
    """
    choice = resolve_device(options.device)
    notices = [choice.notice] if choice.notice else []
    dtype = torch.float16 if options.fp16 and choice.device != "cpu" else None
    if options.fp16 and choice.device == "cpu":
        notices.append("half precision is unusable on this CPU; using int8 weights instead")
    family = load_family(resolve_family(options.model), device=choice.device, dtype=dtype)
    return LocalService(family, max_batch_size=options.max_batch_size, notices=notices)


class LazyService:
    """A TaskService that loads in a thread while the server already listens; requests wait for it.

    A load that fails is told to every request that waited or comes later.
    """

    def __init__(self, options: LoadOptions) -> None:
        self._loaded: Future[LocalService] = Future()
        self._options = options
        threading.Thread(target=self._load, name="localgpt-load", daemon=True).start()

    async def run(self, request: Request) -> Result:
        """Run one request, once the models are loaded."""
        return await (await self._service()).run(request)

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        """Stream one request, once the models are loaded."""
        service = await self._service()
        events = service.stream(request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    async def open(self, request: Request) -> Channel:
        """Open a channel, once the models are loaded."""
        return await (await self._service()).open(request)

    async def status(self) -> Status:
        """Status of the loaded service; before that, "not ready", at once."""
        if self._loaded.done():
            return await self._loaded.result().status()
        return Status(
            ready=False,
            device=self._options.device,
            dtype="",
            models=(),
            resident_bytes=0,
            num_running=0,
            num_waiting=0,
            max_batch_size=self._options.max_batch_size,
        )

    async def close(self) -> None:
        """Free what is loaded; a load that still runs is left to end with the process."""
        if self._loaded.done() and self._loaded.exception() is None:
            await self._loaded.result().close()

    def wait(self) -> LocalService:
        """Block until loaded.

        Raises:
            LocalGPTError: the load failed.
        """
        return self._loaded.result()

    async def _service(self) -> LocalService:
        return await asyncio.wrap_future(self._loaded)

    def _load(self) -> None:
        try:
            self._loaded.set_result(load_service(self._options))
        except BaseException as error:  # noqa: BLE001 - handed to everyone who waits
            self._loaded.set_exception(error)
