"""`Switchboard`: one TaskService in front of several, by the model that a request names.

The embedded family answers to its own names, pulled models and folders of the operator to theirs, and
whatever is mounted to a name or to all names with a prefix. The id `local/multimodal-base` always reaches the
main model: the family, unless the operator named another.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from localgpt.checkpoints.catalogue import find_entry
from localgpt.errors import InputError
from localgpt.runtime.finishing import Finisher
from localgpt.runtime.local import LocalService
from localgpt.runtime.members import Members
from localgpt.runtime.open.service import OpenService, task_of
from localgpt.runtime.painted_answers import PaintedAnswers
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    Channel,
    ChatRequest,
    Event,
    Finished,
    ModelStatus,
    PaintRequest,
    Request,
    Result,
    Status,
    TaskService,
)

__all__ = ["Switchboard"]


class Switchboard:
    """Routes requests; implements `tasks.TaskService`.

    Args:
        local: the embedded family or another of its form; None where the main model is an open one.
        open_models: pulled models and folders.
        main: what `local/multimodal-base` reaches; None for the family.
        notices: what was downgraded while loading, repeated in `status`.
        finisher: gives painted pictures, whoever paints them, their last touch.
        members: of the family, for other media.
    """

    def __init__(
        self,
        *,
        local: LocalService | None,
        open_models: OpenService,
        main: str | None = None,
        notices: Sequence[str] = (),
        finisher: Finisher | None = None,
        members: Members | None = None,
    ) -> None:
        self._finisher = finisher or Finisher()
        self._painted = PaintedAnswers(self._models, self.stream)
        self.local, self.open_models = local, open_models
        self._main, self._members = main, members
        self._notices = tuple(notices)
        self._mounted: dict[str, TaskService] = {}

    @property
    def notices(self) -> tuple[str, ...]:
        """What was downgraded while loading."""
        return self._notices if self.local is None else self.local.notices

    def mount(self, name: str, service: TaskService) -> None:
        """Have a service answer to a name, or, where it ends with ":" or "/", to all that begin with it."""
        self._mounted[name] = service

    async def run(self, request: Request) -> Result:
        """Run one request to its end.

        Raises:
            LocalGPTError: the model is not known, or the request was refused, failed, or met its deadline.
        """
        service, request = self._route(request)
        if not _paints(request):
            return await service.run(request)
        async with aclosing(self._painting(service, request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("painting ended without its last event")

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request and yield its events; the last one is `Finished`.

        Raises:
            LocalGPTError: as for `run`.
        """
        service, request = self._route(request)
        return self._painting(service, request) if _paints(request) else service.stream(request)

    async def open(self, request: Request) -> Channel:
        """Open a channel of the model that is named.

        Raises:
            LocalGPTError: the model is not known, or has no channels.
        """
        service, request = self._route(request)
        return await service.open(request)

    async def status(self) -> Status:
        """All models that may be asked for, and how busy all services are together."""
        services: list[TaskService] = [self.open_models, *self._mounted.values()]
        if self.local is not None:
            services.insert(0, self.local)
        status = await services[0].status()
        if self._members is not None:
            beside = await self._members.status()
            family = self._members.told_with(status.models[0], beside.models)
            status = replace(_merged(status, beside), models=(family,))
        for other in services[1:]:
            status = _merged(status, await other.status())
        models = sorted(status.models, key=lambda model: model.id != self._main)  # the main one first
        if self._main is not None:
            models = [self._with_main_name(model) for model in models]
        notices = dict.fromkeys((*self._notices, *status.notices))
        return replace(status, models=tuple(models), notices=tuple(notices))

    async def close(self) -> None:
        """Close all services. May be called twice."""
        for service in (*self._mounted.values(), self.open_models):
            await service.close()
        if self._members is not None:
            await self._members.close()
        if self.local is not None:
            await self.local.close()
        await asyncio.to_thread(self.open_models.ledger.close)

    def _painting(self, service: TaskService, request: Request) -> AsyncGenerator[Event]:
        if isinstance(request, PaintRequest):
            return self._finisher.finished(service, request)
        assert isinstance(request, ChatRequest)
        return self._painted.answer(service, request)

    async def _models(self) -> tuple[ModelStatus, ...]:
        return (await self.status()).models

    def _route(self, request: Request) -> tuple[TaskService, Request]:
        """Who answers, and the request under the name they know.

        Raises:
            InputError: nobody has that name; `param` is "model".
        """
        if request.model == EMBEDDED_MODEL_ID and self._main is not None:
            request = replace(request, model=self._main)
        if self.local is not None and request.model in self.local.names:
            renamed = None if self._members is None else self._members.request_to(request, task_of(request))
            if self._members is not None and renamed is not None:
                return self._members, renamed
            return self.local, request
        for name, service in self._mounted.items():
            if request.model == name or (name.endswith((":", "/")) and request.model.startswith(name)):
                return service, request
        if self.open_models.shelf.find(request.model) is not None:
            return self.open_models, request
        raise self._unknown(request.model)

    def _unknown(self, name: str) -> InputError:
        shelf = self.open_models.shelf
        entry = find_entry(shelf.catalogue, name)
        if entry is not None:
            return InputError(
                f"the model {name!r} was not pulled; run: localgpt pull {entry.name}", param="model"
            )
        known = [EMBEDDED_MODEL_ID, *(one.id for one in shelf.models()), *self._mounted]
        near = difflib.get_close_matches(name, [*known, *shelf.catalogue], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return InputError(
            f"the model {name!r} is not known, expected {' or '.join(dict.fromkeys(known))}{hint}",
            param="model",
        )

    def _with_main_name(self, model: ModelStatus) -> ModelStatus:
        if model.id != self._main:
            return model
        return replace(model, names=(*model.names, EMBEDDED_MODEL_ID))


def _paints(request: Request) -> bool:
    """Whether a picture may come of a request."""
    return isinstance(request, PaintRequest) or (
        isinstance(request, ChatRequest) and request.painting is not None
    )


def _merged(status: Status, other: Status) -> Status:
    """Two services as one; device, precision and memory are the first one's."""
    return replace(
        status,
        ready=status.ready and other.ready,
        models=(*status.models, *other.models),
        resident_bytes=status.resident_bytes + other.resident_bytes,
        num_running=status.num_running + other.num_running,
        num_waiting=status.num_waiting + other.num_waiting,
        notices=(*status.notices, *other.notices),
    )
