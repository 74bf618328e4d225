"""The command line in this process, over the tiny family."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localgpt.cli.main import main
from tests import tiny


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line of an error."""
        assert not self.out and self.err.count("\n") == 1 and self.err.startswith("localgpt: "), self
        assert "Traceback" not in self.err
        return self.err


Run = Callable[..., Outcome]


@pytest.fixture
def run(
    family_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command in an empty folder, with the tiny model unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOCALGPT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCALGPT_MODEL", str(family_folder))
    monkeypatch.setenv("LOCALGPT_DEVICE", "cpu")
    monkeypatch.setenv("LOCALGPT_HOME", str(tmp_path / "home"))

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        status = main(arguments)
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    for handler in set(root.handlers) - set(handlers):  # of --debug, on a stream that ends with the test
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """The name of a picture in the folder."""
    (tmp_path / "photo.jpg").write_bytes(tiny.make_photo())
    return "photo.jpg"
