"""Those who wait for memory, and what they get."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from localgpt.compute.memory.device import Meter
from localgpt.compute.memory.planning import Plan
from localgpt.compute.memory.state import Held, Need, Size

__all__ = ["Reservation", "Waiter", "Waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Somebody who waits, for those who look."""

    name: str
    nbytes: int  # of the size that was asked for
    waited_s: float


class Reservation:
    """Memory for one piece of work, until it is given back."""

    def __init__(self, held: Held, plan: Plan) -> None:
        self.held = held
        self.plan = plan
        self.notices = (plan.size.notice,) if plan.size.notice else ()
        self.meter: Meter | None = None  # while it is alone
        self.not_own_bytes = 0

    @property
    def size(self) -> Size:
        """The size that was let in: what was asked for, or the next one that fits."""
        return self.held.size

    def leave_out(self, nbytes: int) -> None:
        """Say that so much of what is measured belongs to a resident (pages of a cache touched first)."""
        self.not_own_bytes += nbytes


class Waiter:
    """One caller of `Ledger.reserve`; made in the caller's event loop, settled from anywhere."""

    def __init__(self, need: Need, since_s: float) -> None:
        self.need = need
        self.since_s = since_s
        self.num_passed = 0
        self.is_cancelled = False
        self.result: Reservation | Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def settle(self, result: Reservation | Exception) -> bool:
        """Tell the result; False when the waiter's event loop is gone."""
        self.result = result
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            return False
        return True

    async def woken(self, timeout_s: float | None) -> None:
        """Wait for the result, or for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return
