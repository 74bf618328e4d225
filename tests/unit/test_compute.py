"""Devices: names, what is here, and whether it computes; and drivers that are broken in every way."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
import torch

from localgpt.compute import all_backends, backends, check_int8, describe_devices, int8_kernel, resolve_device
from localgpt.compute.backends import Backend, CpuBackend, DeviceReport, Found, GpuBackend, OpenCLBackend
from localgpt.compute.children.gpu_driver import count_devices
from localgpt.compute.probe import probe
from localgpt.errors import ConfigError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def put_gpus(monkeypatch: pytest.MonkeyPatch, kind: str, num: int) -> None:
    """Let torch be built for a kind of GPU, and find some."""
    monkeypatch.setattr(torch.version, "cuda", "12.8" if kind == "cuda" else None)
    monkeypatch.setattr(torch.version, "hip", "6.4" if kind == "rocm" else None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    gpus = tuple(DeviceReport(device=f"{kind}:{n}", name="GPU", memory_bytes=8) for n in range(num))
    here, none = Found(devices=gpus), Found(missing=f"this torch is built for {kind}")
    monkeypatch.setattr(GpuBackend, "find", lambda self: here if self.kind == kind else none)


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_known_devices(name: str) -> None:
    choice = resolve_device(name)
    assert choice.notice is None
    assert choice.device in {device.device.replace("rocm", "cuda") for device in describe_devices()}


@pytest.mark.parametrize(
    "name",
    ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "cuda:0 ", "opencl:", "rocm:a", "opencl:0:1"],
)
def test_unknown_devices_are_errors_that_list_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="known devices: auto, cpu, cuda, cuda:N, rocm, rocm:N, opencl"):
        resolve_device(name)


def test_absent_devices_become_the_cpu_and_say_so(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenCLBackend, "find", lambda self: Found(missing="no OpenCL driver is installed"))
    for name in ("cuda", "cuda:0", "cuda:7", "rocm:0", "opencl", "opencl:3", "mps"):
        choice = resolve_device(name)
        assert choice.device == "cpu"
        assert choice.notice is not None and name in choice.notice and "\n" not in choice.notice
    assert "no OpenCL driver" in str(resolve_device("opencl:0").notice)


def test_cuda_is_preferred_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    put_gpus(monkeypatch, "cuda", 2)
    assert resolve_device("auto").device == resolve_device("cuda").device == "cuda:0"
    assert resolve_device("cuda:1").device == "cuda:1"
    absent = resolve_device("cuda:2")
    assert absent.device == "cpu" and "cuda:1" in str(absent.notice)
    assert resolve_device("rocm:0").device == "cpu"


def test_rocm_devices_are_those_that_torch_calls_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    put_gpus(monkeypatch, "rocm", 2)
    assert [device.device for device in describe_devices()][:2] == ["rocm:0", "rocm:1"]
    assert resolve_device("rocm:1") == resolve_device("cuda:1")
    assert resolve_device("rocm:1").device == resolve_device("cuda:1").device == "cuda:1"
    assert resolve_device("auto").device == "cuda:0"


def test_opencl_devices_go_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    report = DeviceReport(device="opencl:0", name="a GPU", memory_bytes=None)
    monkeypatch.setattr(OpenCLBackend, "find", lambda self: Found(devices=(report,)))
    assert resolve_device("opencl").device == resolve_device("opencl:0").device == "opencl:0"
    assert resolve_device("opencl:1").device == "cpu"


def test_the_cpu_computes() -> None:
    assert describe_devices()[-1].device == "cpu"
    check = CpuBackend().check("cpu")
    assert check.works and check.max_error is not None and check.max_error < 1e-4 and not check.detail
    assert check.time_ms is not None and check.time_ms > 0
    assert check_int8().works
    assert int8_kernel() in ("fbgemm", "plain")


def test_a_device_that_fails_is_told_not_raised() -> None:
    check = CpuBackend().check("meta")  # holds no values
    assert not check.works and check.detail and "\n" not in check.detail


def test_a_device_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter((0.0, 0.5, 0.5))
    monkeypatch.setattr("localgpt.compute.check._layer", lambda x, weight: x + next(calls))
    check = CpuBackend().check("cpu")
    assert not check.works and check.max_error == pytest.approx(0.5, abs=1e-3)


def test_a_device_that_makes_no_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter((0.0, float("nan"), float("nan")))
    monkeypatch.setattr("localgpt.compute.check._layer", lambda x, weight: x + next(calls))
    check = CpuBackend().check("cpu")
    assert not check.works and check.max_error is None and "nan" in check.detail


def script(folder: Path, text: str) -> str:
    path = folder / "child.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashed \(signal 11\)"),
        ("raise RuntimeError('no card')", r"failed \(RuntimeError: no card\)"),
        ("import sys; sys.exit(3)", r"failed \(exit status 3\)"),
        ("print('well met')", "failed"),
        ("print('[1]')", "failed"),
    ],
)
def test_children_that_fail_are_a_line_of_text(tmp_path: Path, text: str, reason: str) -> None:
    answer = probe([script(tmp_path, text)], what="the driver", limit_s=30)
    assert list(answer) == ["failure"] and "\n" not in answer["failure"]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(answer["failure"])


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    answer = probe([script(tmp_path, "import signal; signal.pause()")], what="the driver", limit_s=0.2)
    assert answer == {"failure": "the driver did not answer within 0.2 s"}


def test_what_a_driver_says_before_its_answer_does_no_harm(tmp_path: Path) -> None:
    noisy = "import sys; print('driver 3.1'); print('warning', file=sys.stderr); print('{\"count\": 2}')"
    assert probe([script(tmp_path, noisy)], what="the driver", limit_s=30) == {"count": 2}


def test_without_a_program_to_run_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "could not be asked" in probe(["-c", ""], what="the driver", limit_s=1)["failure"]


def test_gpu_drivers_that_are_missing_or_strange() -> None:
    assert "cannot be used" in str(count_devices("libnowhere.so.1", "init", "count")["failure"])
    assert "cannot be used" in str(count_devices("libc.so.6", "no_such_call", "count")["failure"])
    assert "error" in str(count_devices("libc.so.6", "abs", "abs")["failure"])  # a count that answers not 0


@pytest.mark.parametrize("kind", ["cuda", "rocm"])
def test_a_gpu_whose_driver_crashes_is_not_touched(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8" if kind == "cuda" else None)
    monkeypatch.setattr(torch.version, "hip", "6.4" if kind == "rocm" else None)
    monkeypatch.setattr(backends, "_driver_failure", lambda kind: "the GPU's driver crashed (signal 11)")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("asked in this process"))
    assert "crashed" in GpuBackend(kind).find().missing
    choice = resolve_device(f"{kind}:0")
    assert choice.device == "cpu" and "crashed" in str(choice.notice)


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("CUDA driver version is\n insufficient")

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(backends, "_driver_failure", lambda kind: "")
    monkeypatch.setattr(torch.cuda, "device_count", fail)
    assert GpuBackend("cuda").find().missing.endswith("(CUDA driver version is insufficient)")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "finds no GPU" in GpuBackend("cuda").find().missing
    assert "built for cuda" in GpuBackend("rocm").find().missing


def test_opencl_whose_driver_crashes_or_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "probe", lambda arguments, **_: {"failure": "the OpenCL driver crashed"})
    assert OpenCLBackend().find() == Found(missing="the OpenCL driver crashed")
    check = OpenCLBackend().check("opencl:0")
    assert not check.works and check.detail == "the OpenCL driver crashed"


def test_a_broken_icd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyopencl", reason="pyopencl is not installed", exc_type=ImportError)
    (tmp_path / "broken.icd").write_text("/nowhere/libbroken.so\n", encoding="utf-8")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    found = OpenCLBackend().find()
    assert not found.devices and found.missing and "\n" not in found.missing


def test_every_backend_has_its_own_kind_and_finds_without_failing() -> None:
    every: tuple[Backend, ...] = all_backends()
    assert [backend.kind for backend in every] == ["cuda", "rocm", "mps", "cpu", "opencl"]
    for backend in every:
        found = backend.find()
        assert bool(found.devices) != bool(found.missing)
        assert all(device.device.startswith(backend.kind) for device in found.devices)
