"""Whole processes: a server asked over HTTP, Ctrl-C, SIGTERM, a terminal. No time is asserted, only ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.served import PATIENCE_S, Server

COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "localgpt")


@pytest.fixture
def environment(family_folder: Path, tmp_path: Path) -> dict[str, str]:
    """Without the user's settings; the tiny model is the model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    return {
        **kept,
        "LOCALGPT_MODEL": str(family_folder),
        "LOCALGPT_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that do not outlive the test."""
    servers: list[Server] = []

    def start(*command: str) -> Server:
        servers.append(Server(list(command), environment, tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


def test_serve_keeps_to_its_memory_budget(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(*COMMAND, "serve", "--port", "0", "--memory-budget", "10", "--log-level", "warning")
    server.ask()
    with urllib.request.urlopen(f"{server.url}/v1/memory", timeout=PATIENCE_S) as reply:
        memory = json.load(reply)
    assert memory["ready"] and memory["budget_bytes"] == 10 << 20
    assert 0 < memory["used_bytes"] < memory["budget_bytes"]
    status, err = server.end(signal.SIGTERM)
    assert status == 0
    assert re.search("memory for [123] answers? at once instead of 4", err)  # kernels differ
    kept = json.loads((tmp_path / "home" / "memory-peaks.json").read_text())
    assert [peak["shape"] for peak in kept["peaks"]] == ["answer to 64 tokens"]


def test_serve_refuses_a_budget_that_holds_no_answer(environment: dict[str, str]) -> None:
    refused = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--memory-budget", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 3
    assert "the memory budget is 1.0 MiB" in refused.stderr.splitlines()[-1]


def test_serve_answers_and_ends(start: Callable[..., Server], environment: dict[str, str]) -> None:
    server = start(*COMMAND, "serve", "--port", "0", "--use_cache", "--log-level", "warning")
    assert server.ask()["object"] == "chat.completion"
    port = server.url.rpartition(":")[2]
    second = subprocess.run(
        [*COMMAND, "serve", "--port", port], env=environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 2 and second.stderr.count("\n") == 1 and "in use" in second.stderr
    status, err = server.end(signal.SIGINT)
    assert status == 130
    # Where the machine is busy, the models' process may take longer than it is given, which is told.
    assert [line for line in err.splitlines() if "the models did not stop within" not in line] == []


def test_start_api_as_published(
    start: Callable[..., Server], environment: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run([*COMMAND, "models", "export", "model.bin"], env=environment, cwd=tmp_path, check=True)
    config = '{"modelpath": "./model.bin", "device": "cuda:63", "max_batch_size": 4, "enable语音": True}'
    code = f'from localgpt.server import start_api\nstart_api({config}, host="0.0.0.0", port=0)\n'
    server = start(sys.executable, "-W", "error", "-c", code)
    assert "cuda:63 is not here" in server.said and "voice is" not in server.said
    assert "Device: cpu\n" in server.said
    (key,) = re.findall(r"API key \(shown once\): (\S+)", server.said)
    assert server.ask(key)["object"] == "chat.completion"
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        server.ask()
    refused.value.close()
    status, err = server.end(signal.SIGTERM)
    assert status == 0 and "Traceback" not in err


def test_a_broken_model_ends_the_server_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([*COMMAND, "models", "export", "cut.bin"], env=environment, cwd=tmp_path, check=True)
    (tmp_path / "cut.bin").write_bytes((tmp_path / "cut.bin").read_bytes()[:-10])
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--model", "cut.bin"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "copy it again" in done.stderr


def test_ctrl_c_ends_a_conversation(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", "--json", "--max-tokens", "2"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"hi\n")
    process.stdin.flush()
    assert b"generated_text" in process.stdout.readline()  # it waits for the next line now
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_conversation_at_a_terminal(environment: dict[str, str]) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "chat", "--max-tokens", "3"],
        env={**environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        close_fds=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, b"> ")
        os.write(ours, b"hi\n")
        shown = read_until(ours, b"> ")
        assert b"hi\r\n" in shown and shown.count(b"\r\n") >= 2
        os.write(ours, b"\x04")  # Ctrl-D
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, mark: bytes) -> bytes:
    """What a terminal shows up to a mark at its end."""
    shown = b""
    while not shown.endswith(mark):
        piece = os.read(terminal, 1024)
        assert piece, shown
        shown += piece
    return shown


def test_a_closed_pipe_is_quiet(environment: dict[str, str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*COMMAND, "chat", "--help"], env=environment, stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    assert done.stderr == b"" and done.returncode in (0, 1)
