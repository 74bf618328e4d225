"""`/api/models`: open models: which there are, getting them with progress, checking, removing.

Everybody may look. Only admins get, check and remove, and they get models only where `allow_pull` lets them:
it is the one thing for which this server connects to elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Response

from localgpt.server.access import Admin, Caller, CallerDep, GatewayDep, is_public
from localgpt.server.errors import EVENT_CONTENT, WireError
from localgpt.server.routes.api.common import API_REPLIES, Replies
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.schemas.open_models import (
    JobReply,
    JobsEvent,
    KnownModelReply,
    ModelBody,
    OpenModelsReply,
    PullBody,
    PullRefusal,
    RemovedModelReply,
)
from localgpt.server.translate import checked_text
from localgpt.server.work import EventStream
from localgpt.settings import Settings
from localgpt.tasks import Status
from localgpt.tasks.kept_models import JobStatus, ModelKeeper, Survey

__all__ = ["router"]

router = APIRouter()
_BUSY: Replies = {
    409: {"model": ErrorBody, "description": "The model answers, or somebody is at work on its files."}
}
_EVENTS: Replies = {
    200: {
        "description": "Server-sent events: all work, at once and whenever something changed.",
        "content": EVENT_CONTENT,
    }
}


def _keeper(caller: CallerDep, gateway: GatewayDep) -> ModelKeeper:
    if gateway.keeper is None:
        raise WireError(
            503,
            "this server keeps no open models: it was started without a keeper; use 'localgpt serve'",
            kind="server_error",
            code="no_keeper",
        )
    return gateway.keeper


KeeperDep = Annotated[ModelKeeper, Depends(_keeper)]


@router.get("/models", responses=API_REPLIES)
async def list_open_models(gateway: GatewayDep, keeper: KeeperDep, caller: CallerDep) -> OpenModelsReply:
    """The catalogue and what is kept, how each fits this machine, and what the caller may do."""
    status = await gateway.service.status()
    memory_bytes = _memory_bytes(gateway.settings, status)
    found = await keeper.survey(memory_bytes)
    served = {name for model in status.models for name in (model.id, *model.names)}
    is_admin = caller.role == "admin"
    refusal, reason = _refusal(gateway.settings, caller, found)
    return OpenModelsReply(
        data=[
            KnownModelReply.of(
                model,
                served=bool(model.copies)
                and not served.isdisjoint((model.id, model.repo, *(copy.folder for copy in model.copies))),
                with_folders=is_admin,
            )
            for model in found.models
        ],
        free_bytes=found.free_bytes,
        memory_bytes=memory_bytes,
        hub=found.hub,
        has_token=found.has_token,
        is_admin=is_admin,
        pull_refusal=refusal,
        pull_refusal_reason=reason,
        folder=found.folder if is_admin else None,
    )


@router.get("/models/events", response_class=Response, responses=API_REPLIES | _EVENTS)
async def watch_models(gateway: GatewayDep, keeper: KeeperDep) -> Response:
    """The work on models as it goes: each event has all of it, so a new connection misses nothing."""
    return EventStream(_events(keeper.watch()), gateway)


@router.post("/models/pull", status_code=202, responses=API_REPLIES | _BUSY)
async def pull_model(body: PullBody, gateway: GatewayDep, keeper: KeeperDep, caller: Admin) -> JobReply:
    """Begin to get a model, or go on with it; the pull that is under way where there is one.

    It goes on when this client is gone. What ends early, however it ends, is gone on with by the next pull.
    """
    if not _allows_pull(gateway.settings):
        raise WireError(403, _NOT_ALLOWED, code="pull_not_allowed")
    name = checked_text(body.model, "model")
    return JobReply.of(await keeper.pull(name, body.revision))


@router.post("/models/verify", status_code=202, responses=API_REPLIES | _BUSY)
async def verify_model(body: ModelBody, keeper: KeeperDep, caller: Admin) -> JobReply:
    """Begin to read a kept model again and compare every hash."""
    return JobReply.of(await keeper.verify(checked_text(body.model, "model")))


@router.post("/models/cancel", responses=API_REPLIES)
async def cancel_work(body: ModelBody, keeper: KeeperDep, caller: Admin) -> JobReply:
    """End the work on a model soon; what came of it stays. Work that has failed is forgotten."""
    return JobReply.of(await keeper.cancel(checked_text(body.model, "model")))


@router.delete("/models/{model:path}", responses=API_REPLIES | _BUSY)
async def remove_model(
    model: str,
    gateway: GatewayDep,
    keeper: KeeperDep,
    caller: Admin,
    revision: Annotated[str | None, Query(max_length=256, description="Only this one.")] = None,
) -> RemovedModelReply:
    """Remove a kept model, and what pulls that were broken off left; refused while it answers."""
    names = await keeper.names(checked_text(model, "model"))
    if any(gateway.service.asked[name] for name in names):
        raise WireError(
            409,
            f"{model} is answering; remove it when it has finished, or stop the answers",
            param="model",
            code="model_in_use",
        )
    return RemovedModelReply(model=names[0], bytes=await keeper.remove(model, revision))


_NOT_ALLOWED = (
    "this server fetches nothing: others than this machine can ask it, and allow_pull was not set. Start it "
    "with LOCALGPT_ALLOW_PULL=true, or run localgpt pull on its machine"
)


def _allows_pull(settings: Settings) -> bool:
    return not is_public(settings) if settings.allow_pull is None else settings.allow_pull


def _refusal(settings: Settings, caller: Caller, found: Survey) -> tuple[PullRefusal | None, str | None]:
    """Why the caller cannot pull, as a code and in a sentence."""
    if caller.role != "admin":
        return "admin_only", "this needs the key of an admin"
    if not _allows_pull(settings):
        return "pull_not_allowed", _NOT_ALLOWED
    if found.offline_reason is not None:
        return "offline", found.offline_reason
    return None, None


def _memory_bytes(settings: Settings, status: Status) -> int | None:
    """What open models may take: the device's memory, or less where a budget was set."""
    if status.memory is None:
        return None
    return status.memory.total_bytes if settings.memory_budget_mib is None else status.memory.budget_bytes


async def _events(source: AsyncIterator[Sequence[JobStatus]]) -> AsyncGenerator[str]:
    async with aclosing(cast("AsyncGenerator[Sequence[JobStatus]]", source)) as changes:
        async for jobs in changes:
            yield JobsEvent(jobs=[JobReply.of(job) for job in jobs]).model_dump_json()
