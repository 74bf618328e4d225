"""Compiling the kernel, choosing it, and doing without it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from localgpt.checkpoints import Family
from localgpt.compute.native import check, compiling, library
from localgpt.compute.native.loading import NativeFamily
from localgpt.errors import BackendError
from localgpt.runtime.loading import LoadOptions, load_models, plan_load
from tests import tiny, tiny_folder

DRIVER = Path(__file__).parent / "driver.cpp"
SANITIZERS = {
    "memory": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "threads": ("-fsanitize=thread",),
}


def needs_compiler() -> str:
    try:
        return compiling.find_compiler()
    except compiling.CompileError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("family")
    return tiny_folder.write_family(path, sees=False, config=replace(tiny.DECODER, n_embd=64))


def load(folder: Path, *, cpu_kernel: bool = True) -> object:
    return load_models(plan_load(LoadOptions(model=str(folder), device="cpu", cpu_kernel=cpu_kernel)))


def test_the_kernel_is_taken_where_it_is(folder: Path) -> None:
    if not compiling.library_path().is_file():
        pytest.skip("the kernel is not built")
    assert isinstance(load(folder), NativeFamily)


def test_it_can_be_switched_off(folder: Path) -> None:
    assert isinstance(load(folder, cpu_kernel=False), Family)


def test_a_family_it_cannot_run_is_run_by_torch(tmp_path: Path) -> None:
    folder = tiny_folder.write_family(tmp_path, sees=False)  # of matrices too small to be int8
    assert isinstance(load(folder), Family)


def test_torch_answers_where_it_is_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.open_library.cache_clear()
    monkeypatch.setattr(library, "library_path", lambda: tmp_path / "none.so")
    assert isinstance(load(folder), Family)
    assert "was not built" in check.check_kernel().missing
    library.open_library.cache_clear()


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    with pytest.raises(BackendError, match=r"cannot be loaded.*compiling"):
        library.Library(broken)


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiling.library_path().is_file():
        pytest.skip("the kernel is not built")
    monkeypatch.setattr(library, "VERSION", library.VERSION + 1)
    with pytest.raises(BackendError, match=f"version {library.VERSION - 1}, expected {library.VERSION}"):
        library.Library(compiling.library_path())


def test_no_compiler_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(compiling.CompileError, match=r"no C\+\+ compiler"):
        compiling.compile_library(tmp_path / "made.so")
    assert not (tmp_path / "made.so").exists()


def test_a_compiler_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    target = tmp_path / "built" / "made.so"
    with pytest.raises(compiling.CompileError, match=r"compiler failed: .*no such thing"):
        compiling.compile_library(target)
    assert list(target.parent.iterdir()) == []


def test_a_library_older_than_its_sources_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    source, made = tmp_path / "source" / "a.cpp", tmp_path / "made.so"
    monkeypatch.setattr(compiling, "SOURCE", source.parent)
    source.touch()
    assert not compiling.is_current(made)
    made.touch()
    assert compiling.is_current(made)
    later = made.stat().st_mtime + 5
    os.utime(source, (later, later))
    assert not compiling.is_current(made)


def test_structures_match_the_header() -> None:
    """The fields of `Rows` and `Shape` in the order of source/decoder.h."""
    header = (compiling.SOURCE / "decoder.h").read_text(encoding="utf-8")
    for structure in (library.Rows, library.Shape):
        body = header.split(f"struct {structure.__name__} {{")[1].split("};")[0]
        lines = [line.split("//")[0] for line in body.splitlines()]
        names = [
            name.split("*")[-1].split()[-1]
            for line in lines
            for name in line.replace(";", "").split(",")
            if name.strip()
        ]
        assert names == [field[0] for field in structure._fields_]


@pytest.mark.prove
@pytest.mark.parametrize("kind", SANITIZERS)
def test_sanitizers_find_nothing(tmp_path: Path, kind: str) -> None:
    needs_compiler()
    program = tmp_path / "driver"
    compiling.compile_library(program, flags=(*SANITIZERS[kind], "-O1", "-g"), driver=DRIVER)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.prove
def test_it_compiles_and_gives_the_same_bits(tmp_path: Path) -> None:
    needs_compiler()
    program = tmp_path / "driver"
    names = compiling.compile_library(program, driver=DRIVER)
    assert "portable" in names
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
