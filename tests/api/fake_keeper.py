"""A keeper of models without a disk and a hub: it has what the test wrote down, and does what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from localgpt.errors import BusyModelError, LocalGPTError, UnknownModelError
from localgpt.tasks.kept_models import BrokenOffPull, JobKind, JobStatus, KeptCopy, KnownModel, Survey
from localgpt.units import GIB, MIB

COMMIT = "a" * 40
GB = 10**9


def a_copy(num_bytes: int = 8 * GB, licence: str = "apache-2.0", **values: object) -> KeptCopy:
    copy = KeptCopy(
        revision=COMMIT,
        requested="main",
        num_bytes=num_bytes,
        num_files=9,
        licence=licence,
        source="https://huggingface.co",
        pulled_at="2026-01-02T03:04:05+00:00",
        folder=f"/data/models/maker--model/{COMMIT}",
    )
    return replace(copy, **values)  # type: ignore[arg-type]


def a_model(id: str, repo: str, job: str | None = "chat", **values: object) -> KnownModel:
    model = KnownModel(
        id=id,
        repo=repo,
        revision="main",
        job=job,
        licence="Apache-2.0",
        commercial=True,
        gated=False,
        num_params=4 * GB,
        download_bytes=8 * GB,
        context_len=32_768,
        memory_bytes={"fp16": 8 * GB, "int8": 4_400_000_000, "int4": 2_600_000_000},
        fits="int8",
        lacking_bytes=0,
        notes={"en": "A good first choice for 8 GB.", "zh": "8 GB 显存的首选。"},
        runs=True,
        copies=(),
        broken_off=(),
    )
    return replace(model, **values)  # type: ignore[arg-type]


def a_stranger(repo: str, **values: object) -> KnownModel:
    """A model that the catalogue does not know."""
    unknown = dict.fromkeys(("num_params", "download_bytes", "context_len", "fits", "lacking_bytes"))
    return a_model(repo, repo, None, notes={}, memory_bytes={}, commercial=None, **unknown, **values)


def some_models() -> tuple[KnownModel, ...]:
    """Kept, broken off, gated, too large, not run here, non-commercial, and outside the catalogue."""
    half = BrokenOffPull(revision=COMMIT, requested="main", total_bytes=4 * GB, here_bytes=GB)
    return (
        a_model("qwen3-4b", "Qwen/Qwen3-4B-Instruct-2507", copies=(a_copy(),)),
        a_model("qwen3-1.7b", "Qwen/Qwen3-1.7B", num_params=2 * GB, broken_off=(half,)),
        a_model("llama-3.2-3b", "meta-llama/Llama-3.2-3B", gated=True, commercial=None, licence="llama3.2"),
        a_model("qwen3-32b", "Qwen/Qwen3-32B", fits=None, lacking_bytes=15 * GIB, num_params=32 * GB),
        a_model("sdxl", "stabilityai/sdxl", "paint", licence="openrail++", runs=False, context_len=None),
        a_model("mms-tts-eng", "facebook/mms-tts-eng", "speak", commercial=False, licence="CC-BY-NC-4.0"),
        a_stranger("maker/tiny", copies=(a_copy(80 * MIB),)),
    )


@dataclass
class FakeKeeper:
    """Implements `ModelKeeper`. `error`, where given, is what the next call fails with."""

    models: tuple[KnownModel, ...] = field(default_factory=some_models)
    offline_reason: str | None = None
    has_token: bool = False
    error: LocalGPTError | None = None
    jobs: dict[str, JobStatus] = field(default_factory=dict)
    asked_memory: list[int | None] = field(default_factory=list)
    removed: list[tuple[str, str | None]] = field(default_factory=list)
    is_live: bool = False  # whether `watch` goes on after what there is
    is_closed: bool = False
    _watchers: list[asyncio.Event] = field(default_factory=list)

    async def survey(self, memory_bytes: int | None) -> Survey:
        self._fail()
        self.asked_memory.append(memory_bytes)
        return Survey(
            models=self.models,
            folder="/data/models",
            free_bytes=100 * GIB,
            hub=None if self.offline_reason else "https://huggingface.co",
            offline_reason=self.offline_reason,
            has_token=self.has_token,
        )

    async def pull(self, name: str, revision: str | None) -> JobStatus:
        return self._start(name, "pull", revision or "main")

    async def verify(self, name: str) -> JobStatus:
        return self._start(name, "verify", "all")

    async def cancel(self, name: str) -> JobStatus:
        model = self._find(name)
        if model.repo in self.jobs and self.jobs[model.repo].state == "failed":
            return self._forget(model.repo)
        if model.repo not in self.jobs or self.jobs[model.repo].is_over:
            raise UnknownModelError(f"nothing is being done to {name}")
        self.change(model.repo, state="cancelled")
        return self.jobs[model.repo]

    def _forget(self, repo: str) -> JobStatus:
        job = self.jobs.pop(repo)
        for changed in self._watchers:
            changed.set()
        return job

    async def remove(self, name: str, revision: str | None) -> int:
        self._fail()
        model = self._find(name)
        if not model.copies and not model.broken_off:
            raise UnknownModelError(f"no model {name} was pulled")
        self.removed.append((name, revision))
        self.models = tuple(
            replace(one, copies=(), broken_off=()) if one is model else one for one in self.models
        )
        return sum(copy.num_bytes for copy in model.copies)

    async def names(self, name: str) -> tuple[str, ...]:
        model = self._find(name)
        return (model.id, model.repo)

    async def watch(self) -> AsyncIterator[tuple[JobStatus, ...]]:
        changed = asyncio.Event()
        self._watchers.append(changed)
        try:
            while True:
                changed.clear()
                yield tuple(self.jobs.values())
                if not self.is_live:
                    return
                await changed.wait()
        finally:
            self._watchers.remove(changed)

    async def close(self) -> None:
        self.is_closed = True

    def change(self, repo: str, **values: object) -> None:
        """Let some work come further; for the event loop of the server."""
        self.jobs[repo] = replace(self.jobs[repo], **values)  # type: ignore[arg-type]
        for changed in self._watchers:
            changed.set()

    def _start(self, name: str, kind: JobKind, revision: str) -> JobStatus:
        self._fail()
        model = self._find(name)
        known = self.jobs.get(model.repo)
        if known and not known.is_over:
            if known.kind != kind:
                raise BusyModelError(f"{name} is busy")
            return known
        self.jobs[model.repo] = JobStatus(
            repo=model.repo,
            id=model.id,
            kind=kind,
            state="running",
            revision=revision,
            total_bytes=0,
            here_bytes=0,
            bytes_per_s=0.0,
            remaining_s=None,
            file=None,
            num_parts=0,
            notes=(),
            error=None,
        )
        self.change(model.repo)
        return self.jobs[model.repo]

    def _find(self, name: str) -> KnownModel:
        found = next((model for model in self.models if name in (model.id, model.repo)), None)
        if found is None and "/" in name:
            return a_stranger(name)
        if found is None:
            raise UnknownModelError(f"no model {name!r} in the catalogue; localgpt models lists them")
        return found

    def _fail(self) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
