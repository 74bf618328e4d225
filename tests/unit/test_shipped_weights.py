"""What of the family's folder a wheel carries."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`hatch_build.py`, without the build tool that only a build installs."""

    class BuildHookInterface:
        def __class_getitem__(cls, item: Any) -> type:
            return cls

    interface: Any = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = BuildHookInterface
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shards_that_no_index_names_stay_behind(hook: Any, tmp_path: Path) -> None:
    folder = tmp_path / "decoder"
    folder.mkdir()
    for name in ("new-1.safetensors", "old-1.safetensors", "README.md"):
        (folder / name).write_bytes(b"x")
    index = {"weight_map": {"wte.weight": "new-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "family.json").write_text("{}", encoding="utf-8")
    assert set(hook.shipped_weights(tmp_path).values()) == {
        "localgpt/weights/family.json",
        "localgpt/weights/decoder/README.md",
        "localgpt/weights/decoder/model.safetensors.index.json",
        "localgpt/weights/decoder/new-1.safetensors",
    }


def test_all_that_the_family_reads_is_shipped(hook: Any) -> None:
    shipped = hook.shipped_weights(ROOT / "weights")
    for index in (ROOT / "weights").rglob("model.safetensors.index.json"):
        for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values():
            assert str(index.parent / name) in shipped
    assert str(ROOT / "weights" / "tokenizer.json") in shipped
