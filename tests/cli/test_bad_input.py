"""Every mistake of a user is one clear line on standard error and exit status 2."""

from __future__ import annotations

import os
import socket
import struct
import sys
import zlib
from pathlib import Path

import pytest

from localgpt.cli import main as command_line
from localgpt.cli import train as training
from localgpt.server import start_api
from tests.cli.conftest import Run

LONG = "word " * 400  # the tiny context has 128 tokens


def write_huge_png(path: Path, side: int = 20_000) -> None:
    """A real picture of one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(side * (1 + side // 8)), 1)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.fixture
def bad_files(photo: str, tmp_path: Path) -> None:
    data = (tmp_path / photo).read_bytes()
    (tmp_path / "text.jpg").write_text("hello\n")
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    write_huge_png(tmp_path / "huge.png")


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("nofile.jpg", "No such file"),
        ("text.jpg", "text.jpg: got a text file"),
        ("cut.jpg", "cut.jpg: got a damaged or truncated"),
        ("empty.jpg", "empty.jpg: got an empty file"),
        ("folder.jpg", "directory"),
        ("huge.png", "at most 100 million"),
    ],
)
@pytest.mark.parametrize("command", ["describe", "ask", "chat", "embed"])
def test_bad_pictures(run: Run, command: str, picture: str, reason: str) -> None:
    arguments = {
        "describe": (picture, "--json"),
        "ask": (picture, "What is this?", "--json"),
        "chat": ("What is this?", "--image", picture, "--json"),
        "embed": ("--image", picture),
    }
    outcome = run(command, *arguments[command])
    assert outcome.status == 2 and reason in outcome.line and picture in outcome.line


@pytest.mark.parametrize(
    ("arguments", "stdin", "reason"),
    [
        (("chat", ""), b"", "the prompt is empty"),
        (("chat", " \n"), b"", "the prompt is empty"),
        (("chat", "-"), b"", "the prompt is empty"),
        (("chat", LONG), b"", "tokens, expected at most"),
        (("chat", "-"), LONG.encode(), "tokens, expected at most"),
        (("chat",), LONG.encode(), "tokens, expected at most"),
        (("chat", "-"), b"\xff\xfe\x00", "not UTF-8"),
        (("chat", "\udcff"), b"", "not UTF-8"),
        (("ask", "photo.jpg", ""), b"", "the question is empty"),
        (("ask", "photo.jpg", LONG), b"", "tokens, expected at most"),
        (("embed",), b"", "nothing to embed"),
        (("embed", ""), b"", "the text is empty"),
        (("chat", "hi", "--device", "gpu"), b"", "unknown device 'gpu'"),
        (("chat", "hi", "--model", "."), b"", "no family.json"),
        (("chat", "hi", "--model", "nowhere"), b"", "no model 'nowhere'"),
        (("serve", "--model", ".", "--port", "0"), b"", "no family.json"),
        (("serve", "--device", "gpu", "--port", "0"), b"", "unknown device 'gpu'"),
        (("serve", "--host", "0.0.0.0"), b"", "localgpt serve --host 0.0.0.0 --api-key sk-"),
        (("serve", "--port", "70000"), b"", "--port"),
        (("chat", "hi", "--temperature", "3"), b"", "temperature is 3.0; expected from 0 to 2"),
        (("chat", "hi", "--temperature", "warm"), b"", "--temperature"),
        (("chat", "hi", "--top-p", "0"), b"", "top_p is 0"),
        (("chat", "hi", "--top-k", "-1"), b"", "top_k is -1"),
        (("chat", "hi", "--seed", "-1"), b"", "--seed"),
        (("chat", "hi", "--max-tokens", "0"), b"", "--max-tokens"),
        (("describe", "photo.jpg", "--language", "fr"), b"", "--language"),
        (("describe",), b"", "IMAGE"),
        (("ask", "photo.jpg"), b"", "QUESTION"),
        (("chat", "one", "two"), b"", "two"),
        (("chat", "--nonsense"), b"", "--nonsense"),
        (("nonsense",), b"", "nonsense"),
        (("models", "export", "nowhere/model.bin"), b"", "cannot write nowhere/model.bin"),
        (("models", "export"), b"", "FILE"),
        (("train", "nonsense", "--data", ".", "--out", "out"), b"", "known recipes: decoder"),
        (("train", "decoder", "--data", "nowhere", "--out", "out"), b"", "nowhere"),
        (("bench", "decode", "--rounds", "0"), b"", "--rounds"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_bad_words_and_options(run: Run, arguments: tuple[str, ...], stdin: bytes, reason: str) -> None:
    outcome = run(*arguments, stdin=stdin)
    assert outcome.status == 2 and reason in outcome.line


@pytest.mark.parametrize(("name", "value"), [("PORT", "many"), ("LOG_LEVEL", "loud"), ("DEVICE", "gpu")])
def test_the_environment_is_checked_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LOCALGPT_{name}", value)
    assert run("chat", "hi").status == 2


def test_a_taken_port(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = run("serve", "--port", port)
    assert outcome.status == 2 and f"port {port} on 127.0.0.1 is in use" in outcome.line


def test_recipes_need_a_checkout(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "__file__", str(tmp_path / "site-packages/localgpt/cli/train.py"))
    outcome = run("train", "decoder", "--data", ".", "--out", "out")
    assert outcome.status == 2 and "clone the project" in outcome.line


def test_the_unexpected_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("localgpt.checkpoints.resolve_family", fail)
    outcome = run("models")
    assert outcome.status == 1 and "unexpected error: RuntimeError: out of luck" in outcome.line
    assert "LOCALGPT_DEBUG=1" in outcome.line
    assert "Traceback" in run("models", "--debug").err
    monkeypatch.setenv("LOCALGPT_DEBUG", "1")
    assert "Traceback" in run("models").err


def test_ctrl_c_and_a_closed_pipe_are_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((KeyboardInterrupt, 130), (BrokenPipeError, 1)):

        def fail(*_: object, error: type[BaseException] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("localgpt.checkpoints.resolve_family", fail)
        outcome = run("models")
        assert (outcome.status, outcome.out, outcome.err) == (status, "", "")


def test_a_script_with_an_unknown_key_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(Exception, match="unknown config key 'colour'; known keys: modelpath") as caught:
        start_api({"colour": "red"})
    with pytest.raises(SystemExit) as end:
        sys.excepthook(caught.type, caught.value, caught.tb)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "colour" in err


def test_debug_is_taken_out_wherever_it_stands(run: Run) -> None:
    assert command_line._normalise(["chat", "--debug", "--max_tokens=2", "--", "--debug", "--a_b"]) == (
        ["chat", "--max-tokens=2", "--", "--debug", "--a_b"],
        True,
    )
    assert os.environ.get("LOCALGPT_DEBUG") is None
