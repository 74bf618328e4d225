"""The seven moments of a turn, from the last sound of its speaker to the first sound of the answer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, fields

__all__ = ["Trace"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Trace:
    """Times of the event loop; None for what did not happen, as speech in a turn that is typed."""

    speech_ended: float | None = None  # the last speech came in
    listening: float | None = None  # the recogniser got the whole turn, maybe before that was certain
    committed: float | None = None  # the turn was certainly over
    heard: float | None = None  # its words are known
    first_token: float | None = None  # of the answer
    first_clause: float | None = None  # whole, and given to the voice
    first_sound: float | None = None  # on its way to the client

    def mark(self, name: str) -> None:
        """A moment is now, unless it was before."""
        if getattr(self, name) is None:
            setattr(self, name, asyncio.get_running_loop().time())

    def since_commit_ms(self) -> dict[str, float | None]:
        """Milliseconds from the commit, negative for what was before it."""
        start = self.committed
        if start is None:
            return {}
        times = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: None if time is None else round(1000 * (time - start), 1) for name, time in times.items()
        }

    def log(self, call_id: str) -> None:
        """One line, without words."""
        told = self.since_commit_ms()
        shown = ", ".join(f"{name} {value:+.0f} ms" for name, value in told.items() if value is not None)
        logger.info("%s turn: %s", call_id, shown, extra={"call": call_id, "turn_ms": told})
