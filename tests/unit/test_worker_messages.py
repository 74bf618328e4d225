"""What gateway and models' process say to each other: frames of any cut, errors of every class, settings."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from pathlib import Path

import pytest

import localgpt.runtime.local
import localgpt.server  # noqa: F401
from localgpt.errors import CapacityError, InputError, LocalGPTError, PromptTooLongError
from localgpt.server.errors import describe_error
from localgpt.settings import _SECRETS, Settings
from localgpt.worker.frames import (
    HEADER_BYTES,
    MAX_BODY_BYTES,
    BrokenFrameError,
    Frame,
    FrameReader,
    Kind,
    encode_frame,
)
from localgpt.worker.logs import log_lines_to_stderr, pass_on
from localgpt.worker.messages import (
    _KEPT_HERE,
    Plan,
    RemoteError,
    copy_error,
    decode_error,
    decode_plan,
    decode_settings,
    encode_error,
    encode_plan,
    encode_settings,
)

FRAMES = [
    Frame(Kind.RUN, 1, b"x" * 300),
    Frame(Kind.CANCEL, 2**64 - 1, b""),
    Frame(Kind.TEXT, 3, "一个词".encode()),
    Frame(Kind.EVENT, 3, bytes(range(256))),
]


def classes_below(cls: type[LocalGPTError]) -> list[type[LocalGPTError]]:
    return [cls, *(one for child in cls.__subclasses__() for one in classes_below(child))]


@pytest.mark.parametrize("seed", range(5))
def test_frames_may_come_in_pieces_of_any_size(seed: int) -> None:
    data = b"".join(map(encode_frame, FRAMES))
    chance = random.Random(seed)
    reader, found, start = FrameReader(), [], 0
    while start < len(data):
        size = chance.choice([1, 2, 7, 100, len(data)])
        found += list(reader.feed(data[start : start + size]))
        start += size
    assert found == FRAMES and not reader.is_mid_frame


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\xff" + bytes(8),
        b"GET / HTTP/1.1\r\n\r\n",
        (MAX_BODY_BYTES + 1).to_bytes(4, "big") + b"\x02" + bytes(8),
        b"\xff\xff\xff\xff\x02" + bytes(8),
    ],
)
def test_what_is_no_frame_is_refused_before_its_body_comes(data: bytes) -> None:
    reader = FrameReader()
    assert list(reader.feed(data[: HEADER_BYTES - 1])) == []
    with pytest.raises(BrokenFrameError, match="expected"):
        list(reader.feed(data[HEADER_BYTES - 1 :]))


def test_a_body_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgpt.worker.frames.MAX_BODY_BYTES", 10)
    with pytest.raises(BrokenFrameError, match=r"11 B.*at most 10 B"):
        encode_frame(Frame(Kind.RESULT, 1, b"x" * 11))


@pytest.mark.parametrize("cls", sorted(set(classes_below(LocalGPTError)), key=lambda cls: cls.__name__))
def test_errors_of_every_class_survive(cls: type[LocalGPTError]) -> None:
    error = cls("got a, expected b\n停")
    for name in vars(error):  # `param`, `retry_after_s` and what is added to them
        setattr(error, name, 1.5 if name.endswith("_s") else "messages[0]")
    found = decode_error(encode_error(error))
    assert type(found) is cls and str(found) == str(error) and vars(found) == vars(error)
    assert describe_error(found) == describe_error(error)
    assert found.exit_status == error.exit_status


def test_an_error_that_is_not_known_here_becomes_the_nearest_that_is() -> None:
    body = json.loads(encode_error(PromptTooLongError("too long", param="messages")))
    body["classes"].insert(0, "OnlyThereError")
    found = decode_error(json.dumps(body).encode())
    assert type(found) is PromptTooLongError and found.param == "messages"


def test_other_errors_are_told_as_what_they_are() -> None:
    found = decode_error(encode_error(KeyError("x")))
    assert isinstance(found, RemoteError) and "KeyError" in str(found)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b'{"classes": ["os.system"], "message": "x", "fields": {}}']
)
def test_what_is_no_error_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenFrameError, match="an error"):
        decode_error(body)


def test_a_copy_is_another_object() -> None:
    error = CapacityError("full", retry_after_s=2.0)
    copy = copy_error(error)
    assert copy is not error and vars(copy) == vars(error) and not isinstance(copy, InputError)


def test_a_plan_survives() -> None:
    plan = Plan(device="cuda:0", notices=("没有", "two"), max_batch_size=3)
    assert decode_plan(encode_plan(plan)) == plan
    for body in (b"{}", b"[]", b'{"device": "cpu", "notices": [], "max_batch_size": 1, "more": 2}'):
        with pytest.raises(BrokenFrameError, match="a plan"):
            decode_plan(body)


def test_settings_survive_without_what_opens_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALGPT_")]:
        monkeypatch.delenv(name)
    settings = Settings(
        model="模型",
        device="cuda:1",
        fp16=True,
        memory_budget_mib=100,
        data_dir=tmp_path,
        log_level="debug",
        allowed_hosts=("a", "b"),
        model_aliases={"gpt-4o": "m"},
        api_keys=("secret-key-1",),
        passphrase="secret words",
        database_url="postgresql+asyncpg://me:secret@host/db",
    )
    body = encode_settings(settings)
    assert b"secret" not in body and set(_SECRETS) <= _KEPT_HERE
    kept = {"api_keys": (), "passphrase": None, "database_url": None}
    assert decode_settings(body) == settings.model_copy(update=kept)
    for broken in (b"", b"[]", b'{"colour": "red"}'):
        with pytest.raises(BrokenFrameError, match="settings"):
            decode_settings(broken)


def test_log_lines_keep_level_name_and_traceback(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    log_lines_to_stderr("info")
    logging.captureWarnings(False)
    logger = logging.getLogger("localgpt.engine.engine")
    try:
        raise ValueError("inside")
    except ValueError:
        logger.exception("it failed\nin %d lines", 2)
    logger.debug("too low")
    first, *others = capsys.readouterr().err.splitlines()
    assert not others
    root.handlers = [caplog.handler]
    pass_on(first.encode())
    (record,) = caplog.records
    assert (record.name, record.levelno) == (logger.name, logging.ERROR)
    assert record.getMessage() == "it failed\nin 2 lines"
    assert "ValueError: inside" in record.__dict__["exception"]


@pytest.mark.parametrize("line", [b"Fatal Python error: Aborted", b'{"level": 30}', b"[1]", b"\xff"])
def test_other_lines_are_passed_on_as_they_are(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    pass_on(line + b"\n")
    (record,) = caplog.records
    assert record.name == "localgpt.worker.logs" and record.levelno == logging.WARNING
    assert line.decode("utf-8", "replace") in record.getMessage()
    pass_on(b"\n")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("percent", [b'{"level": 20, "name": "x", "message": "100 % done, 5%s"}'])
def test_a_percent_sign_is_no_format(percent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        pass_on(percent)
    assert caplog.records[0].getMessage() == "100 % done, 5%s" and sys.exc_info() == (None, None, None)
