"""Open models: those that are kept on this machine, those that could be, and the work of getting them.

Getting models is no task of a model, so it has a protocol of its own, `ModelKeeper`. Like `TaskService` it is
handed to whoever needs it, and lives where neither networks nor weights are loaded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from localgpt.errors import LocalGPTError

__all__ = [
    "BrokenOffPull",
    "JobKind",
    "JobState",
    "JobStatus",
    "KeptCopy",
    "KnownModel",
    "ModelKeeper",
    "Survey",
]

JobKind = Literal["pull", "verify"]
JobState = Literal["waiting", "running", "checking", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCopy:
    """One commit of a model on this disk. `problems` is what is not as it was pulled, as far as is known."""

    revision: str  # the commit
    requested: str  # the branch, tag or commit that was asked for
    num_bytes: int
    num_files: int
    licence: str
    source: str  # address of the hub
    pulled_at: str  # ISO 8601, UTC; every hash was compared then
    folder: str
    verified_at: float | None = None  # since the server started, seconds since the epoch
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenOffPull:
    """A pull that ended before its time; pulling again goes on from there."""

    revision: str
    requested: str
    total_bytes: int
    here_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model of the catalogue, one that was pulled, or both; what the catalogue alone tells may be None."""

    id: str  # what requests name it: the catalogue's name, else owner/name
    repo: str
    revision: str
    job: str | None
    licence: str
    commercial: bool | None  # None: it depends, or is not known
    gated: bool
    num_params: int | None
    download_bytes: int | None
    context_len: int | None
    memory_bytes: Mapping[str, int]  # of the weights, by precision
    fits: str | None  # the best precision that fits the memory that was told
    lacking_bytes: int | None  # at the smallest one; 0 if it fits, None where either is unknown
    notes: Mapping[str, str]  # by language
    runs: bool  # whether this version runs models of that job
    copies: tuple[KeptCopy, ...]
    broken_off: tuple[BrokenOffPull, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that is known of open models on this machine."""

    models: tuple[KnownModel, ...]
    folder: str
    free_bytes: int  # on the disk of that folder
    hub: str | None  # the address that models come from; None when offline
    offline_reason: str | None  # why nothing can be pulled, in a sentence
    has_token: bool  # of the hub, for gated models


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How one piece of work on the files of one model goes, or how it ended."""

    repo: str
    id: str  # the model's, as in `KnownModel`
    kind: JobKind
    state: JobState
    revision: str
    total_bytes: int  # 0 until it is known
    here_bytes: int
    bytes_per_s: float
    remaining_s: float | None
    file: str | None  # one of those that are coming or read
    num_parts: int  # that come side by side
    notes: tuple[str, ...]
    error: LocalGPTError | None  # of one that failed

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "cancelled")


class ModelKeeper(Protocol):
    """Lists, gets, checks and removes open models; one piece of work for each model at a time.

    Names are the catalogue's, or owner/name of the hub.
    """

    async def survey(self, memory_bytes: int | None) -> Survey:
        """What there is and what could be.

        Args:
            memory_bytes: of the device that would run a model; None where that is unknown.

        Raises:
            ConfigError: the user's catalogue is broken.
        """

    async def pull(self, name: str, revision: str | None) -> JobStatus:
        """Begin to get a model, or to go on with it; the pull that is under way where there is one.

        Raises:
            UnknownModelError: the catalogue has no such name.
            ConfigError: the name or the revision cannot be one.
            OfflineError: nothing may be fetched.
            BusyModelError: the model is being checked.
        """

    async def verify(self, name: str) -> JobStatus:
        """Begin to read a kept model again and compare every hash.

        Raises:
            UnknownModelError: it is not kept.
            BusyModelError: it is being pulled.
        """

    async def cancel(self, name: str) -> JobStatus:
        """End the work on a model soon; what came stays, and a pull can go on from there. Forget what failed.

        Raises:
            UnknownModelError: there is no such work.
        """

    async def remove(self, name: str, revision: str | None) -> int:
        """Remove a model, or one revision of it, and what pulls that were broken off left.

        Returns:
            The bytes that were freed.

        Raises:
            UnknownModelError: it is not kept.
            BusyModelError: somebody is at work on it.
        """

    async def names(self, name: str) -> tuple[str, ...]:
        """Everything that requests may call a model: its name in the catalogue, owner/name, its folders.

        Raises:
            UnknownModelError: it is neither kept nor in the catalogue.
        """

    def watch(self) -> AsyncIterator[tuple[JobStatus, ...]]:
        """All work, at once and then whenever something changed; it ends when the keeper is closed."""

    async def close(self) -> None:
        """End all work soon."""
