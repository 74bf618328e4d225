"""GGUF files as models that an operator names: known by their content, told about without llama.cpp."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from localgpt.errors import CheckpointError
from localgpt.runtime.naming import resolve_model
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.shelf import ShelfModel, model_of_folder
from tests import gguf_files


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_files.write_qwen2(tmp_path_factory.mktemp("named"))[1]


@pytest.fixture
def without_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "llama_cpp" else found(name, *more)
    )


def test_a_file_tells_what_it_is(path: Path, tmp_path: Path) -> None:
    model = model_of_folder(path)
    assert isinstance(model, ShelfModel) and model.id == "tiny-qwen2" and model.kind == "gguf"
    status = model.status()
    assert status.tasks == ("chat", "complete") and status.licence == "apache-2.0" and not status.is_loaded
    assert status.context_len == gguf_files.CONTEXT_LEN and status.num_params > 100_000
    assert model.weight_bytes(device="cpu", fp16=False, quantize="int4") == path.stat().st_size
    assert kind_of(gguf_files.write_bert(tmp_path)[1]) == "gguf-embed"


def test_without_the_library_one_line_says_how_to_get_it(
    path: Path, tmp_path: Path, without_llama: None
) -> None:
    other = tmp_path / "model.bin"  # whatever it is called
    other.write_bytes(path.read_bytes())
    for name in (path, other):
        with pytest.raises(CheckpointError, match=r"pip install 'localgpt\[gguf\]'"):
            resolve_model(str(name))
    with pytest.raises(CheckpointError, match=r"pip install 'localgpt\[gguf\]'"):
        load_open(OpenCheckpoint(folder=path, id="m", kind="gguf"))


def test_files_that_are_none_are_refused_by_their_content(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.gguf"
    other.write_text("dear diary, " * 10)
    with pytest.raises(CheckpointError, match="no GGUF file"):
        resolve_model(str(other))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        resolve_model(str(cut))
