"""Weights of open models in int8 and int4: the layers against plain torch, and whole models."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.compute.quantization import quantized_linear
from localgpt.errors import CapacityError, CheckpointError, MissingWeightsError
from localgpt.nn.linear import quantize_weight
from localgpt.nn.weight_only import Int4WeightLinear, Int8WeightLinear, group_size, quantize_groups
from localgpt.runtime.footprint import measure
from localgpt.runtime.open import quantized
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.language import LanguageModel
from localgpt.runtime.open.service import OpenOptions, OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.tasks import ChatRequest, ChatResult, Message, SamplingOptions
from localgpt.units import MIB
from tests import open_models

WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_models.write_llama(tmp_path_factory.mktemp("open") / "wide-llama", **WIDE)


def weights(n_out: int, n_in: int) -> torch.Tensor:
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(0))


def load(folder: Path, quantize: Any) -> LanguageModel:
    checkpoint = OpenCheckpoint(folder=folder, id="m", kind=kind_of(folder), quantize=quantize)
    return cast("LanguageModel", load_open(checkpoint))


def chat(model: str = "wide-llama") -> ChatRequest:
    options = SamplingOptions(temperature=0.0, max_tokens=8)
    return ChatRequest(id="1", model=model, messages=(Message.of("user", "Hello"),), options=options)


@pytest.mark.parametrize("num_rows", [1, 5, 200])
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_layers_multiply_as_their_spread_out_weights_do(bits: Any, num_rows: int) -> None:
    weight, bias = weights(48, 128), torch.randn(48)
    layer = quantized_linear(weight, bias, bits)
    plain: Any = (
        Int8WeightLinear(*quantize_weight(weight), bias)
        if bits == "int8"
        else Int4WeightLinear(*quantize_groups(weight, 64), bias)
    )
    assert layer is not None and plain.kernel == "plain"
    x = torch.randn(2, num_rows, 128, dtype=torch.bfloat16)
    expected = F.linear(x.float(), plain.dequantized(), bias)
    for one in (layer, plain):
        out = one(x)
        assert out.dtype == x.dtype and out.shape == (2, num_rows, 48)
        assert torch.allclose(out.float(), expected, rtol=0.02, atol=0.25)
    exact = plain(x.float())
    assert torch.allclose(exact, expected, rtol=1e-4, atol=1e-3)


def test_four_bits_are_within_half_a_step() -> None:
    weight = weights(32, 192) * torch.linspace(0.1, 3.0, 192)
    quantized_weight, both = quantize_groups(weight, 64)
    layer = Int4WeightLinear(quantized_weight, both)
    step = both[..., 0].transpose(0, 1).float().repeat_interleave(64, dim=1)
    assert quantized_weight.max() <= 15
    # Scale and zero are kept in bfloat16, whose rounding may push the ends of a group a little beyond.
    assert bool(((layer.dequantized() - weight).abs() <= 0.6 * step).all())
    flat = Int4WeightLinear(*quantize_groups(torch.full((16, 32), 0.5), 32))
    assert torch.allclose(flat.dequantized(), torch.full((16, 32), 0.5), atol=1e-3)
    assert [group_size(size) for size in (128, 96, 48)] == [64, 32, None]


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_a_quantized_model_has_the_layers_of_its_rounded_weights(folder: Path, bits: Any) -> None:
    model, plain = load(folder, bits), load(folder, "none")
    num_quantized = 0
    for name, layer in plain.network.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        ours = model.network.get_submodule(name)
        if name == "lm_head":
            assert torch.equal(ours.weight, layer.weight.to(torch.bfloat16))
            continue
        one: Any = (
            Int8WeightLinear(*quantize_weight(layer.weight))
            if bits == "int8"
            else Int4WeightLinear(*quantize_groups(layer.weight, 64))
        )
        spread = ours(torch.eye(one.n_in, dtype=torch.bfloat16)).float().t()
        assert type(ours) is type(one) and torch.allclose(spread, one.dequantized(), rtol=0.01, atol=0.01)
        num_quantized += 1
    assert num_quantized == 7 * 4
    with torch.inference_mode():
        assert torch.isfinite(model.network(torch.tensor([[5, 6, 7]])).logits).all()
    assert model.dtype == bits and model.status().num_params == plain.status().num_params
    assert model.status().weight_bytes < (0.4 if bits == "int8" else 0.3) * plain.status().weight_bytes


def test_all_of_it_is_never_there_at_full_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    put = quantized.Placing.put

    def watched(self: Any, key: str, tensor: torch.Tensor) -> None:
        nonlocal most
        put(self, key, tensor)
        there = [one for one in (*self._network.parameters(), *self._network.buffers()) if not one.is_meta]
        most = max(most, sum(one.nbytes for one in there) + tensor.nbytes)

    monkeypatch.setattr(quantized.Placing, "put", watched)
    model = load(folder, "int4")
    matrix = 4 * 512 * 256  # the largest, as it is stored
    assert 0 < most <= measure(model.network).weight_bytes + matrix


def test_broken_folders_are_told_while_quantizing(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "lacking")
    tensors = load_file(copy / "model.safetensors")
    lacking = {name: tensor for name, tensor in tensors.items() if "layers.1.mlp.up_proj" not in name}
    save_file(lacking, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of its network, such as .*layers\.1\.mlp"):
        load(copy, "int8")
    save_file(tensors | {"model.norm.weight": torch.ones(3)}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is \(3,\)"):
        load(copy, "int8")
    index = '{"weight_map": {"model.norm.weight": "model-00009-of-00009.safetensors"}}'
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(MissingWeightsError, match="lacks model-00009"):
        load(copy, "int8")


def service_of(folder: Path, budget: int, quantize: Any) -> OpenService:
    ledger = Ledger(CpuDevice(), Budget(nbytes=budget))
    return OpenService(Shelf(None, [model_of_folder(folder)]), ledger, options=OpenOptions(quantize=quantize))


def test_what_fits_is_chosen_and_told(tmp_path: Path) -> None:
    shapes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 512}
    folder = open_models.write_llama(tmp_path / "large", **shapes)
    model = model_of_folder(folder)
    sizes = {
        bits: model.weight_bytes(device="cpu", fp16=False, quantize=bits) for bits in ("none", "int8", "int4")
    }
    assert sizes["none"] > 2 * sizes["int8"] > 3 * sizes["int4"]

    async def answer(budget: int, quantize: Any) -> tuple[str, tuple[str, ...]]:
        service = service_of(folder, budget, quantize)
        try:
            result = cast("ChatResult", await service.run(chat("large")))
            notices = (await service.status()).notices
            return service._homes.all()[0].checkpoint.quantize, (*result.notices, *notices)
        finally:
            await service.close()

    work = 40 * MIB
    assert asyncio.run(answer(sizes["none"] * 9 // 8 + work, "auto"))[0] == "none"
    chosen, notices = asyncio.run(answer(sizes["int8"] * 9 // 8 + work, "auto"))
    assert chosen == "int8" and any("the weights are int8" in notice for notice in notices)
    with pytest.raises(CapacityError, match="it fits with --quantize int8"):
        asyncio.run(answer(sizes["int8"] * 9 // 8 + work, "none"))
