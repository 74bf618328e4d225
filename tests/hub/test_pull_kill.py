"""kill -9 in the middle of a pull, again and again: no half model, nothing twice, the right hashes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.pull import Watcher
from tests.hub.conftest import PART_BYTES, REPO, PullNow, half_made, make_weights
from tests.hub.hub_server import HubServer
from tests.law.source import ROOT

LARGE = "model-00001-of-00002.safetensors"


class Killer:
    """Ends a process once the hub has sent it so many bytes."""

    def __init__(self, hub: HubServer) -> None:
        self.num_left = 0
        self.process: subprocess.Popen[bytes] | None = None
        hub.on_sent = self.count

    def count(self, num_bytes: int) -> None:
        self.num_left -= num_bytes
        if self.num_left <= 0 and self.process is not None:
            self.process.kill()

    def run(self, hub: HubServer, models: Path, num_bytes: int) -> int:
        """Pull, and be killed after so many bytes; returns the exit status."""
        self.num_left = num_bytes
        command = [sys.executable, "-m", "tests.hub.killable_pull", hub.url, str(models)]
        with hub.lock:  # so that it is not asked to kill what it does not know yet
            self.process = subprocess.Popen(command, cwd=ROOT)
        try:
            return self.process.wait()
        finally:
            self.process.kill()
            self.process.wait()
            with hub.lock:
                self.process = None


@pytest.mark.parametrize("num_kills", [5, pytest.param(50, marks=pytest.mark.prove)])
def test_a_killed_pull_resumes_to_the_right_hash(
    hub: HubServer, models: Path, pull_now: PullNow, num_kills: int
) -> None:
    hub.repos[REPO].files[LARGE] = make_weights(num_kills * 6 * PART_BYTES + 77, num_kills)
    killer, chance = Killer(hub), random.Random(num_kills)
    num_killed = num_whole = 0
    here = 0
    while num_killed < num_kills:
        status = killer.run(hub, models, chance.randint(1, 8 * PART_BYTES))
        if status == 0:  # it was done before
            check_whole(models)
            kept.remove_model(models, REPO)
            num_whole += 1
            here = 0
            continue
        assert status == -9
        num_killed += 1
        if folders := half_made(models):  # killed after the last step that counts
            assert folders == [folder for folder, _ in kept.list_models(models)]
            continue
        now = bytes_here(models)
        assert now >= here, "what was there is gone"
        here = now
    here = bytes_here(models)
    totals: list[tuple[int, int]] = []
    came: list[int] = []
    pulled = pull_now(watcher=Watcher(on_total=lambda *both: totals.append(both), on_bytes=came.append))
    check_whole(models)
    if not pulled.was_here:
        assert totals == [(pulled.manifest.num_bytes, here)]
        assert sum(came) == pulled.manifest.num_bytes - here
    assert num_whole < num_kills and not kept.list_unfinished(models)


def bytes_here(models: Path) -> int:
    """Whole files, and what the records of others promise, counted without the code under test."""
    total = 0
    for folder in models.glob("*/.pull-*"):
        total += sum(path.stat().st_size for path in (folder / "files").rglob("*") if path.is_file())
        for record in folder.glob("partial/*.parts"):
            body = record.read_bytes()[20:]
            total += sum(int.from_bytes(body[at : at + 8], "little") for at in range(0, len(body), 8))
    return total


def check_whole(models: Path) -> None:
    ((folder, manifest),) = kept.list_models(models)
    assert kept.verify_model(folder, manifest) == []
