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
from localgpt.compute.graphs import capture_graph
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
    ("n_out", "n_in", "group"),
    [
        (48, 128, 64),
        (37, 192, 64),
        (20, 96, 32),
        (17, 1088, 64),
        (24, 1024, 64),
        (11, 1056, 32),
        (13, 9280, 64),  # several turns, the last not whole
    ],
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
@pytest.mark.parametrize("tile", [(2, 4, 1), (4, 2, 0), (16, 1, 1)])
@pytest.mark.parametrize(("n_out", "n_in", "group"), [(21, 4160, 64), (20, 4096, 32)])
def test_any_tile_makes_the_same(
    n_out: int, n_in: int, group: int, tile: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from localgpt.nn import few_rows

    monkeypatch.setitem(few_rows.TILES, "int4", tile)
    weight, bias = torch.randn(n_out, n_in), torch.randn(n_out)
    layer, plain = (layer_of(weight, "int4", kernel, group, bias) for kernel in ("triton", "plain"))
    for num_rows in (1, 3):
        hold(layer, plain, torch.randn(num_rows, n_in).to(torch.bfloat16), bias)


def matrix_of(layer: Any) -> Any:
    from localgpt.nn.few_rows import Matrix

    return Matrix(layer.packed, layer.scale_and_zero, layer.bias)


@needs_kernels
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("sizes", "n_in", "group"), [((24, 12, 5), 192, 64), ((8, 8, 8), 2080, 32)])
def test_what_stands_around_a_product(
    sizes: tuple[int, ...], n_in: int, group: int, has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localgpt.nn import few_rows

    monkeypatch.setitem(few_rows.TILES, "int4", (8, 1, has_bias))
    biases = [torch.randn(size) if has_bias else None for size in sizes]
    layers = [
        layer_of(torch.randn(size, n_in) / n_in**0.5, "int4", "triton", group, bias)
        for size, bias in zip(sizes, biases, strict=True)
    ]
    matrices = [matrix_of(layer) for layer in layers]
    x, gain, residual = 3 * torch.randn(2, n_in), torch.rand(n_in) + 0.5, torch.randn(2, sum(sizes))
    spread = [layer.dequantized() for layer in layers]
    normed = F.rms_norm(x, (n_in,), gain, 1e-5)

    def products(inputs: torch.Tensor) -> list[torch.Tensor]:
        return [F.linear(inputs, one, bias) for one, bias in zip(spread, biases, strict=True)]

    out = torch.full_like(residual, float("nan"))
    few_rows.int4_product(out, x, matrices, few_rows.Around(gain=gain, eps=1e-5))
    torch.testing.assert_close(out, torch.cat(products(normed), dim=-1), rtol=2e-3, atol=1e-2)

    out = residual[:, : sizes[0]].contiguous()
    few_rows.int4_product(out, x, matrices[:1], few_rows.Around(residual=out))  # in place
    expected = residual[:, : sizes[0]] + products(x)[0]
    torch.testing.assert_close(out, expected, rtol=2e-3, atol=1e-2)

    if sizes[0] == sizes[1] and not has_bias:
        out = torch.full((2, sizes[0]), float("nan"))
        around = few_rows.Around(gain=gain, eps=1e-5, is_pair=True)
        few_rows.int4_product(out, x, matrices[:2], around)
        gate, up, _ = products(normed)
        torch.testing.assert_close(out, F.silu(gate) * up, rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize(("sizes", "has_bias"), [((8, 8), True), ((8, 16), False)])
def test_a_pair_has_no_bias_and_one_size(sizes: tuple[int, ...], has_bias: bool) -> None:
    from localgpt.nn.few_rows import Around, Matrix, int4_product

    pair = [
        Matrix(
            torch.zeros(size, 8, dtype=torch.int32),
            torch.zeros(size, 1, 2, dtype=torch.bfloat16),
            torch.zeros(size) if has_bias else None,
        )
        for size in sizes
    ]
    with pytest.raises(AssertionError):  # the kernel would read the first one's for both
        int4_product(torch.zeros(1, 8), torch.zeros(1, 64), pair, Around(is_pair=True))


@needs_kernels
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, which interprets
@pytest.mark.parametrize("is_integer", [0, 1])
def test_inputs_of_all_sizes(is_integer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from localgpt.nn import few_rows

    monkeypatch.setitem(few_rows.TILES, "int4", (8, 1, is_integer))
    layer = layer_of(torch.randn(8, 128), "int4", "triton")
    spread = layer.dequantized()
    x = torch.randn(6, 128) * torch.tensor([1e-20, 1.0, 1e4, 0.0, 1.0, 1.0])[:, None]
    x[1, 5], x[4, 9], x[5, 70] = 300.0, float("nan"), float("inf")
    out = torch.empty(6, 8)
    few_rows.int4_product(out, x, [matrix_of(layer)])
    expected = F.linear(x[:4], spread)
    error = (out[:4] - expected).abs().amax(dim=1)
    assert bool((error <= 1e-4 * x[:4].abs().amax(dim=1) * 16).all()), error
    assert not bool(out[4:].isfinite().any())


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
    x = torch.randn(1, n_in, device="cuda", dtype=torch.bfloat16)
    captured = capture_graph(lambda: layer(x), x.device)  # kernels that begin before their inputs are there
    for _ in range(20):
        x.copy_(torch.randn_like(x))
        captured.graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(captured.out, layer(x))
