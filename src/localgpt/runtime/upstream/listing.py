"""What models an upstream has: asked now and then, remembered, and never waited for where it is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from localgpt.errors import LocalGPTError
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.connection import ask_json, within
from localgpt.runtime.upstream.refusals import broken
from localgpt.tasks import UPSTREAM_PREFIX, ModelStatus
from localgpt.units import MIB

__all__ = ["TASKS", "Listing", "Survey", "ask_models"]

TASKS: Final = (
    "chat",
    "complete",
    "describe",
    "ask",
    "embed",
)  # what can be asked; the wire does not say more
_FRESH_S: Final = 30.0
_ASK_S: Final = 5.0
_MAX_BYTES: Final = 8 * MIB
_MAX_MODELS: Final = 1000
_MAX_NAME: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What an upstream last said of itself."""

    models: tuple[ModelStatus, ...] = ()
    trouble: str | None = None  # why it said nothing; the models are then those of before


class Listing:
    """One upstream's models, for callers who cannot wait.

    Args:
        upstream: who is asked.
        first_wait_s: how long the very first caller waits for the answer.
    """

    def __init__(self, upstream: Upstream, *, first_wait_s: float) -> None:
        self.upstream = upstream
        self._first_wait_s = first_wait_s
        self._survey: Survey | None = None
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def look(self) -> Survey:
        """What is known; what is old is asked for anew in the background."""
        clock = asyncio.get_running_loop().time
        is_first = self._survey is None and not self._is_asking
        if not self._is_asking and (self._survey is None or clock() - self._asked_at > _FRESH_S):
            self._asked_at = clock()
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        if is_first and self._asking is not None:
            await asyncio.wait([self._asking], timeout=self._first_wait_s)
        return self._survey or Survey(trouble="it has not answered yet")

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None and self._is_asking:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    @property
    def _is_asking(self) -> bool:
        """Whether a question is under way in the running loop; one of a loop that ended never answers."""
        task = self._asking
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def _ask(self) -> None:
        known = self._survey.models if self._survey else ()
        try:
            self._survey = Survey(models=await ask_models(self.upstream))
        except LocalGPTError as error:
            self._survey = Survey(models=known, trouble=str(error))


async def ask_models(upstream: Upstream, *, timeout_s: float = _ASK_S) -> tuple[ModelStatus, ...]:
    """Ask an upstream for its models; nothing but `GET /models` is sent.

    Raises:
        LocalGPTError: it cannot be reached, refuses, or answers nonsense.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    reply = await within(deadline, ask_json(upstream, "GET", "/models", max_bytes=_MAX_BYTES))
    entries = reply.get("data")
    if entries is None:  # Ollama writes null where there are none
        entries = []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise broken(upstream, "lists its models in a form of its own")
    models = (_model(upstream, entry) for entry in entries[:_MAX_MODELS])
    return tuple(model for model in models if model is not None)


def _model(upstream: Upstream, entry: dict[str, Any]) -> ModelStatus | None:
    """One model; None for what cannot be asked for here: odd names, aliases, upstreams of the upstream."""
    name, own = entry.get("id"), entry.get("localgpt")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        return None
    if name.startswith(UPSTREAM_PREFIX) or (isinstance(own, dict) and own.get("alias_of")):
        return None
    meta = entry.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    return ModelStatus(
        id=f"{UPSTREAM_PREFIX}{upstream.name}/{name}",
        tasks=TASKS,
        num_params=_number(meta.get("n_params")),
        weight_bytes=0,  # of this machine's memory that we answer for
        context_len=_number(entry.get("max_model_len")) or _number(meta.get("n_ctx_train")),
        num_image_tokens=0,
        created=_number(entry.get("created")),
        licence="",
        upstream=upstream.host,
        leaves_machine=upstream.allow_remote,
    )


def _number(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**63 else 0
