"""The keeper against a hub of our own: through the server's routes, and over ends of every kind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.download import PullOptions
from localgpt.errors import (
    BusyModelError,
    CheckpointError,
    ConfigError,
    GatedModelError,
    HubError,
    LocalGPTError,
    OfflineError,
    UnknownModelError,
    WrongHashError,
)
from localgpt.runtime.keeping.jobs import Job, Jobs
from localgpt.runtime.keeping.keeper import HubKeeper
from localgpt.server import create_app
from localgpt.settings import Settings
from localgpt.tasks.kept_models import JobStatus, KnownModel
from localgpt.units import GIB
from tests.api.fake_service import FakeService
from tests.hub.conftest import FETCHED, HASTE, PART_BYTES, REPO, make_files, make_weights
from tests.hub.hub_server import Fault, HubServer, Repo
from tests.law.source import ROOT

FIRST = "model-00001-of-00002.safetensors"
PATIENCE_S = 60


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer()
    server.repos[REPO] = Repo(make_files())
    yield server
    server.close()


@pytest.fixture
def environment(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """What the keeper sees of the process's environment; a test may change it."""
    return {"LOCALGPT_HUB": hub.url, "HF_HOME": str(tmp_path / "hf")}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def keeper(home: Path, environment: dict[str, str]) -> Iterator[HubKeeper]:
    made = HubKeeper(home, environment, options=PullOptions(part_bytes=PART_BYTES), patience=HASTE)
    yield made
    asyncio.run(made.close())


async def end_of(keeper: HubKeeper, repo: str = REPO) -> JobStatus:
    """How the work on a model ends."""
    async with asyncio.timeout(PATIENCE_S):
        async for jobs in keeper.watch():
            for job in jobs:
                if job.repo == repo and job.is_over:
                    return job
    raise AssertionError("the keeper was closed")


async def known(keeper: HubKeeper, id: str = REPO) -> KnownModel:
    found = await keeper.survey(8 * GIB)
    return next(model for model in found.models if model.id == id)


async def test_a_model_comes_is_checked_and_goes(keeper: HubKeeper, home: Path) -> None:
    begun = await keeper.pull(REPO, None)
    assert (begun.kind, begun.revision, begun.id) == ("pull", "main", REPO)
    job = await end_of(keeper)
    size = sum(len(make_files()[name]) for name in FETCHED)
    assert (job.state, job.total_bytes, job.here_bytes, job.error) == ("done", size, size, None)
    model = await known(keeper)
    (copy,) = model.copies
    assert (model.job, model.runs, copy.num_bytes, copy.problems) == (None, False, size, ())
    commits = [f"{REPO}@{revision}" for revision in ("a" * 12, "a" * 40, "main")]
    assert await keeper.names(REPO) == (REPO, copy.folder, *commits)
    assert copy.folder.startswith(str(home))
    await keeper.verify(REPO)
    checked = await end_of(keeper)
    assert (checked.kind, checked.state, checked.here_bytes) == ("verify", "done", size)
    assert (await known(keeper)).copies[0].verified_at is not None
    await keeper.pull(REPO, None)
    assert "was here already" in (await end_of(keeper)).notes[0]
    assert await keeper.remove(REPO, None) >= size
    assert REPO not in {model.id for model in (await keeper.survey(None)).models}
    with pytest.raises(UnknownModelError, match="no model maker/tiny-model was pulled"):
        await keeper.remove(REPO, None)
    with pytest.raises(UnknownModelError, match="nothing to check"):
        await keeper.verify(REPO)


async def test_damage_is_found_named_and_kept_in_mind(keeper: HubKeeper) -> None:
    await keeper.pull(REPO, None)
    await end_of(keeper)
    folder = Path((await known(keeper)).copies[0].folder)
    data = bytearray((folder / FIRST).read_bytes())
    data[-1] ^= 1
    (folder / FIRST).write_bytes(data)
    assert (await known(keeper)).copies[0].problems == ()  # sizes tell nothing
    await keeper.verify(REPO)
    job = await end_of(keeper)
    assert job.state == "failed" and isinstance(job.error, WrongHashError) and FIRST in str(job.error)
    assert (await known(keeper)).copies[0].problems == (f"{FIRST} has another hash",)
    (folder / FIRST).unlink()
    (folder / "config.json").unlink()
    fresh = HubKeeper(folder.parents[2], {"HF_HUB_OFFLINE": "1"})
    found = (await fresh.survey(None)).models
    assert len(next(model for model in found if model.id == REPO).copies[0].problems) == 2
    (folder / kept.MANIFEST_NAME).write_text("{", "utf-8")
    found = (await fresh.survey(None)).models
    (told,) = next(model for model in found if model.id == REPO).copies[0].problems
    assert "is no manifest of a pulled model" in told
    assert await fresh.remove(REPO, None) > 0


async def test_an_entry_of_the_catalogue(keeper: HubKeeper, hub: HubServer) -> None:
    hub.repos["facebook/mms-tts-eng"] = Repo(make_files(), licence="cc-by-nc-4.0")
    before = await known(keeper, "mms-tts-eng")
    assert (before.job, before.commercial, before.fits, before.copies) == ("speak", False, "fp16", ())
    await keeper.pull("mms-tts-eng", None)
    job = await end_of(keeper, "facebook/mms-tts-eng")
    assert (job.state, job.id) == ("done", "mms-tts-eng")
    assert (await keeper.names("facebook/mms-tts-eng"))[:2] == ("mms-tts-eng", "facebook/mms-tts-eng")
    assert (await known(keeper, "mms-tts-eng")).copies[0].licence == "cc-by-nc-4.0"
    assert (await known(keeper, "qwen3-4b")).runs  # by the loaders that there are
    too_small = (await keeper.survey(2 * GIB)).models
    assert any(model.fits is None and (model.lacking_bytes or 0) > 0 for model in too_small)
    with pytest.raises(UnknownModelError, match="did you mean mms-tts-eng"):
        await keeper.pull("mms-tts-enk", None)
    with pytest.raises(ConfigError, match="is no revision"):
        await keeper.pull("mms-tts-eng", "..")


async def test_a_cancelled_pull_stays_and_is_gone_on_with(keeper: HubKeeper, hub: HubServer) -> None:
    asked, gate = threading.Event(), threading.Event()

    def fault(name: str, start: int) -> Fault | None:
        if (name, start) != (FIRST, 4 * PART_BYTES):
            return None
        asked.set()
        return Fault(wait_for=gate)

    hub.fault = fault
    await keeper.pull(REPO, None)
    assert await asyncio.to_thread(asked.wait, PATIENCE_S)
    async for jobs in keeper.watch():
        if jobs[0].here_bytes >= 4 * PART_BYTES and jobs[0].file:
            break
    with pytest.raises(BusyModelError, match="is being pulled"):
        await keeper.remove(REPO, None)
    with pytest.raises(BusyModelError, match="is being pulled"):
        await keeper.pull(REPO, "a" * 40)
    assert (await keeper.pull(REPO, None)).state in ("running", "checking")  # the one that is under way
    await keeper.cancel(REPO)
    gate.set()
    job = await end_of(keeper)
    assert (job.state, job.error) == ("cancelled", None)
    with pytest.raises(UnknownModelError, match="nothing to cancel"):
        await keeper.cancel(REPO)
    (pull,) = (await known(keeper)).broken_off
    assert 4 * PART_BYTES <= pull.here_bytes <= job.here_bytes < pull.total_bytes
    hub.fault = lambda name, start: None
    hub.asked.clear()
    await keeper.pull(REPO, None)
    assert (await end_of(keeper)).state == "done"
    assert sum(one.stop - one.start for one in hub.asked) == pull.total_bytes - pull.here_bytes
    assert (await known(keeper)).broken_off == ()


@pytest.mark.parametrize(
    ("arrange", "kind", "words"),
    [
        ("gated", GatedModelError, "is gated: accept its terms"),
        ("missing", UnknownModelError, "no model 'maker/tiny-model' on"),
        ("gone", HubError, "broke off|cannot reach"),
        ("flipped", WrongHashError, "its hash is"),
        ("pickle", CheckpointError, "only as .bin"),
    ],
)
async def test_each_end_of_a_pull_has_its_words(
    keeper: HubKeeper, hub: HubServer, arrange: str, kind: type[LocalGPTError], words: str
) -> None:
    match arrange:
        case "gated":
            hub.repos[REPO].gate = "hf_secret"
        case "missing":
            del hub.repos[REPO]
        case "gone":
            hub.is_gone = True
        case "flipped":
            hub.fault = lambda name, start: Fault(flip_at=11) if name == FIRST and start == 0 else None
        case _:
            hub.repos[REPO].files = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    await keeper.pull(REPO, None)
    job = await end_of(keeper)
    assert job.state == "failed" and isinstance(job.error, kind)
    with pytest.raises(kind, match=words):
        raise job.error
    assert "\n" not in str(job.error) and not any(
        model.copies for model in (await keeper.survey(None)).models
    )
    assert (await keeper.cancel(REPO)).state == "failed"  # it is told of until somebody has read it
    with pytest.raises(UnknownModelError):
        await keeper.cancel(REPO)


async def test_offline_fetches_nothing(
    keeper: HubKeeper, environment: dict[str, str], hub: HubServer
) -> None:
    environment["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE=1 says to stay offline"):
        await keeper.pull(REPO, None)
    found = await keeper.survey(None)
    assert found.hub is None and "stay offline" in (found.offline_reason or "")
    assert hub.paths == []
    environment.pop("HF_HUB_OFFLINE")
    environment["HF_TOKEN"] = "hf_secret"
    found = await keeper.survey(None)
    assert (found.hub, found.offline_reason, found.has_token) == (hub.url, None, True)


async def test_models_brought_on_a_disk_are_here(keeper: HubKeeper, home: Path, tmp_path: Path) -> None:
    """What docs/deployment.md says of offices without a network."""
    await keeper.pull(REPO, None)
    await end_of(keeper)
    office = tmp_path / "office"
    shutil.copytree(home / "models", office / "models")
    there = HubKeeper(office, {"HF_HUB_OFFLINE": "1"})
    (copy,) = (await known(there)).copies
    assert copy.folder.startswith(str(office)) and copy.problems == ()
    await there.verify(REPO)
    assert (await end_of(there)).state == "done"
    await there.close()


def test_two_at_once_and_the_others_in_their_turn() -> None:
    jobs, gate = Jobs(), threading.Event()
    for name in "abcd":
        jobs.start(name, name, "pull", "main", lambda job: gate.wait(PATIENCE_S) and None)

    async def settled(wanted: list[str]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            async for statuses in jobs.watch():
                if [job.state for job in statuses] == wanted:
                    return

    asyncio.run(settled(["running", "running", "waiting", "waiting"]))
    assert jobs.cancel("d").state == "cancelled"
    gate.set()
    asyncio.run(settled(["done", "done", "done", "cancelled"]))
    jobs.forget("a")
    assert [job.repo for job in jobs.statuses] == ["b", "c", "d"]
    jobs.close()


def test_a_rate_falls_when_nothing_comes() -> None:
    now = 100.0
    job = Job("a/b", "b", "pull", "main", on_change=lambda now: None, clock=lambda: now)
    job.began()
    job.sized(1000, 200)
    job.came(100)
    now = 102.0
    job.came(100)
    assert (job.status.bytes_per_s, job.status.remaining_s, job.status.here_bytes) == (100.0, 6.0, 400)
    now = 107.0
    assert (job.status.bytes_per_s, job.status.remaining_s) == (20.0, 30.0)
    now = 109.0
    assert (job.status.bytes_per_s, job.status.remaining_s) == (0.0, None)
    job.came(600)
    assert job.status.state == "checking"


class Killed:
    """`localgpt serve` in a process of its own, killed in the middle of a pull."""

    def __init__(self, home: Path, hub: HubServer) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.keeping.killable_server", str(home)],
            cwd=ROOT,
            env=environment | {"LOCALGPT_HUB": hub.url, "HF_HOME": str(home / "hf")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.http = httpx.Client(base_url=self.process.stdout.readline().strip(), timeout=PATIENCE_S)

    def kill(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def test_a_server_that_is_killed_goes_on_from_there(home: Path, hub: HubServer) -> None:
    hub.repos[REPO].files[FIRST] = make_weights(40 * PART_BYTES, 5)
    gate, sent = threading.Event(), 0

    def count(num_bytes: int) -> None:
        nonlocal sent
        sent += num_bytes
        if sent > 10 * PART_BYTES:
            gate.set()

    hub.on_sent = count
    hub.fault = lambda name, start: Fault(wait_for=held) if start >= 12 * PART_BYTES else None
    held = threading.Event()
    first = Killed(home, hub)
    try:
        assert first.http.post("/api/models/pull", json={"model": REPO}).status_code == 202
        assert gate.wait(PATIENCE_S)
    finally:
        first.kill()
        held.set()
    hub.fault = lambda name, start: None
    second = Killed(home, hub)
    try:
        (model,) = [one for one in second.http.get("/api/models").json()["data"] if one["id"] == REPO]
        (pull,) = model["broken_off"]
        assert 0 < pull["here_bytes"] < pull["total_bytes"] and model["copies"] == []
        hub.asked.clear()
        assert second.http.post("/api/models/pull", json={"model": REPO}).status_code == 202
        job = last_job(second.http)
        assert (job["state"], job["here_bytes"]) == ("done", pull["total_bytes"])
        assert sum(one.stop - one.start for one in hub.asked) == pull["total_bytes"] - pull["here_bytes"]
        second.http.post("/api/models/verify", json={"model": REPO})
        assert last_job(second.http)["state"] == "done"
    finally:
        second.kill()


def last_job(http: httpx.Client) -> dict[str, Any]:
    """How the work ends, as the stream of events tells it; a stream that breaks off is read anew."""
    while True:
        with http.stream("GET", "/api/models/events") as events:
            for line in events.iter_lines():
                if not line.startswith("data: {"):
                    continue
                (job,) = json.loads(line.removeprefix("data: "))["jobs"]
                if job["state"] in ("done", "failed", "cancelled"):
                    found: dict[str, Any] = job
                    return found
                if job["here_bytes"]:
                    break


async def test_a_flipped_byte_is_told_over_the_wire_and_mended(
    keeper: HubKeeper, hub: HubServer, connect: Callable[..., httpx.AsyncClient]
) -> None:
    left = [Fault(flip_at=PART_BYTES + 1)]
    hub.fault = lambda name, start: left.pop() if left and name == FIRST and start == PART_BYTES else None
    http = connect(create_app(Settings(), FakeService(), keeper=keeper))
    await http.post("/api/models/pull", json={"model": REPO})
    assert (await end_of(keeper)).state == "failed"
    listed = (await http.get("/api/models")).json()
    assert not any(model["copies"] for model in listed["data"])
    await http.post("/api/models/pull", json={"model": REPO})
    assert (await end_of(keeper)).state == "done"
    (model,) = [one for one in (await http.get("/api/models")).json()["data"] if one["id"] == REPO]
    assert model["copies"][0]["files"] == len(FETCHED) and model["copies"][0]["problems"] == []
    assert (await http.delete(f"/api/models/{REPO}")).status_code == 200
