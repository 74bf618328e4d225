"""Tokens of Llama-like networks by fused kernels against transformers: in the interpreter, and on a card.

The interpreter is chosen when Triton is imported, so its tests run in a process of their own. They compute in
float32: the interpreter cuts numbers to bfloat16 instead of rounding them.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from localgpt.compute.quantization import quantized_linear
from localgpt.nn.weight_only import Int4WeightLinear, quantize_groups
from localgpt.runtime.open import fixed_steps
from localgpt.runtime.open.cache import cache_argument, new_cache
from localgpt.runtime.open.fixed_steps import FixedSteps
from localgpt.runtime.open.fused_steps import why_not
from tests.triton_process import IN_INTERPRETER, interpreted, needs_cuda, needs_triton, run_interpreted

FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3"]
MORE: dict[str, dict[str, Any]] = {
    "Llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "Mistral": {"sliding_window": None, "head_dim": 16},
    "Qwen2": {},
    "Qwen3": {"head_dim": 32},
}
TINY = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@pytest.mark.skipif(IN_INTERPRETER, reason="is the other process")
@needs_triton
def test_the_kernels_in_the_interpreter() -> None:
    run_interpreted(__file__)


@pytest.fixture(autouse=IN_INTERPRETER)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes loops up to a number that is read with any numpy, and few programs for each product."""
    from triton.runtime import interpreter

    from localgpt.nn import few_rows

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)
    monkeypatch.setitem(few_rows.TILES, "int4", (64, 1, 0))


def make(family: str, **more: Any) -> Any:
    """A random network in float32 whose normalisations and biases are not what they begin with."""
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(**TINY | MORE[family] | more)
    network = getattr(transformers, f"{family}ForCausalLM")(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.5, 1.5)
        elif parameter.ndim == 1:
            parameter.normal_(std=0.3)
        else:
            parameter.normal_(std=0.15)
    return network


def quantize(network: Any, kernel: Any) -> Any:
    """Its decoder's layers in int4."""
    for name, module in list(network.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            size = 64 if module.in_features % 64 == 0 else 32
            layer = Int4WeightLinear(*quantize_groups(module.weight, size), module.bias, kernel=kernel)
            network.model.layers.set_submodule(name, layer)
    return network


def read(network: Any, ids: list[int]) -> tuple[Any, torch.Tensor]:
    made = new_cache(network.config)
    out = network(
        input_ids=torch.tensor([ids], device=network.device),
        use_cache=True,
        **{cache_argument(network): made},
    )
    return made, out.logits[0, -1].float()


def step(network: Any, made: Any, token_id: int) -> torch.Tensor:
    ids = torch.tensor([[token_id]], device=network.device)
    logits: torch.Tensor = network(input_ids=ids, use_cache=True, **{cache_argument(network): made}).logits[
        0, -1
    ]
    return logits.float()


# In the interpreter


@interpreted
@needs_triton
@pytest.mark.parametrize(
    ("family", "run_len", "num_prompt"),
    [("Llama", 512, 30), ("Llama", 16, 38), ("Mistral", 32, 1), ("Qwen2", 16, 38), ("Qwen3", 512, 30)],
)
@torch.inference_mode()
def test_interpreted_tokens_are_those_of_transformers(
    family: str, run_len: int, num_prompt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localgpt.compute.fused import llama_steps

    monkeypatch.setattr(fixed_steps, "_FIRST_LEN", 32)
    monkeypatch.setattr(llama_steps, "RUN_LEN", run_len)
    monkeypatch.setattr(llama_steps, "_BLOCK", 16)
    network, plain = quantize(make(family), "triton"), quantize(make(family), "plain")
    assert why_not(network) == ""
    ids = [5 + 7 * number % 90 for number in range(num_prompt)]
    made, logits = read(plain, ids)
    ours, theirs = FixedSteps(network, captures=False), FixedSteps(plain, captures=False)
    assert ours.begin(made, ids[-1], logits) and ours.path == "fused"
    assert theirs.begin(made, ids[-1], logits) and theirs.path.startswith("not fused")
    for position, token_id in enumerate(range(40, 43), start=num_prompt):
        found, expected = (steps.step(token_id, position) for steps in (ours, theirs))
        torch.testing.assert_close(found, step(plain, made, token_id), rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)
    assert ours.path == "fused"
    for one, other in zip(ours._cache.layers, theirs._cache.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(one.values, other.values, rtol=1e-3, atol=1e-3)


@interpreted
@needs_triton
@torch.inference_mode()
def test_interpreted_reads_nothing_behind_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_steps, "_FIRST_LEN", 64)
    network, plain = quantize(make("Qwen2"), "triton"), quantize(make("Qwen2"), "plain")
    made, logits = read(plain, [7, 8, 9])
    steps = FixedSteps(network, captures=False)
    assert steps.begin(made, 9, logits)
    for layer in steps._cache.layers:
        layer.keys[:, :, 3:], layer.values[:, :, 3:] = float("nan"), float("nan")
    torch.testing.assert_close(steps.step(11, 3), step(plain, made, 11), rtol=1e-3, atol=2e-3)


@interpreted
@needs_triton
@pytest.mark.parametrize("how", ["wrong", "raises", "wrong later"])
@torch.inference_mode()
def test_interpreted_kernels_that_are_wrong_are_left(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fixed_steps, "_FIRST_LEN", 8)
    right = fixed_steps.fused_logits

    def broken(*arguments: Any) -> torch.Tensor:
        if how == "raises":
            raise ValueError("out of resources")
        made = right(*arguments)
        return made + made.abs().max() if how == "wrong" or arguments[-1] > 8 else made

    monkeypatch.setattr(fixed_steps, "fused_logits", broken)
    network = quantize(make("Llama"), "triton")
    made, logits = read(network, [1, 2, 3, 4, 5, 6, 7])
    steps = FixedSteps(network, captures=False)
    assert steps.begin(made, 7, logits)
    assert (steps.path == "fused") == (how == "wrong later")
    for position in range(7, 10):
        expected, found = step(network, made, 20 + position), steps.step(20 + position, position)
        assert fixed_steps._distance(found, expected) < 0.05  # of the layers' own bfloat16
    [record] = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "fused kernels are not used" in record.getMessage() and steps.path.startswith("not fused")


@interpreted
@needs_triton
def test_interpreted_networks_that_are_not_taken() -> None:
    assert why_not(quantize(make("Llama"), "triton")) == ""
    assert "is none of" in why_not(transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1)))
    assert "int4 by Triton" in why_not(make("Llama"))
    assert "int4 by Triton" in why_not(quantize(make("Llama"), "plain"))
    assert "a window" in why_not(quantize(make("Mistral", sliding_window=64), "triton"))
    windows = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}
    assert "a window" in why_not(quantize(make("Qwen2", **windows), "triton"))
    assert "GELUActivation" in why_not(quantize(make("Llama", hidden_act="gelu"), "triton"))
    assert "a bias" in why_not(quantize(make("Llama", mlp_bias=True), "triton"))
    assert "a bias" in why_not(quantize(make("Qwen3", attention_bias=True), "triton"))
    assert "no power of two" in why_not(quantize(make("Llama", head_dim=24), "triton"))
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert "angles" in why_not(quantize(make("Llama", rope_parameters=dynamic), "triton"))
    hooked = quantize(make("Llama"), "triton")
    hooked.model.layers[1].register_forward_hook(lambda *arguments: None)
    assert "hooked" in why_not(hooked)

    class Own(transformers.LlamaForCausalLM):
        pass

    assert "is none of" in why_not(Own(transformers.LlamaConfig(**TINY)))


# On a card


@needs_cuda
@needs_triton
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_prompt", [9, 505, 1400])
@torch.inference_mode()
def test_graphs_on_a_card_are_fused(family: str, num_prompt: int) -> None:
    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16, "head_dim": 64}
    network = make(family, **sizes, num_key_value_heads=4)
    for parameter in network.parameters():
        if parameter.ndim == 2:
            parameter.mul_(0.2)
    network = network.to("cuda", torch.bfloat16)
    for name, module in list(network.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            layer = quantized_linear(module.weight, module.bias, "int4")
            assert layer is not None
            network.model.layers.set_submodule(name, layer)
    ids = [5 + 7 * number % 90 for number in range(num_prompt)]
    made, logits = read(network, ids)
    steps = FixedSteps(network)
    assert steps.begin(made, ids[-1], logits) and steps.path == "fused"
    for position, token_id in enumerate(range(30, 60), start=num_prompt):
        expected, found = step(network, made, token_id), steps.step(token_id, position)
        assert fixed_steps._distance(found, expected) < 0.03
    assert steps.path == "fused" and steps.num_graphs >= 1
