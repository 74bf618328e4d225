"""The catalogue: ours is sound, the user's is added to it, and broken ones say where."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml

from localgpt.checkpoints.catalogue import Job, find_entry, fit_to, load_catalogue, resolve_name
from localgpt.checkpoints.catalogue.entries import USER_FILE
from localgpt.errors import ConfigError
from localgpt.units import GIB

OWN = {
    "name": "mine",
    "repo": "me/mine",
    "job": "chat",
    "licence": "MIT",
    "commercial": True,
    "parameters": 10**9,
    "download_bytes": 2 * 10**9,
    "note": {"en": "Mine.", "zh": "我的。"},
}


def write_own(folder: Path, *models: dict[str, object]) -> Path:
    (folder / USER_FILE).write_text(yaml.safe_dump({"models": list(models)}, allow_unicode=True), "utf-8")
    return folder


def test_ours_is_sound() -> None:
    entries = load_catalogue()
    assert {entry.job for entry in entries.values()} == set(get_args(Job))
    assert len({entry.repo for entry in entries.values()}) == len(entries)
    for entry in entries.values():
        # whole, half or double precision of what is fetched, or that of a GGUF file: nothing that cannot be
        least, most = (0.5, 1.1) if entry.is_gguf else (1.9, 4.1)
        assert least <= entry.download_bytes / entry.parameters <= most, entry.name
        sizes = [entry.memory_bytes(precision) for precision in ("int4", "int8", "fp16")]
        assert sizes == ([entry.download_bytes] * 3 if entry.is_gguf else sorted(set(sizes))), entry.name
        assert any("一" <= mark <= "鿿" for mark in entry.note.zh) and entry.note.en.isascii()
        assert (entry.context is not None) == (entry.job in ("chat", "vision", "embed")), entry.name
        if "NC" in entry.licence or "Research" in entry.licence:
            assert entry.commercial is False, entry.name


def test_the_users_own_models_go_first(tmp_path: Path) -> None:
    ours = load_catalogue(tmp_path)
    write_own(tmp_path, OWN, {**OWN, "name": "qwen3-4b", "memory": {"fp16": 5, "int8": 4}})
    entries = load_catalogue(tmp_path)
    assert entries.keys() - ours.keys() == {"mine"}
    assert entries["qwen3-4b"].repo == "me/mine" and entries["qwen3-4b"].memory_bytes("fp16") == 5
    assert entries["qwen3-4b"].memory_bytes("int4") == 650_000_000  # not measured, so computed


def test_names_and_repositories_are_found() -> None:
    entries = load_catalogue()
    assert resolve_name(entries, "qwen3-4b") == ("Qwen/Qwen3-4B-Instruct-2507", entries["qwen3-4b"])
    assert resolve_name(entries, "qwen/qwen3-0.6b") == ("Qwen/Qwen3-0.6B", entries["qwen3-0.6b"])
    assert resolve_name(entries, "maker/other") == ("maker/other", None)
    assert find_entry(entries, "nothing") is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qwen3-4", "no model 'qwen3-4' in the catalogue; did you mean qwen3-4b"),
        ("Whisper-Smal", "did you mean whisper-small"),
        ("sdlx", "did you mean sdxl"),
        ("zzzzzz", "'zzzzzz' in the catalogue; localgpt models lists them"),
        ("local/multimodal-base", "is part of LocalGPT; there is nothing to pull"),
        ("a/b/c", "'a/b/c' is no model name; expected OWNER/NAME"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        resolve_name(load_catalogue(), name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: [", r"is not YAML at line 1: "),
        ("models:\n- name: {a\n", r"is not YAML at line \d"),
        ("- a", "is no list of models; expected 'models:'"),
        ("", "is no list of models"),
        ("models: {}", "is no list of models"),
        ("models: []\nmore: 1", "is no list of models"),
        ("models: [7]", "model 1 of the catalogue .* is 7; expected its fields"),
        ("models: [{name: a}]", "model 1 of .* lacks repo; add it"),
        ("[" * 5000, "is not YAML"),
        ("models: !!python/object/apply:os.system ['true']", "is not YAML at line 1"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_broken_files_say_where(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / USER_FILE).write_text(text)
    with pytest.raises(ConfigError, match=reason) as error:
        load_catalogue(tmp_path)
    assert str(tmp_path / USER_FILE) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"job": "dance"}, r"job is 'dance' \(chat, vision, .*\)"),
        ({"repo": "mine"}, "repo is 'mine'; 'mine' is no model name; expected OWNER/NAME"),
        ({"revision": "../x"}, "revision is '../x'; '../x' is no revision"),
        ({"parameters": 0}, "parameters is 0"),
        ({"download_bytes": "many"}, "download_bytes is 'many'"),
        ({"name": "Mine And Yours"}, "name is 'Mine And Yours'"),
        ({"note": {"en": "Mine."}}, "lacks note.zh; add it"),
        ({"colour": "red"}, "unknown field 'colour'; known fields: name, repo"),
    ],
)
def test_broken_entries_say_what(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    write_own(tmp_path, {**OWN, "name": "first"}, {**OWN, **change})
    with pytest.raises(ConfigError, match=f"model 2 of the catalogue .*{reason}"):
        load_catalogue(tmp_path)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 'mine' twice"):
        load_catalogue(write_own(tmp_path, OWN, OWN))


def test_files_that_cannot_be_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / USER_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read the catalogue"):
        load_catalogue(tmp_path)
    (tmp_path / USER_FILE).write_bytes(b" " * 2**21)
    with pytest.raises(ConfigError, match="larger than a list of models"):
        load_catalogue(tmp_path)


def test_what_fits_a_machine() -> None:
    entries = load_catalogue()
    precisions = {
        name: fit_to(entries[name], 8 * GIB).precision for name in ("qwen3-0.6b", "qwen3-4b", "qwen2.5-vl-7b")
    }
    assert precisions == {"qwen3-0.6b": "fp16", "qwen3-4b": "int8", "qwen2.5-vl-7b": "int4"}
    tight = fit_to(entries["qwen3-4b"], 2 * GIB)
    assert tight.precision is None
    assert fit_to(entries["qwen3-4b"], 2 * GIB + tight.lacking_bytes).precision == "int4"
