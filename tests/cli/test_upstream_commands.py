"""Upstreams on the command line: how they are named, chatted with, served and looked at."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgpt.cli.upstreams import upstream_values
from localgpt.errors import ConfigError
from tests.cli.conftest import Run
from tests.served import Server
from tests.upstream.wire_server import WireServer, says, streams, text_chunks, wire_server


@pytest.fixture
def upstream() -> Iterator[WireServer]:
    """A server in a thread of its own that says "from afar" and has one model."""
    ready, done = threading.Event(), threading.Event()
    found: list[WireServer] = []

    async def script(asked, writer):  # type: ignore[no-untyped-def]
        models = {"data": [{"id": "tiny"}]}
        answer = says(models) if asked.method == "GET" else streams(*text_chunks("from ", "afar"))
        await answer(asked, writer)

    async def serve() -> None:
        async with wire_server(script) as server:
            found.append(server)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    yield found[0]
    done.set()
    thread.join()


def test_chat_with_a_model_elsewhere(run: Run, upstream: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALGPT_UPSTREAMS__box__BASE_URL", upstream.url)
    outcome = run("chat", "hi", "--model", "upstream:box/tiny", "--json")
    assert outcome.json == {"generated_text": "from afar"} and not outcome.err
    assert upstream.last.body["messages"][-1] == {"role": "user", "content": "hi"}
    monkeypatch.setenv("LOCALGPT_UPSTREAMS__box__ALLOW_REMOTE", "true")
    assert "upstream:box may leave this machine" in run("chat", "hi", "--model", "upstream:box/tiny").err
    assert (
        "is of no upstream; expected upstream:box/MODEL" in run("chat", "hi", "--model", "upstream:b/t").line
    )


def test_doctor_asks_for_their_models_and_nothing_else(run: Run, upstream: WireServer) -> None:
    gone = "gone=http://127.0.0.1:1/v1"
    given = ("--upstream", f"box={upstream.url},kind=ollama", "--upstream", gone)
    report = run("doctor", "--json", *given).json
    box, away = report["upstreams"]
    assert box["models"] == ["upstream:box/tiny"] and box["trouble"] is None and box["kind"] == "ollama"
    assert away["models"] == [] and away["trouble"] in report["problems"]
    assert [(asked.method, asked.path) for asked in upstream.asked] == [("GET", "/v1/models")]
    text = run("doctor", *given).out
    assert f"upstream:box {upstream.url} (ollama): 1 models" in text
    assert "does not answer" in text and "GGUF " in text


def test_doctor_outlives_one_that_cannot_be_used(run: Run) -> None:
    problems = run("doctor", "--json", "--upstream", "box=https://example.org/v1").json["problems"]
    assert any("not this machine" in problem for problem in problems)


def test_what_is_written_becomes_the_setting() -> None:
    written = ["a=http://h/v1?x=1", "b=http://h/v1,kind=vllm,allow_remote=true"]
    assert upstream_values(written) == {
        "a": {"base_url": "http://h/v1?x=1"},
        "b": {"base_url": "http://h/v1", "kind": "vllm", "allow_remote": "true"},
    }
    assert upstream_values([]) is None


@pytest.mark.parametrize(
    "written", [[""], ["a"], ["a="], ["=http://h"], ["a=http://h,kind"], ["a=http://h,kind="],
                ["a=http://h,kind=x,kind=y"], ["a=http://h", "a=http://i"]]
)  # fmt: skip
def test_what_cannot_be_read(written: list[str]) -> None:
    with pytest.raises(ConfigError, match="--upstream"):
        upstream_values(written)


def test_serve_refuses_another_machine_and_a_wrong_field(run: Run) -> None:
    assert "not this machine" in run("serve", "--upstream", "box=http://10.0.0.1/v1").line
    assert "unknown setting 'upstreams.box.key'" in run("serve", "--upstream", "box=http://h,key=x").line


def test_the_start_says_where_what_is_asked_goes(family_folder: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    environment = kept | {"LOCALGPT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "localgpt", "serve", "--port", "0", "--model", str(family_folder)]
    upstreams = ["near=http://127.0.0.1:1/v1", "far=https://192.0.2.1/v1,allow_remote=true"]
    given = [word for one in upstreams for word in ("--upstream", one)]
    server = Server([*command, "--device", "cpu", *given], environment, tmp_path)
    try:
        assert "Upstream near: http://127.0.0.1:1/v1\nUpstream far: https://192.0.2.1/v1\n" in server.said
        err = server.end(signal.SIGINT)[1]
    finally:
        server.process.kill()
        server.process.communicate()
    assert "what is asked of upstream:far leaves this machine, to 192.0.2.1" in err
    assert "upstream:near" not in err
