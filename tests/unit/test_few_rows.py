"""Triton's kernels for few rows: by its interpreter where there is no card, and on a card at full shape."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from localgpt.compute import quantization
from localgpt.nn import weight_only
from localgpt.nn.linear import quantize_weight
from localgpt.nn.weight_only import Int4WeightLinear, Int8WeightLinear, quantize_groups

HAS_TRITON = find_spec("triton") is not None
IS_INTERPRETED = HAS_TRITON and os.environ.get("TRITON_INTERPRET") == "1"
needs_kernels = pytest.mark.skipif(not IS_INTERPRETED, reason="needs Triton and TRITON_INTERPRET=1")
needs_card = pytest.mark.skipif(
    not (HAS_TRITON and torch.cuda.is_available() and not IS_INTERPRETED), reason="needs Triton and a card"
)


def layer_of(weight: torch.Tensor, bits: Any, kernel: Any, group: int = 64, bias: Any = None) -> Any:
    if bits == "int8":
        return Int8WeightLinear(*quantize_weight(weight), bias, kernel=kernel)
    return Int4WeightLinear(*quantize_groups(weight, group), bias, kernel=kernel)


def hold(layer: Any, plain: Any, x: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Products as those of the spread out weights, in the type and shape of what came in."""
    out = layer(x)
    expected = F.linear(x.to(torch.bfloat16).float(), plain.dequantized(), bias)
    assert out.dtype == x.dtype and out.shape == expected.shape
    error = (out.float() - expected).norm() / expected.norm()
    assert error < 0.01, float(error)


@pytest.mark.parametrize("group", [64, 32])
def test_words_hold_the_weights(group: int) -> None:
    quantized = torch.randint(0, 16, (6, 3 * group), dtype=torch.uint8)
    packed = weight_only._packed_words(quantized, group)
    assert packed.dtype == torch.int32 and packed.shape == (6, 3 * group // 8)
    assert torch.equal(weight_only._unpacked_words(packed, group), quantized)
    word, place = 1, 5
    inputs = place * group // 8 + word
    assert torch.equal((packed[:, word] >> (4 * place)) & 0xF, quantized[:, inputs].int())


@pytest.mark.skipif(HAS_TRITON, reason="needs to be without Triton")
def test_without_triton_there_is_no_such_layer() -> None:
    with pytest.raises(ImportError, match="Triton is not installed"):
        layer_of(torch.randn(16, 64), "int4", "triton")


def test_triton_is_not_imported_with_the_package() -> None:
    code = "import sys, localgpt.compute.quantization; assert 'localgpt.nn.few_rows' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_card_never_takes_the_slow_kernel_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(bits: Any, right: set[str]) -> str:
        monkeypatch.setattr(quantization, "_is_right", lambda kernel, device, bits: kernel in right)
        return quantization.kernel_of.__wrapped__("cuda:0", bits)

    assert choose("int8", {"triton", "torch"}) == choose("int4", {"triton", "torch"}) == "triton"
    assert choose("int8", {"torch"}) == "plain" and choose("int4", {"torch"}) == "torch"
    assert choose("int4", set()) == "plain"
    assert quantization.kernel_of.__wrapped__("cpu", "int8") == "plain"


def test_a_kernel_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    plain = quantization._layer

    def broken(weight: torch.Tensor, bits: Any, kernel: Any) -> Any:
        return plain(weight * 2 if kernel == "triton" else weight, bits, "plain")

    monkeypatch.setattr(quantization, "_layer", broken)
    assert not quantization._is_right("triton", "cpu", "int4") and "is wrong on cpu" in caplog.text
    assert quantization._is_right("plain", "cpu", "int4")


@needs_kernels
@pytest.mark.parametrize("num_rows", [1, 3, 8, 9])
@pytest.mark.parametrize(
    ("n_out", "n_in", "group"), [(48, 128, 64), (37, 192, 64), (20, 96, 32), (17, 1088, 64), (24, 1024, 64)]
)
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_kernels_multiply_as_spread_out_weights_do(
    bits: Any, n_out: int, n_in: int, group: int, num_rows: int
) -> None:
    random = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(n_out, n_in, generator=random), torch.randn(n_out, generator=random)
    plain = layer_of(weight, bits, "plain", group, bias)
    layer = layer_of(weight, bits, "triton", group, bias)
    assert torch.equal(layer.dequantized(), plain.dequantized())
    for dtype in (torch.bfloat16, torch.float32):
        hold(layer, plain, torch.randn(num_rows, n_in, generator=random).to(dtype), bias)
    wider = torch.randn(2, num_rows, n_in + 64, generator=random).to(torch.bfloat16)
    hold(layer, plain, wider[:, :1, :n_in], bias)


@needs_kernels
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_wide_layers_take_two_tiles_at_once(bits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from localgpt.nn import few_rows

    monkeypatch.setattr(few_rows, "_SMALL", 0)
    for n_out, n_in in ((40, 512), (21, 576)):
        weight = torch.randn(n_out, n_in)
        for num_rows in (1, 2):
            x = torch.randn(num_rows, n_in).to(torch.bfloat16)
            hold(layer_of(weight, bits, "triton"), layer_of(weight, bits, "plain"), x, None)


@needs_kernels
def test_a_compiler_takes_the_kernels_into_one_graph() -> None:
    network = torch.nn.Sequential(
        layer_of(torch.randn(64, 128), "int4", "triton"), layer_of(torch.randn(32, 64), "int8", "triton")
    )
    for num_rows in (1, 9):
        x = torch.randn(num_rows, 128).to(torch.bfloat16)
        compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="aot_eager")
        assert torch.equal(compiled(x), network(x))


@needs_card
@pytest.mark.parametrize(("n_out", "n_in"), [(14336, 4096), (4096, 14336), (1024, 4096)])
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_full_shapes_on_a_card(bits: Any, n_out: int, n_in: int) -> None:
    weight = torch.randn(n_out, n_in, device="cuda")
    layer, plain = (layer_of(weight, bits, kernel) for kernel in ("triton", "plain"))
    for num_rows in (1, 2, 8, 20):
        x = torch.randn(num_rows, n_in, device="cuda", dtype=torch.bfloat16)
        hold(layer, plain, x, None)
    graph, x = torch.cuda.CUDAGraph(), torch.randn(1, n_in, device="cuda", dtype=torch.bfloat16)
    with torch.cuda.graph(graph):
        out = layer(x)
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, layer(x))
