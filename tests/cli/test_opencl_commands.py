"""The command line with `--device opencl:0`: it answers, measures, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgpt.compute.backends import DeviceReport, Found, OpenCLBackend
from localgpt.compute.check import DeviceCheck
from tests import opencl_devices
from tests.cli.conftest import Run
from tests.tiny import make_photo


def test_chat_and_describe_answer_on_opencl(run: Run, tmp_path: Path) -> None:
    opencl_devices.require()
    said = run(
        "chat", "Who are you?", "--device", "opencl:0", "--max-length", "4", "--temperature", "0", "--json"
    )
    assert said.status == 0 and not said.err and said.json["generated_text"]
    (tmp_path / "photo.png").write_bytes(make_photo())
    seen = run("describe", "photo.png", "--device", "opencl", "--max-length", "4", "--json")
    assert seen.status == 0 and not seen.err and seen.json["generated_text"]


def test_the_benchmark_measures_a_device_too(run: Run) -> None:
    opencl_devices.require()
    sizes = ("--tokens", "3", "--prompt-tokens", "2", "--rounds", "1", "--threads", "1")
    report = run("bench", "decode", "--device", "opencl:0", *sizes, "--json").json
    assert report["device"] == "opencl:0" and report["ours_device"] > 0
    assert len(report["all_rounds"]["ours_device"]) == 1


def test_doctor_tells_a_device_that_crashes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    report = DeviceReport(device="opencl:0", name="a GPU", memory_bytes=2**30)
    monkeypatch.setattr(OpenCLBackend, "find", lambda self: Found(devices=(report,)))
    crash = DeviceCheck(works=False, max_error=None, detail="the OpenCL driver crashed (signal 11)")
    monkeypatch.setattr(OpenCLBackend, "check", lambda self, device: crash)
    problems = run("doctor", "--json").json["problems"]
    assert "opencl:0 does not compute: the OpenCL driver crashed (signal 11)" in problems


def test_an_absent_device_is_one_warning_and_the_cpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenCLBackend, "find", lambda self: Found(missing="no OpenCL driver is installed"))
    outcome = run("chat", "hi", "--device", "opencl:0", "--max-length", "2", "--json")
    assert outcome.status == 0 and outcome.json["generated_text"] is not None
    assert outcome.err.count("\n") == 1 and "no OpenCL driver is installed" in outcome.err
    refused = run("bench", "decode", "--device", "opencl:0")
    assert refused.status == 2 and "nothing to measure" in refused.line


def test_training_on_opencl_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    report = DeviceReport(device="opencl:0", name="a GPU", memory_bytes=None)
    monkeypatch.setattr(OpenCLBackend, "find", lambda self: Found(devices=(report,)))
    outcome = run("train", "decoder", "--data", ".", "--out", "out", "--device", "opencl:0")
    assert outcome.status == 2 and "does not train" in outcome.line
