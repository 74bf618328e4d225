"""Signals to a whole server: a drain, and a second signal. No time is asserted, only ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served import PATIENCE_S, Server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def server(family_folder: Path, tmp_path: Path) -> Iterator[Server]:
    """Drains for an hour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    command = [sys.executable, "-m", "localgpt", "serve", "--port", "0", "--log-level", "warning"]
    options = ["--drain", "3600", "--model", str(family_folder), "--data-dir", str(tmp_path / "home")]
    server = Server([*command, *options], {**kept, "OMP_NUM_THREADS": "1"}, tmp_path)
    yield server
    server.process.kill()
    server.process.communicate()


def hold(server: Server) -> http.client.HTTPConnection:
    """A request whose body is never whole: it keeps its connection, and no slot."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", "10")
    connection.endheaders(b"{")
    return connection


def test_an_idle_server_does_not_wait_for_its_drain(server: Server) -> None:
    assert server.ask()["object"] == "chat.completion"
    connection = hold(server)
    status, err = server.end(signal.SIGTERM)
    connection.close()
    assert status == 0 and "Traceback" not in err


def test_a_second_signal_ends_it(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 100_000}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    server.process.send_signal(signal.SIGTERM)
    status, err = server.end(signal.SIGINT)
    connection.close()
    assert status in (0, 130) and "Traceback" not in err
