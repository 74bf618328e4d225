"""`localgpt pull` and `localgpt models`, against a hub of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgpt.checkpoints.hub.kept import lock_model
from tests.cli.conftest import Run
from tests.hub.conftest import FETCHED, REPO, make_files
from tests.hub.hub_server import Fault, HubServer, Repo

FIRST = "model-00001-of-00002.safetensors"
COMMIT = "a" * 40


@pytest.fixture
def hub(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub that the commands ask, with the tiny model and one of the catalogue."""
    for name in os.environ:
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    server = HubServer()
    server.repos[REPO] = Repo(make_files())
    server.repos["facebook/mms-tts-eng"] = Repo(make_files(), licence="cc-by-nc-4.0")
    monkeypatch.setenv("LOCALGPT_HUB", server.url)
    yield server
    server.close()


def test_a_model_comes_goes_and_is_told_of(run: Run, hub: HubServer, tmp_path: Path) -> None:
    pulled = run("pull", REPO, "--json").json
    folder = tmp_path / "home" / "models" / "maker--tiny-model" / COMMIT
    assert pulled == {
        "id": REPO,
        "revision": COMMIT,
        "path": str(folder),
        "files": len(FETCHED),
        "bytes": sum(len(make_files()[name]) for name in FETCHED),
        "licence": "apache-2.0",
        "commercial": None,
        "was_here": False,
    }
    again = run("pull", REPO)
    assert f"{REPO} was here already" in again.err and f"{folder}: {len(FETCHED)} files" in again.out
    listed = run("models", "--json").json
    assert [model["id"] for model in listed["pulled"]] == [REPO] and listed["unfinished"] == []
    assert listed["pulled"][0] | {"path": str(folder), "requested": "main"} == listed["pulled"][0]
    assert f"{REPO}  {COMMIT[:12]}" in run("models").out
    shown = run("models", "show", REPO, "--json").json
    assert shown == {"catalogue": None, "pulled": listed["pulled"]}
    assert "tokenizer/词表 é.json" in run("models", "show", REPO).out
    assert run("models", "verify", "--json").json["verified"][0]["problems"] == []
    removed = run("models", "remove", REPO, "--json").json
    assert removed["removed"] == REPO and removed["bytes"] >= pulled["bytes"]
    assert not folder.exists() and run("models", "--json").json["pulled"] == []


def test_a_name_of_the_catalogue(run: Run, hub: HubServer) -> None:
    outcome = run("pull", "mms-tts-eng")
    assert outcome.status == 0 and "licence cc-by-nc-4.0" in outcome.out
    assert "does not allow commercial use" in outcome.err
    assert run("pull", "mms-tts-eng", "--json", "--revision", COMMIT).json["commercial"] is False
    lines = run("models").out.splitlines()
    assert any(line.split()[0] == "facebook/mms-tts-eng" for line in lines if line.strip())
    assert not any(line.split()[0] == "mms-tts-eng" for line in lines if line.strip())  # it is here
    shown = run("models", "show", "mms-tts-eng")
    assert "CC-BY-NC-4.0; no commercial use" in shown.out and "cc-by-nc-4.0" in shown.out
    assert run("models", "remove", "mms-tts-eng").status == 0


def test_the_catalogue_says_what_fits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from localgpt.cli import machine

    monkeypatch.setattr(machine, "model_memory_bytes", lambda: 8 * 2**30)
    answer = run("models", "--json").json
    fits = {model["name"]: model["fits"] for model in answer["catalogue"]}
    assert (
        answer["memory_bytes"] == 8 * 2**30 and fits["qwen3-4b"] == "int8" and fits["whisper-base"] == "fp16"
    )
    assert (
        "here with 8.0 GiB" in run("models").out and "fits at int8" in run("models", "show", "qwen3-4b").out
    )
    monkeypatch.setattr(machine, "model_memory_bytes", lambda: 2 * 2**30)
    assert "lacks 2.0 GiB" in run("models", "show", "qwen3-4b").out
    monkeypatch.setattr(machine, "model_memory_bytes", lambda: None)
    assert run("models", "show", "qwen3-4b", "--json").json["catalogue"]["fits"] is None


def test_the_users_own_catalogue(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "catalogue.yaml").write_text("models: [{name: mine}]")
    outcome = run("models")
    assert outcome.status == 2 and "model 1 of the catalogue" in outcome.line and "lacks repo" in outcome.line


def test_what_is_not_as_it_was_pulled(run: Run, hub: HubServer) -> None:
    path = Path(run("pull", REPO, "--json").json["path"])
    data = bytearray((path / FIRST).read_bytes())
    data[1000] ^= 1
    (path / FIRST).write_bytes(data)
    (path / "LICENSE").unlink()
    (path / "README.md").write_bytes(b"")
    outcome = run("models", "verify", REPO, "--json")
    assert outcome.status == 2 and "run localgpt models remove, then localgpt pull" in outcome.err
    problems = " ".join(outcome.json["verified"][0]["problems"])
    assert f"{FIRST} has another hash" in problems and "LICENSE cannot be read" in problems
    assert "README.md has 0 bytes instead of 7" in problems
    assert "has another hash" in run("models", "verify").out


def test_a_broken_off_pull_is_told_of_and_removed(run: Run, hub: HubServer, tmp_path: Path) -> None:
    hub.fault = lambda name, start: Fault(flip_at=0) if name == FIRST else None
    failed = run("pull", REPO, "--json")
    assert failed.status == 2 and "its hash is" in failed.line
    listed = run("models", "--json").json
    assert listed["pulled"] == [] and [entry["id"] for entry in listed["unfinished"]] == [REPO]
    assert "Broken off" in run("models").out
    assert run("models", "remove", REPO, "--revision", "main").status == 0
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == [".locks"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("pull",), 2, "NAME"),
        (("pull", "qwen3-4"), 2, "did you mean qwen3-4b"),
        (("pull", "maker/nothing"), 2, "no model 'maker/nothing'"),
        (("pull", REPO, "--revision", "v9"), 2, "has no revision 'v9'"),
        (("pull", "local/multimodal-base"), 2, "there is nothing to pull"),
        (("models", "show", "maker/nothing"), 2, "localgpt pull maker/nothing fetches it"),
        (("models", "show", "nothing-like-it"), 2, "localgpt models lists them"),
        (("models", "verify", REPO), 2, f"no model {REPO} was pulled"),
        (("models", "remove", REPO), 2, f"no model {REPO} was pulled; pulled models: none"),
        (("models", "remove", "whisper-small"), 2, "no model openai/whisper-small was pulled"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_mistakes_are_one_line(run: Run, arguments: tuple[str, ...], status: int, reason: str) -> None:
    outcome = run(*arguments)
    assert outcome.status == status and reason in outcome.line


def test_offline_gated_and_busy_are_one_line(
    run: Run, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.repos[REPO].gate = "hf_right"
    assert "is gated: accept its terms" in run("pull", REPO).line
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with lock_model(tmp_path / "home" / "models", REPO):
        busy = run("pull", REPO)
        assert busy.status == 3 and "another LocalGPT is at work" in busy.line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = run("pull", REPO)
    assert offline.status == 2 and "says to stay offline" in offline.line
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert run("pull", REPO).status == 0


def test_a_bar_on_a_terminal(run: Run, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    outcome = run("pull", REPO, "--json")
    assert outcome.json["was_here"] is False


def test_a_pull_loads_no_torch(hub: HubServer) -> None:
    code = (
        "import sys\nfrom localgpt.cli.main import main\n"
        f"assert main(['pull', {REPO!r}]) == 0\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
