"""The painter's whole run: what is made in which order, what is not made again, what is told of failures."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recipes import painter_run
from recipes.steps import StepFailedError
from tests import tiny_folder

LEFT = {
    "icon_judge": ["judge.safetensors"],
    "painter": ["painter.safetensors", "painter.json"],
    "upsampler": ["upsampler.safetensors", "upsampler.json"],
}


class Pretends:
    """Steps that leave their files at once, all but those that fail."""

    fails: ClassVar[str | None] = None
    started: ClassVar[list[str]] = []
    awaited: ClassVar[list[str]] = []

    def __init__(self, out: Path, **variables: str) -> None:
        self.out = out

    def start(self, name: str, command: list[str], *, out: Path | None = None) -> None:
        self.started.append(name)
        folder = Path(command[command.index("--out") + 1]) if "--out" in command else self.out
        if name == self.fails:
            return
        for file in LEFT.get(name, []):
            folder.mkdir(exist_ok=True)
            (folder / file).write_text("{}", encoding="utf-8")
        if name in LEFT:
            (folder / "record.json").write_text(json.dumps({"recipe": name}), encoding="utf-8")
        if out is not None:
            out.write_text('{"objects_en": {"right": 1.0}}', encoding="utf-8")

    def finish(self, name: str, *, bearing: Collection[str] = ()) -> None:
        for failed in {name, "paint_data"} - set(bearing):
            if failed == self.fails:
                raise StepFailedError(f"{failed} ended with status 1")

    def wait_for(self, path: Path) -> None:
        self.awaited.append(path.name)

    def has_failed(self, name: str) -> bool:
        return name == self.fails

    def settle(self, *names: str, until: float) -> dict[str, str]:
        return {}

    def end_all(self) -> None:
        """Nothing runs."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    family = tiny_folder.write_family(tmp_path / "family")
    monkeypatch.setattr(painter_run, "Steps", Pretends)
    monkeypatch.setattr(painter_run.signal, "signal", lambda *_: None)
    Pretends.started, Pretends.fails = [], None

    def started() -> tuple[int, list[str], dict[str, Any]]:
        Pretends.started.clear()
        out = tmp_path / "out"
        with pytest.raises(SystemExit) as ended:
            painter_run.main(["--raw", str(tmp_path), "--out", str(out), "--family", str(family)])
        told = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        return int(str(ended.value.code)), list(Pretends.started), told

    started.out = tmp_path / "out"  # type: ignore[attr-defined]
    return started


def test_all_steps_and_then_only_what_is_left(run: Any) -> None:
    status, steps, told = run()
    learned = ["icon_judge", "painter", "upsampler"]
    assert (status, steps) == (0, ["paint_data", *learned, "painter_export", "quality_paint"])
    assert told["quality_paint"]["objects_en"]["right"] == 1.0 and told["painter"]["recipe"] == "painter"
    assert run()[1] == ["paint_data", "painter_export", "quality_paint"]


def test_a_step_that_fails_is_told(run: Any) -> None:
    Pretends.fails = "painter"
    status, steps, told = run()
    assert status == 1 and steps[-1] == "painter"
    assert told["problems"] == ["painter ended with status 1"]
    Pretends.fails = None
    assert run()[1][:2] == ["paint_data", "painter"]


def test_pictures_that_are_not_rendered_any_more_cost_no_run(run: Any) -> None:
    run()
    for left in ("painter", "upsampler"):
        (run.out / left / f"{left}.safetensors").unlink()
    Pretends.fails = "paint_data"
    Pretends.awaited.clear()
    status, steps, told = run()
    assert Pretends.awaited == ["train-00007.safetensors"]  # with it there are 8000
    assert status == 1 and steps[-1] == "quality_paint" and "quality_paint" in told
    assert [problem.partition(" (")[0] for problem in told["problems"]] == ["not all pictures were rendered"]
