"""The process of the models: what `__main__` runs. Nothing is loaded before it is told what."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from localgpt.errors import LocalGPTError
from localgpt.worker.building import SWITCH_INTERVAL_S
from localgpt.worker.building import build as build_service
from localgpt.worker.frames import Kind
from localgpt.worker.host import Host
from localgpt.worker.logs import log_lines_to_stderr
from localgpt.worker.messages import Plan, encode_error, encode_plan

if TYPE_CHECKING:
    from localgpt.runtime.loading import LazyService
    from localgpt.settings import Settings

__all__ = ["main"]

logger = logging.getLogger(__name__)
_PR_SET_PDEATHSIG: Final = 1
_LAST_WORDS_S: Final = 0.1


def main(descriptor: int, parent: int, build: Callable[[Settings], LazyService] = build_service) -> NoReturn:
    """Load and answer until the gateway closes the socket, asks for an end, or is gone.

    Args:
        descriptor: of the socket, inherited.
        parent: number of the process that started this one.
        build: makes the service.
    """
    _end_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # both reach whole groups; the gateway decides
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)  # what a library prints belongs into the log
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.set_inheritable(descriptor, False)
    asyncio.run(_serve(socket.socket(fileno=descriptor), build))
    raise AssertionError("it ends in another place")


async def _serve(sock: socket.socket, build: Callable[[Settings], LazyService]) -> NoReturn:
    host = Host(_resident_bytes)
    await host.link.connect(sock)
    watch = asyncio.ensure_future(_watch(host))
    work = asyncio.ensure_future(_load(host, build))
    await asyncio.wait([watch, work], return_when=asyncio.FIRST_COMPLETED)
    if work.done() and work.result():  # it answers
        await host.closing.wait()
    await host.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            await host.link.ended()
    # At once: threads of the models may be within a step, and nothing here is left to put away.
    sys.stderr.flush()
    os._exit(0)


async def _watch(host: Host) -> None:
    """Wait until an end is asked for; a gateway that is gone asks for one."""
    gone = asyncio.ensure_future(host.link.ended())
    asked = asyncio.ensure_future(host.closing.wait())
    await asyncio.wait([gone, asked], return_when=asyncio.FIRST_COMPLETED)
    host.closing.set()


async def _load(host: Host, build: Callable[[Settings], LazyService]) -> bool:
    """Build, tell the plan, load, begin to answer; False where that failed, which is told."""
    settings = await host.settings()
    log_lines_to_stderr(settings.log_level)
    try:
        service = build(settings)
        plan = service.plan
        told = Plan(device=plan.device, notices=plan.notices, max_batch_size=plan.max_batch_size)
        host.link.send(Kind.PLAN, 0, encode_plan(told))
        await asyncio.sleep(0)  # so that it leaves before anything else is done: the start waits for it
        service.start()
        await service.loaded()
    except Exception as error:
        if not isinstance(error, LocalGPTError):
            logger.exception("the models cannot be loaded")
        host.link.send(Kind.FAILED, 0, encode_error(error))
        return False
    await host.serve(service)
    return True


def _resident_bytes() -> int:
    from localgpt.compute.memory import CpuDevice

    return CpuDevice().resident_bytes()


def _end_with(parent: int) -> None:
    """Have the system end this process when its parent is gone, where it can do that."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(0)
