"""Open models from the command line: named in several ways, refused in one line, and in a whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import open_models
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_models.write_llama(tmp_path_factory.mktemp("open") / "tiny-llama")


def test_a_folder_answers(run: Run, folder: Path) -> None:
    first = run("chat", "Hello", "--model", str(folder), "--max-tokens", "8", "--temperature", "0", "--json")
    assert first.status == 0 and first.json["generated_text"]
    half = run("chat", "Hello", "--model", str(folder), "--max-tokens", "8", "--fp16")
    assert "half precision on a CPU is bfloat16" in half.err and half.out.strip()


def test_what_cannot_be_used_is_one_line(run: Run, folder: Path, photo: str) -> None:
    for arguments, reason in (
        (("chat", "hi", "--model", "qwen3-4b"), "run: localgpt pull qwen3-4b"),
        (("chat", "hi", "--model", "qwen3-4"), "did you mean qwen3-4b"),
        (("chat", "hi", "--model", "Qwen/Qwen3-0.6B"), "run: localgpt pull qwen3-0.6b"),
        (("ask", photo, "What?", "--model", str(folder)), "cannot ask, it can chat, complete"),
        (("embed", "hi", "--model", str(folder)), "cannot embed"),
        (("chat", "hi", "--image", photo, "--model", str(folder)), "sees no pictures"),
        (("chat", "hi", "--quantize", "int3"), "setting quantize is 'int3'"),
    ):
        outcome = run(*arguments)
        assert outcome.status == 2 and reason in outcome.line


def test_a_whole_process_says_nothing_but_the_answer(folder: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::ResourceWarning",
            "-m",
            "localgpt",
            "chat",
            "Hello",
            "--json",
            "--model",
            str(folder),
            "--max-tokens",
            "8",
            "--device",
            "cpu",
        ],
        env={**kept, "LOCALGPT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["generated_text"]
