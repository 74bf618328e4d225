"""Pulling a model from a hub that behaves."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest

from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.address import Hub, hub_of
from localgpt.checkpoints.hub.pull import Watcher
from localgpt.errors import CancelledRequestError, CapacityError, ConfigError
from tests.hub.conftest import FETCHED, PART_BYTES, REPO, PullNow, make_weights
from tests.hub.hub_server import Fault, HubServer, Repo, sha256

COMMIT = "a" * 40


def test_a_model_is_fetched_whole(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    pulled = pull_now()
    assert pulled.folder == models / "maker--tiny-model" / COMMIT and not pulled.was_here
    files = hub.repos[REPO].files
    here = sorted(
        path.relative_to(pulled.folder).as_posix() for path in pulled.folder.rglob("*") if path.is_file()
    )
    assert here == sorted([*FETCHED, "manifest.json"])
    assert all((pulled.folder / name).read_bytes() == files[name] for name in FETCHED)
    manifest = json.loads((pulled.folder / "manifest.json").read_text("utf-8"))
    assert manifest["licence"] == "apache-2.0" and manifest["source"] == hub.url
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == {
        name: sha256(files[name]) for name in FETCHED
    }
    assert [path.name for path in (models / "maker--tiny-model").iterdir()] == [COMMIT]
    assert kept.verify_model(pulled.folder, pulled.manifest) == []


def test_large_files_come_in_parts_side_by_side(hub: HubServer, pull_now: PullNow) -> None:
    """Four parts wait for each other: a pull that asked one after the other would never end."""
    barrier = threading.Barrier(4, timeout=60)
    first = "model-00001-of-00002.safetensors"
    meet = [0, PART_BYTES, 2 * PART_BYTES, 3 * PART_BYTES]

    class Meeting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return barrier.wait() >= 0

    hub.fault = lambda name, start: Fault(wait_for=Meeting()) if name == first and start in meet else None
    pull_now()
    ranges = sorted((asked.start, asked.stop) for asked in hub.asked if asked.name == first)
    size = len(hub.repos[REPO].files[first])
    assert ranges == [(start, min(start + PART_BYTES, size)) for start in range(0, size, PART_BYTES)]


def test_nothing_is_asked_for_twice(hub: HubServer, pull_now: PullNow) -> None:
    pull_now()
    assert set(Counter(hub.asked).values()) == {1}
    assert {asked.name for asked in hub.asked} == {name for name in FETCHED if not name.endswith("empty.txt")}
    hub.asked.clear()
    again = pull_now()
    assert again.was_here and not hub.asked
    num_paths = len(hub.paths)
    assert pull_now(revision=COMMIT).was_here and len(hub.paths) == num_paths  # not even a question


def test_the_token_goes_to_the_hub_alone(hub: HubServer, pull_now: PullNow) -> None:
    hub.repos[REPO].gate = "hf_right"
    pull_now(token="hf_right")
    by_host = {asked.host: asked.token for asked in hub.asked}
    assert by_host == {"127.0.0.1": "Bearer hf_right", "localhost": None}


def test_progress_adds_up(pull_now: PullNow) -> None:
    totals: list[tuple[int, int]] = []
    came = [0]
    lock = threading.Lock()

    def count(num_bytes: int) -> None:
        with lock:
            came[0] += num_bytes

    pulled = pull_now(watcher=Watcher(on_total=lambda *both: totals.append(both), on_bytes=count))
    assert totals == [(pulled.manifest.num_bytes, 0)] and came == [pulled.manifest.num_bytes]


def test_a_stopped_pull_is_gone_on_with(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    watcher = Watcher()
    seen = [0]

    def count(num_bytes: int) -> None:
        seen[0] += num_bytes
        if seen[0] > 3 * PART_BYTES:
            watcher.stop.set()

    watcher.on_bytes = count
    with pytest.raises(CancelledRequestError, match="to go on from here"):
        pull_now(watcher=watcher)
    (entry,) = kept.list_unfinished(models)
    assert entry.repo == REPO and entry.num_bytes > 7 * PART_BYTES and not kept.list_models(models)
    totals: list[tuple[int, int]] = []
    pulled = pull_now(watcher=Watcher(on_total=lambda *both: totals.append(both)))
    assert totals[0][1] >= 3 * PART_BYTES and not kept.list_unfinished(models)
    assert kept.verify_model(pulled.folder, pulled.manifest) == []


def test_two_pulls_of_one_model_do_not_fight(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    with kept.lock_model(models, REPO):
        with pytest.raises(CapacityError, match=f"another LocalGPT is at work on {REPO}"):
            pull_now()
        hub.repos["maker/other"] = Repo({"a.safetensors": make_weights(10)})
        assert pull_now("maker/other").manifest.num_bytes == 10
    assert not pull_now().was_here


def test_a_branch_that_moved_is_another_model(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    old = pull_now()
    hub.repos[REPO].commit = "b" * 40
    hub.repos[REPO].files["config.json"] = b'{"model_type": "qwen3"}'
    new = pull_now()
    assert {folder.name[0] for folder, _ in kept.list_models(models)} == {
        "a",
        "b",
    } and old.folder != new.folder
    assert kept.find_model(models, REPO, "a" * 8) == old.folder
    assert kept.find_model(models, REPO, "b" * 40) == new.folder
    assert kept.find_model(models, REPO, "c" * 40) is None and kept.find_model(models, "maker/none") is None


def test_licences_are_told_as_the_card_does(hub: HubServer, pull_now: PullNow) -> None:
    hub.repos["a/named"] = Repo({"m.safetensors": make_weights(10)}, licence="llama3.2")
    hub.repos["a/none"] = Repo({"m.safetensors": make_weights(10)}, licence="")
    assert pull_now("a/named").manifest.licence == "llama3.2"
    assert pull_now("a/none").manifest.licence == "unknown"


def test_the_environment_names_hub_and_token(tmp_path: Path) -> None:
    nobody = {"HF_HOME": str(tmp_path)}
    assert hub_of(nobody) == Hub(url="https://huggingface.co")
    assert hub_of({**nobody, "HF_ENDPOINT": "https://mirror.example/"}).url == "https://mirror.example"
    both = {**nobody, "HF_ENDPOINT": "https://mirror.example", "LOCALGPT_HUB": "http://10.0.0.1:9"}
    assert hub_of(both).url == "http://10.0.0.1:9"
    (tmp_path / "token").write_text("hf_kept\n")
    assert hub_of(nobody).token == "hf_kept" and "hf_kept" not in repr(hub_of(nobody))
    assert hub_of({**nobody, "HF_TOKEN": "hf_given"}).token == "hf_given"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE=1 says to stay offline"),
        ({"LOCALGPT_OFFLINE": "true"}, "LOCALGPT_OFFLINE=true says to stay offline"),
        ({"LOCALGPT_HUB": "ftp://hub"}, "LOCALGPT_HUB is 'ftp://hub'; expected an address"),
        ({"LOCALGPT_HUB": "https://me:secret@hub.example"}, "expected an address"),
        ({"LOCALGPT_HUB": "http://["}, "expected an address"),
        ({"LOCALGPT_HUB": "http://hub:many"}, "expected an address"),
        ({"HF_ENDPOINT": "hub"}, "HF_ENDPOINT is 'hub'; expected an address"),
        ({"HF_ENDPOINT": "http://hub.example", "HF_TOKEN": "hf_x"}, "without encryption"),
        ({"HF_TOKEN": "two words"}, "HF_TOKEN holds no token"),
    ],
)
def test_environments_that_are_refused(environment: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        hub_of({"HF_HOME": str(tmp_path), **environment})
