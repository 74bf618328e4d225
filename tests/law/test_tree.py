"""The tree: weights within their budget, and text that speaks of the project alone."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.law.source import ROOT, tracked_files

MEBIBYTE = 2**20
MAX_WEIGHT_FILE = 15 * MEBIBYTE
MAX_WEIGHTS = 256 * 1000**2
MAX_OTHER_FILE = 2 * MEBIBYTE

TEXT_SUFFIXES = {
    ".py", ".pyi", ".md", ".toml", ".yaml", ".yml", ".txt", ".cfg", ".ts", ".tsx", ".js", ".css", ".html",
    ".sh", ".json", ".jsonl", ".tsv", ".csv", "",
}  # fmt: skip

# Written in pieces, so that this file does not hold them itself.
_PATHS = ("/wo" + "rk/", "/tmp/te" + "am", "../sha" + "red", "/ro" + "ot/")
_PAPERS = ("DESI" + "GN.md", "MODE" + "LS.md", "feasi" + "bility.md", "sty" + "le.md", "pe" + "ers.md")
_WORDS = (
    "sub-?ag" + "ents?",
    "cla" + "ude",
    "anthro" + "pic",
    "issues sh" + "ow",
    "coll" + "eague",
    "team cont" + "ract",
    "work" + "place",
)
PROSE_SUFFIXES = TEXT_SUFFIXES - {".json", ".jsonl", ".tsv", ".csv"}
PLACES = re.compile("|".join(re.escape(text) for text in (*_PATHS, *_PAPERS)))
WORDS = re.compile(r"\b(?:" + "|".join(_WORDS) + r")\b", re.IGNORECASE)


def test_weights_stay_within_their_budget() -> None:
    sizes = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in tracked_files()
        if path.is_relative_to(ROOT / "weights")
    }
    assert not {name: size for name, size in sizes.items() if size > MAX_WEIGHT_FILE}
    assert sum(sizes.values()) <= MAX_WEIGHTS, f"weights/ holds {sum(sizes.values()):,} bytes"


def test_nothing_large_outside_the_weights() -> None:
    large = [
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if not path.is_relative_to(ROOT / "weights") and path.stat().st_size > MAX_OTHER_FILE
    ]
    assert not large


def test_weights_are_safetensors_only() -> None:
    allowed = {".safetensors", ".json", ".md", ""}
    others = [
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if path.is_relative_to(ROOT / "weights") and path.suffix not in allowed
    ]
    assert not others


@pytest.mark.parametrize("kind", ["places", "words"])
def test_text_speaks_of_the_project_alone(kind: str) -> None:
    pattern, suffixes = (PLACES, TEXT_SUFFIXES) if kind == "places" else (WORDS, PROSE_SUFFIXES)
    found = []
    for path in tracked_files():
        if path.suffix not in suffixes or path.name in {"package-lock.json", "tokenizer.json"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in pattern.finditer(text)]
    assert not found, "; ".join(found[:20])


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in tracked_files() if path.match("test_*.py"))
    assert not [name for name, num in names.items() if num > 1], "pytest imports them by their names alone"


def test_make_has_the_promised_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"serve", "test", "prove", "lint", "types", "bench", "page", "clean"} <= targets
    entry = ROOT / ".ci" / "run"
    assert entry.stat().st_mode & 0o111 and "make test" in entry.read_text(encoding="utf-8")
