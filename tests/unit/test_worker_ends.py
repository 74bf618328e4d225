"""How the models' process begins and ends: told what it cannot load, and gone with its parent."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from localgpt.errors import BackendError, ConfigError
from localgpt.settings import Settings, UpstreamSettings
from localgpt.worker import ModelProcess, WorkerService

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs inherited sockets")
linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for a process that is not its own")
PATIENCE_S = 60  # of a busy machine; a hang fails the test


@pytest.fixture
def settings(family_folder: Path, tmp_path: Path) -> Settings:
    return Settings(model=str(family_folder), device="cpu", data_dir=tmp_path / "home", log_level="warning")


def test_what_cannot_be_used_is_told_before_anything_listens(settings: Settings, tmp_path: Path) -> None:
    service = WorkerService(partial(ModelProcess, settings.model_copy(update={"device": "gpu"})))
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        _ = service.plan
    service.kill()
    service = WorkerService(partial(ModelProcess, settings, program=tmp_path / "missing.py"))
    with pytest.raises(BackendError, match="ended with status 2 before it could load"):
        _ = service.plan
    service.kill()


def test_a_process_that_cannot_be_started_leaves_no_socket(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    pair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", lambda: made.extend(pair()) or tuple(made))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        ModelProcess(settings)
    assert [one.fileno() for one in made] == [-1, -1]


PARENT = """
import os, sys
from pathlib import Path
from localgpt.settings import Settings
from localgpt.worker import ModelProcess
process = ModelProcess(Settings(model=sys.argv[1], device="cpu", data_dir=Path(sys.argv[2])))
process.wait_for_plan()
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent(family_folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts one for models, and tells its number."""
    command = [sys.executable, "-c", PARENT, str(family_folder), str(tmp_path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    yield process
    process.kill()
    process.communicate()


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_ends_with_its_parent(parent: subprocess.Popen[str], number: signal.Signals) -> None:
    assert parent.stdout is not None
    descriptor = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(number)
    assert select.select([descriptor], [], [], PATIENCE_S)[0], "it lives on"
    os.close(descriptor)


@linux
def test_signals_to_its_whole_group_are_for_the_parent(settings: Settings) -> None:
    process = ModelProcess(settings)
    process.wait_for_plan()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    process.socket.close()  # the end that it heeds
    assert process.end(grace_s=PATIENCE_S) == "ended with status 0"


SECRETS = ("LOCALGPT_PASSPHRASE", "HF_TOKEN", "BOX_KEY")
SAY_ENVIRONMENT = """
import os, sys
marks = ("LOCALGPT_", "OMP_WAIT", "GOMP", "HF_TOKEN", "BOX_KEY")
names = [name for name in os.environ if name.startswith(marks)]
sys.exit(sum({"OMP_WAIT_POLICY": 1, "GOMP_SPINCOUNT": 2}.get(name, 100) for name in names))
"""


@pytest.mark.parametrize(("given", "status"), [({}, 1), ({"GOMP_SPINCOUNT": "5"}, 2)])
def test_its_variables_hold_no_secrets_and_the_user_wins(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    status: int,
) -> None:
    program = tmp_path / "say.py"
    program.write_text(SAY_ENVIRONMENT)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**given, **dict.fromkeys(SECRETS, "secret")}.items():
        monkeypatch.setenv(name, value)
    box = UpstreamSettings(base_url="http://127.0.0.1:9/v1", api_key_env="BOX_KEY")
    process = ModelProcess(settings.model_copy(update={"upstreams": {"box": box}}), program=program)
    assert process.end(grace_s=PATIENCE_S) == f"ended with status {status}"
