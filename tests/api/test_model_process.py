"""A whole server whose models have a process of their own: what the gateway loads, and what a crash costs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.served import PATIENCE_S, Server

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

HEAVY = ("torch", "transformers", "diffusers", "PIL", "av", "soundfile", "numpy")
SERVE = """
import sys
from localgpt.server import start_api
start_api({"model_process": sys.argv[1] == "own"}, port=0)
print("loaded:", *[name for name in sys.argv[2:] if name in sys.modules])
"""


@pytest.fixture
def start(family_folder: Path, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Start servers that do not outlive the test, and say at their end what they have loaded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    ours = {"LOCALGPT_MODEL": str(family_folder), "LOCALGPT_HOME": str(tmp_path / "home")}
    servers: list[Server] = []

    def start(where: str) -> Server:
        form = {"LOCALGPT_LOG_FORMAT": "json", "LOCALGPT_HEARTBEAT_S": "0.1", "LOCALGPT_DRAIN_S": "3600"}
        environment = {**kept, **ours, **form, "OMP_NUM_THREADS": "1"}
        servers.append(Server([sys.executable, "-c", SERVE, where, *HEAVY], environment, tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


def children_of(server: Server) -> list[int]:
    number = server.process.pid
    return [int(pid) for pid in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def get(server: Server, path: str) -> str:
    with urllib.request.urlopen(server.url + path, timeout=PATIENCE_S) as reply:
        text: str = reply.read().decode()
    return text


def stream(server: Server, text: str) -> HTTPResponse:
    """A long answer as it comes; heartbeats begin it, even where the models are stopped."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": 100_000}
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    reply: HTTPResponse = urllib.request.urlopen(asked, timeout=PATIENCE_S)
    return reply


def end(server: Server) -> tuple[str, str]:
    """What it had loaded, and its log."""
    out, err = server.process.communicate(timeout=PATIENCE_S)
    assert server.process.returncode == 0 and "Traceback" not in err, err
    return re.findall(r"loaded:(.*)", out)[0], err


def test_the_gateway_loads_nothing_of_the_models_and_decides_when_they_end(
    start: Callable[[str], Server],
) -> None:
    server = start("own")
    assert server.ask()["object"] == "chat.completion"
    (child,) = children_of(server)
    status, metrics = json.loads(get(server, "/v1/status")), get(server, "/metrics")
    own = float(re.findall(r"^localgpt_model_process_bytes (\S+)$", metrics, re.MULTILINE)[0])
    both = float(re.findall(r"^localgpt_process_bytes (\S+)$", metrics, re.MULTILINE)[0])
    assert 0 < own < both and status["process_bytes"] > own
    assert json.loads(get(server, "/v1/memory"))["ready"]
    os.kill(child, signal.SIGSTOP)  # the answer is not over before the signal
    with stream(server, "hi") as reply:
        for number in (child, server.process.pid):  # as service managers do
            os.kill(number, signal.SIGTERM)
        os.kill(child, signal.SIGCONT)
        assert reply.read().endswith(b"data: [DONE]\n\n")
    loaded, _ = end(server)
    assert loaded == ""
    assert not Path(f"/proc/{child}").exists()


def test_in_one_process_it_is_as_before(start: Callable[[str], Server]) -> None:
    server = start("same")
    assert server.ask()["object"] == "chat.completion"
    assert children_of(server) == []
    assert "localgpt_model_process_bytes 0.0" in get(server, "/metrics")
    server.process.send_signal(signal.SIGTERM)
    loaded, _ = end(server)
    assert "torch" in loaded


def test_a_crash_of_the_models_costs_their_answers_and_no_more(start: Callable[[str], Server]) -> None:
    server = start("own")
    assert server.ask()["object"] == "chat.completion"
    (child,) = children_of(server)
    os.kill(child, signal.SIGSTOP)  # the answer is not over before the crash
    with stream(server, "secret") as reply:
        os.kill(child, signal.SIGKILL)
        while get_status(server, "/ready") == 200:  # until the end is noticed
            pass
        assert get_status(server, "/health") == 200
        text = reply.read().decode()
    assert '"backend_unavailable"' in text and "SIGKILL" in text and "started again" in text
    assert server.ask()["object"] == "chat.completion"  # it waits for the next process
    assert children_of(server) != [child] and get_status(server, "/ready") == 200
    server.process.send_signal(signal.SIGTERM)
    _, log = end(server)
    lines = [json.loads(line) for line in log.splitlines()]
    (crash,) = [line for line in lines if line["level"] == "error"]
    assert crash["logger"] == "localgpt.worker.keeper" and "SIGKILL" in crash["event"]
    assert "secret" not in log


def get_status(server: Server, path: str) -> int:
    try:
        with urllib.request.urlopen(server.url + path, timeout=PATIENCE_S) as reply:
            status: int = reply.status
            return status
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
