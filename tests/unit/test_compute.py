"""Devices: names, what is here, and whether it computes."""

from __future__ import annotations

import pytest
import torch

from localgpt.compute import check_device, check_int8, describe_devices, int8_kernel, resolve_device
from localgpt.errors import ConfigError


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_known_devices(name: str) -> None:
    choice = resolve_device(name)
    assert choice.notice is None and choice.device in {device.device for device in describe_devices()}


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "cuda:0 "])
def test_unknown_devices_are_errors_that_list_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="known devices: auto, cpu, cuda"):
        resolve_device(name)


def test_absent_devices_become_the_cpu_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "cuda:7", "mps"):
        choice = resolve_device(name)
        assert choice.device == "cpu"
        assert choice.notice is not None and name in choice.notice and "\n" not in choice.notice


def test_cuda_is_preferred_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgpt.compute.devices._num_cuda", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("cuda").device == "cuda:0"
    assert resolve_device("cuda:1").device == "cuda:1"
    assert resolve_device("cuda:2").device == "cpu"


def test_the_cpu_computes() -> None:
    assert describe_devices()[-1].device == "cpu"
    check = check_device("cpu")
    assert check.works and check.max_error is not None and check.max_error < 1e-4 and not check.detail
    assert check_int8().works
    assert int8_kernel() in ("fbgemm", "plain")


def test_a_device_that_fails_is_told_not_raised() -> None:
    check = check_device("meta")  # holds no values
    assert not check.works and check.detail and "\n" not in check.detail


def test_a_device_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter((0.0, 0.5))
    monkeypatch.setattr("localgpt.compute.check._layer", lambda x, weight: x + next(calls))
    check = check_device("cpu")
    assert not check.works and check.max_error == pytest.approx(0.5, abs=1e-3)
