"""The bodies of `/api/models`: open models, and the work of getting them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgpt.server.errors import describe_error
from localgpt.server.schemas.common import Body, ErrorDetail, Reply
from localgpt.tasks.kept_models import BrokenOffPull, JobKind, JobState, JobStatus, KeptCopy, KnownModel

__all__ = [
    "BrokenOffReply",
    "CopyReply",
    "JobReply",
    "JobsEvent",
    "KnownModelReply",
    "ModelBody",
    "OpenModelsReply",
    "PullBody",
    "RemovedModelReply",
]

PullRefusal = Literal["admin_only", "pull_not_allowed", "offline"]
_Name = Annotated[str, Field(min_length=1, max_length=256)]


class ModelBody(Body):
    """A model: its name in the catalogue, or owner/name of the hub."""

    model: _Name


class PullBody(ModelBody):
    """A model to get; without a revision, the one of the catalogue or `main`."""

    revision: _Name | None = None


class CopyReply(Reply):
    """One commit of a model on the server's disk; `problems` is what is not as it was pulled."""

    revision: str
    requested: str
    bytes: int
    files: int
    licence: str
    source: str
    pulled_at: str  # ISO 8601, UTC; every hash was compared then
    verified_at: float | None  # since the server started, seconds since the epoch
    problems: list[str]
    folder: str | None  # told to admins alone

    @classmethod
    def of(cls, copy: KeptCopy, *, with_folder: bool) -> CopyReply:
        """The reply for a kept copy."""
        return cls(
            revision=copy.revision,
            requested=copy.requested,
            bytes=copy.num_bytes,
            files=copy.num_files,
            licence=copy.licence,
            source=copy.source,
            pulled_at=copy.pulled_at,
            verified_at=copy.verified_at,
            problems=list(copy.problems),
            folder=copy.folder if with_folder else None,
        )


class BrokenOffReply(Reply):
    """A pull that ended before its time; pulling again goes on from there."""

    revision: str
    requested: str
    total_bytes: int
    here_bytes: int

    @classmethod
    def of(cls, pull: BrokenOffPull) -> BrokenOffReply:
        """The reply for a pull that was broken off."""
        return cls(
            revision=pull.revision,
            requested=pull.requested,
            total_bytes=pull.total_bytes,
            here_bytes=pull.here_bytes,
        )


class KnownModelReply(Reply):
    """An open model: of the catalogue, pulled, or both. What only the catalogue tells may be null."""

    id: str  # what requests name it
    repo: str
    revision: str
    job: str | None
    licence: str
    commercial: bool | None  # null: it depends, or is not known
    gated: bool
    num_params: int | None
    download_bytes: int | None
    context_len: int | None
    memory_bytes: dict[str, int]  # of the weights, by precision
    fits: str | None  # the best precision that fits this machine
    lacking_bytes: int | None  # at the smallest one; 0 if it fits
    notes: dict[str, str]  # by language
    runs: bool  # whether this version runs models of that job
    served: bool  # whether it can be asked for now
    copies: list[CopyReply]
    broken_off: list[BrokenOffReply]

    @classmethod
    def of(cls, model: KnownModel, *, served: bool, with_folders: bool) -> KnownModelReply:
        """The reply for a known model."""
        return cls(
            id=model.id,
            repo=model.repo,
            revision=model.revision,
            job=model.job,
            licence=model.licence,
            commercial=model.commercial,
            gated=model.gated,
            num_params=model.num_params,
            download_bytes=model.download_bytes,
            context_len=model.context_len,
            memory_bytes=dict(model.memory_bytes),
            fits=model.fits,
            lacking_bytes=model.lacking_bytes,
            notes=dict(model.notes),
            runs=model.runs or served,
            served=served,
            copies=[CopyReply.of(copy, with_folder=with_folders) for copy in model.copies],
            broken_off=[BrokenOffReply.of(pull) for pull in model.broken_off],
        )


class OpenModelsReply(Reply):
    """All open models, and what the caller may do about them."""

    data: list[KnownModelReply]
    free_bytes: int  # on the disk of the models
    memory_bytes: int | None  # of the device that runs them; null until the models are loaded
    hub: str | None  # the address that models come from; null when offline
    has_token: bool  # of the hub, for gated models
    is_admin: bool  # who may check and remove models
    pull_refusal: PullRefusal | None  # why the caller cannot pull; null if they can
    pull_refusal_reason: str | None  # in a sentence
    folder: str | None  # told to admins alone


class JobReply(Reply):
    """One piece of work on the files of a model."""

    id: str  # of the model
    repo: str
    kind: JobKind
    state: JobState
    revision: str
    total_bytes: int  # 0 until it is known
    here_bytes: int
    bytes_per_s: float
    remaining_s: float | None
    file: str | None
    num_parts: int  # that come side by side
    notes: list[str]
    error: ErrorDetail | None  # of work that failed

    @classmethod
    def of(cls, job: JobStatus) -> JobReply:
        """The reply for some work."""
        return cls(
            id=job.id,
            repo=job.repo,
            kind=job.kind,
            state=job.state,
            revision=job.revision,
            total_bytes=job.total_bytes,
            here_bytes=job.here_bytes,
            bytes_per_s=round(job.bytes_per_s, 1),
            remaining_s=None if job.remaining_s is None else round(job.remaining_s, 1),
            file=job.file,
            num_parts=job.num_parts,
            notes=list(job.notes),
            error=None if job.error is None else describe_error(job.error)[1].error,
        )


class JobsEvent(Reply):
    """Every event of the stream has all of the work: the last one of each model."""

    jobs: list[JobReply]


class RemovedModelReply(Reply):
    """What was removed."""

    model: str
    bytes: int
