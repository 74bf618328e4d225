"""What is shipped: the page's size, its languages, its types."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from localgpt.server.gateway import STATIC_DIR

WEB = Path(__file__).parents[2] / "web"
MAX_GZIPPED_BYTES = 400_000
MAX_FIRST_BYTES = 100_000  # what the first paint waits for
MAX_LINES = 400


def keys(language: str) -> list[str]:
    return re.findall(r"^  (\w+):", (WEB / f"src/i18n/{language}.ts").read_text("utf-8"), re.MULTILINE)


def texts(language: str) -> dict[str, str]:
    source = (WEB / f"src/i18n/{language}.ts").read_text("utf-8")
    return dict(re.findall(r'^  (\w+):\s+"((?:[^"\\]|\\.)*)",?$', source, re.MULTILINE))


def test_both_languages_have_the_same_words() -> None:
    assert keys("en") == keys("zh")
    assert len(keys("en")) == len(set(keys("en"))) > 150


def test_both_languages_have_the_same_slots() -> None:
    english, chinese = texts("en"), texts("zh")
    assert set(english) == set(chinese) == set(keys("en"))
    slots = re.compile(r"\{\w+\}")
    for name, text in english.items():
        assert sorted(slots.findall(text)) == sorted(slots.findall(chinese[name])), name


def test_every_word_is_used() -> None:
    sources = [path for path in (WEB / "src").rglob("*.ts*") if path.parent.name != "i18n"]
    code = "\n".join(path.read_text("utf-8") for path in sources)
    named_by_value = {"notAPicture", "tooLarge"}  # t[problem.reason]
    named_by_value |= set(re.findall(r'\w+: "(\w+)"', (WEB / "src/ui/failures.ts").read_text("utf-8")))
    unused = [
        key for key in keys("en") if not re.search(rf"\bt\.{key}\b", code) and key not in named_by_value
    ]
    assert unused == []


def test_files_stay_small() -> None:
    long = [
        f"{path.relative_to(WEB)}: {num} lines"
        for path in (WEB / "src").rglob("*")
        if path.is_file() and (num := len(path.read_text("utf-8").splitlines())) >= MAX_LINES
    ]
    assert long == []


def test_assets_are_small() -> None:
    if not (STATIC_DIR / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    sizes = {
        path: len(gzip.compress(path.read_bytes(), 9)) for path in STATIC_DIR.rglob("*") if path.is_file()
    }
    assert sum(sizes.values()) <= MAX_GZIPPED_BYTES
    index = (STATIC_DIR / "index.html").read_text("utf-8")
    first = [size for path, size in sizes.items() if path.name in index or path.name == "index.html"]
    assert len(first) >= 3
    assert sum(first) <= MAX_FIRST_BYTES
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|https?://", index)


def test_types_hold() -> None:
    compiler = WEB / "node_modules/typescript"
    node = shutil.which("node")
    if node is None or not compiler.is_dir():
        pytest.skip("no TypeScript here: npm ci in web/ installs it")
    found = subprocess.run(
        [str(WEB / "node_modules/.bin/tsc"), "--noEmit"], cwd=WEB, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
