"""Shapes, formulas and invariants of the shared blocks."""

from __future__ import annotations

import pytest
import torch

from localgpt.nn.alibi import alibi_bias, alibi_slopes
from localgpt.nn.attention import CausalAttend, ModalityGatedAttention
from localgpt.nn.linear import Int8Linear, Linear, dequantize_weight, quantize_, quantize_weight


def test_alibi_slopes_follow_the_paper() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    with pytest.raises(ValueError, match="power of two"):
        alibi_slopes(12)


def test_alibi_bias_is_causal_and_linear_in_distance() -> None:
    positions = torch.arange(4)
    bias = alibi_bias(torch.tensor([0.5]), positions, positions)[0]
    assert bias[3].tolist() == [-1.5, -1.0, -0.5, 0.0]
    assert torch.isinf(bias[0, 1:]).all()


def test_quantized_weight_is_within_half_a_step() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 40, generator=generator)
    quantized, scale = quantize_weight(weight)
    error = (dequantize_weight(quantized, scale) - weight).abs()
    assert (error <= scale[:, None] / 2 + 1e-6).all()


@pytest.mark.parametrize("shape", [(3, 5, 2, 2), (7, 4)])
def test_quantize_weight_keeps_shape_and_survives_zero_channels(shape: tuple[int, ...]) -> None:
    weight = torch.zeros(shape)
    quantized, scale = quantize_weight(weight)
    assert quantized.shape == weight.shape
    assert torch.isfinite(scale).all()
    assert (dequantize_weight(quantized, scale) == 0).all()


def test_int8_rows_do_not_depend_on_their_batch() -> None:
    generator = torch.Generator().manual_seed(1)
    linear = Linear(64, 32)
    layer = Int8Linear(*quantize_weight(linear.weight))
    rows = torch.randn(5, 64, generator=generator) * torch.tensor([[1.0], [100.0], [0.01], [3.0], [0.0]])
    together = layer(rows)
    alone = torch.cat([layer(row[None]) for row in rows])
    assert torch.equal(together, alone)


def test_quantize_replaces_every_linear_below() -> None:
    module = torch.nn.Sequential(Linear(8, 8), torch.nn.Sequential(Linear(8, 4)))
    quantize_(module, kernel="plain")
    assert isinstance(module[0], Int8Linear)
    assert isinstance(module[1][0], Int8Linear)  # type: ignore[index]


def test_gate_is_chosen_by_modality_and_folds_for_text() -> None:
    torch.manual_seed(0)
    attention = ModalityGatedAttention(32, 4, n_modality=3)
    with torch.no_grad():
        attention.gate_logits.normal_()
    x = torch.randn(1, 5, 32)
    attend = CausalAttend(alibi_slopes(4))
    as_text = attention(x, 0, attend, None)
    as_image = attention(x, 0, attend, torch.ones(1, 5, dtype=torch.int64))
    assert torch.equal(as_text, attention(x, 0, attend, torch.zeros(1, 5, dtype=torch.int64)))
    assert not torch.allclose(as_text, as_image)
    folded = ModalityGatedAttention(32, 4, n_modality=3)
    folded.load_state_dict(attention.state_dict())
    with torch.no_grad():
        folded.c_proj.weight.copy_(attention.fold_gate())
        folded.gate_logits.fill_(100.0)  # sigmoid = 1: no gate left
    assert torch.allclose(folded(x, 0, attend, None), as_text, atol=1e-6)
