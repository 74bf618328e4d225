"""The run of the whole family: how its time is split, what a failed step does, and all of it in small."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipes import family
from recipes.family import Plan
from recipes.steps import StepFailedError, Steps
from tests.recipes.tiny_data import write_data

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('no data')"]
WORKS = [sys.executable, "-c", "print(7)"]


@pytest.mark.parametrize("num_gpus", [0, 1, 2, 3, 4])
def test_the_plan_ends_in_time_and_uses_every_gpu(num_gpus: int) -> None:
    plan = Plan.of(num_gpus, start=100.0, end=1600.0, evaluate_s=150.0, pretrains=True)
    assert set(plan.decoder_gpus) | set(plan.encoder_gpus) == set(plan.all_gpus)
    assert len(plan.all_gpus) == max(1, num_gpus)
    assert 100.0 < plan.decoder_end <= plan.encoder_end < plan.joint_end == 1450.0
    if num_gpus > 1:
        assert not set(plan.decoder_gpus) & set(plan.encoder_gpus)
        assert plan.decoder_end == plan.encoder_end
    else:
        assert plan.decoder_end < plan.encoder_end
    again = Plan.of(num_gpus, start=100.0, end=1600.0, evaluate_s=150.0, pretrains=False)
    assert again.encoder_end == 100.0


def test_a_failed_step_ends_the_wait_for_others_and_names_its_log(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.start("long", SLEEPS)
    steps.start("broken", FAILS)
    with pytest.raises(StepFailedError, match=r"broken ended with status 1: no data .*broken\.log"):
        steps.finish("long")
    steps.end_all()
    steps.start("fine", WORKS, out=tmp_path / "answer")
    assert steps.finish("fine")
    assert (tmp_path / "answer").read_text(encoding="utf-8") == "7\n"


def test_late_and_broken_steps_can_be_borne(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    for name, command in (("long", SLEEPS), ("broken", FAILS), ("fine", WORKS)):
        steps.start(name, command)
    assert set(steps.settle("broken", "fine", until=math.inf)) == {"broken"}
    assert "not over in time" in steps.settle("long", until=0.0)["long"]


def test_what_is_waited_for_may_be_there(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.wait_for(None)
    (tmp_path / "ready").touch()
    steps.wait_for(tmp_path / "ready")
    assert steps.finish(until=0.0)


def test_a_failure_may_be_borne_and_is_seen(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.start("broken", FAILS)
    steps.start("long", SLEEPS)
    assert steps.finish("broken", bearing=("broken",))
    assert steps.has_failed("broken")
    assert not steps.has_failed("long")
    with pytest.raises(StepFailedError, match="broken ended with status 1"):
        steps.finish("long")
    steps.end("broken")
    assert steps.finish(until=0.0) is True
    steps.end_all()


def test_the_gain_on_six_minutes_is_a_share() -> None:
    ours, six = ({"held_out": {"dialogues": {"bits_per_byte": bits}}} for bits in (0.95, 1.0))
    assert family._gains({"quality_language": ours, "six_minutes": six}) == {"dialogues": 0.05}
    assert family._gains({"quality_language": ours}) == {}


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["family", "--size", "tiny", "--no-evaluate", *words])
    with pytest.raises(SystemExit) as ended:
        family.main()
    return int(ended.value.code or 0)


@pytest.mark.prove
def test_the_whole_family_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_data(data)
    assert _run(monkeypatch, "--data", str(data), "--out", str(out), "--minutes", "0.5") == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["problems"] == []
    assert summary["decoder"]["branch_steps"] > 0
    assert {"decoder", "encoder", "joint"} <= summary.keys()
    assert json.loads((out / "weights" / "family.json").read_text("utf-8"))["members"] == [
        "decoder",
        "encoder",
    ]
    six = json.loads((out / "weights_six_minutes" / "family.json").read_text("utf-8"))
    assert six["members"] == ["decoder"]

    again = tmp_path / "again"
    words = ("--data", str(data), "--out", str(again), "--weights", str(out / "weights"), "--minutes", "0.4")
    assert _run(monkeypatch, *words, "--freeze-embedding") == 0
    record = json.loads((again / "summary.json").read_text(encoding="utf-8"))
    assert record["joint"]["steps"] > 0
    assert (again / "export.log").exists()


@pytest.mark.prove
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    """Each recipe in two processes: both end together, one writes, and weights are finite."""
    data, init = tmp_path / "data", tmp_path / "init"
    write_data(data)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    for name in ("decoder", "encoder", "joint"):
        command = [*launcher, "-m", "recipes.run", name, "--data", str(data), "--out", str(tmp_path / name)]
        command += ["--size", "tiny", "--steps", "6"]
        command += ["--branch"] if name == "decoder" else ["--init", str(init)] if name == "joint" else []
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        assert ended.returncode == 0, ended.stderr[-2000:]
        record = json.loads((tmp_path / name / "record.json").read_text(encoding="utf-8"))
        assert record["num_devices"] == 2
        assert record["steps"] == 6
        init.mkdir(exist_ok=True)
        for path in (tmp_path / name).glob("*coder.*"):
            shutil.copyfile(path, init / path.name)
    for tensor in load_file(tmp_path / "joint" / "latest" / "decoder.safetensors").values():
        assert torch.isfinite(tensor).all()


def _environment() -> dict[str, str]:
    paths = [str(family.ROOT), str(family.ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.mark.prove
def test_a_step_that_breaks_ends_the_run_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_data(data)
    (data / "product.tokens.npy").write_bytes(b"broken")  # what the decoder reads first
    assert _run(monkeypatch, "--data", str(data), "--out", str(out), "--minutes", "0.3") == 1
    (problem,) = json.loads((out / "summary.json").read_text(encoding="utf-8"))["problems"]
    assert problem.startswith("decoder ended with status 1")
