"""Loading an open model changes nothing that other threads see, and keeps half precision."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from localgpt.quiet import unheard_warnings
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel, Quantize, kind_of, load_open
from localgpt.runtime.open.default_dtype import allocating
from localgpt.runtime.open.weights import reading
from tests import open_models, tiny_media

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": open_models.write_llama,
    "qwen_vl": open_models.write_qwen_vl,
    "clip": open_models.write_clip,
    "listener": tiny_media.write_listener,
    "voice": tiny_media.write_voice,
    "detector": tiny_media.write_detector,
} | {name: lambda folder, name=name: tiny_media.write_painter(name, folder) for name in tiny_media.PAINTERS}  # type: ignore[misc]


def load(folder: Path, quantize: Quantize = "none") -> OpenModel:
    return load_open(
        OpenCheckpoint(folder=folder, id="m", kind=kind_of(folder), fp16=True, quantize=quantize)
    )


def dtypes(model: OpenModel) -> dict[str, torch.dtype]:
    return {
        f"{name}.{key}": tensor.dtype
        for name, network in model.modules.items()
        for key, tensor in (*network.named_parameters(), *network.named_buffers())
        if tensor.is_floating_point()
    }


@pytest.mark.parametrize("name", WRITERS)
def test_half_precision_is_read_without_setting_the_process_to_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WRITERS[name](tmp_path / name)
    told: list[torch.dtype] = []
    monkeypatch.setattr(torch, "set_default_dtype", told.append)
    model = load(folder)
    assert not told
    of_weights = {key: dtype for key, dtype in dtypes(model).items() if "inv_freq" not in key}
    assert set(of_weights.values()) == {torch.bfloat16}, of_weights
    model.release()


def test_quantized_networks_are_read_without_setting_the_process_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_models.write_llama(tmp_path / "llama")
    told: list[torch.dtype] = []
    monkeypatch.setattr(torch, "set_default_dtype", told.append)
    model = load(folder, "int8")
    assert not told
    assert dtypes(model)["network.model.embed_tokens.weight"] == torch.bfloat16


@pytest.mark.parametrize("name", ["llama", "qwen_vl", "clip", "listener", "voice", "detector"])
def test_each_tensor_is_of_the_dtype_that_transformers_would_give_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import modeling_utils

    folder = WRITERS[name](tmp_path / name)
    ours = dtypes(load(folder))

    @contextmanager
    def setting(dtype: torch.dtype, name: str | None = None) -> Iterator[None]:
        """What transformers itself does."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    monkeypatch.setattr(modeling_utils, "local_torch_dtype", setting)
    assert dtypes(load(folder)) == ours


def test_what_is_allocated_without_a_dtype_is_of_the_threads_own() -> None:
    found: list[torch.dtype] = []

    def other() -> None:
        found.append(torch.randn(2).dtype)

    with allocating(torch.float16):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
        mine: dict[str, Any] = {
            "linear": nn.Linear(2, 2).weight,
            "full": torch.full((2,), 0.5),
            "tensor": torch.tensor([1.5]),
            "arange": torch.arange(0.0, 2.0),
        }
        kept: dict[str, Any] = {
            "told": torch.zeros(2, dtype=torch.float64),
            "array": torch.as_tensor(torch.zeros(2).double().numpy()),
            "same": torch.as_tensor(torch.zeros(2, dtype=torch.float32)),
        }
        whole = torch.arange(3)
    assert found == [torch.float32]
    assert {name: one.dtype for name, one in mine.items()} == dict.fromkeys(mine, torch.float16)
    assert [one.dtype for one in kept.values()] == [torch.float64, torch.float64, torch.float32]
    assert whole.dtype == torch.int64


def test_warnings_are_unheard_in_the_loading_thread_alone(tmp_path: Path) -> None:
    """Two threads whose scopes overlap, in the order in which `catch_warnings` would leave filters behind."""
    is_first_in, is_second_in = threading.Event(), threading.Event()

    def first() -> None:
        with unheard_warnings():
            is_first_in.set()
            assert is_second_in.wait(60)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        thread = threading.Thread(target=first)
        thread.start()
        assert is_first_in.wait(60)
        warnings.warn("while another thread is quiet", stacklevel=1)
        with reading(tmp_path):
            is_second_in.set()
            thread.join(60)
            warnings.warn("of a library", stacklevel=1)
        warnings.warn("afterwards", stacklevel=1)
    assert [str(one.message) for one in heard] == ["while another thread is quiet", "afterwards"]
