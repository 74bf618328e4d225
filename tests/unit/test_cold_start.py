"""The cold start benchmark on the tiny family: whole processes, and the timers around the parts of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cold_start import EVENTS, PARTS, Setting, draw_photo, measure, table
from localgpt.server.gateway import STATIC_DIR


def test_a_run_of_each(family_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (STATIC_DIR / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    draw_photo(tmp_path / "photo.jpg")
    options = ("--model", str(family_folder))
    found = measure(Setting(options, tmp_path / "photo.jpg", tmp_path, ()), runs=1)
    assert set(found["parts"]) == set(PARTS) and set(found["serve"]) == set(EVENTS)
    for name in ("interpreter", "imports", "weights", "picture", "first_text"):
        assert found["parts"][name] > 0, name
    assert "torch" in found["imports_by_package"]
    assert found["serve"]["health"] <= found["serve"]["page"] <= found["serve"]["ready"]
    shown = table(found)
    assert all(text in shown for text in (*PARTS.values(), *EVENTS.values()))
