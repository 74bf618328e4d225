"""Single tokens in few Triton kernels against the plain path: in Triton's interpreter, and on a card.

The interpreter is chosen when Triton is imported, so its tests run in a process of their own. Its bfloat16 is
left alone: it rounds 1.998 to 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from localgpt.compute.fused import steps as fused
from localgpt.compute.fused.steps import TOLERANCES, FusedSteps, difference, fused_steps, why_not
from localgpt.engine import static_steps
from localgpt.engine.static_steps import DRAFT_TOKENS, SlotWork, StaticSteps, static_logits
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.linear import quantize_
from tests import tiny
from tests.triton_process import IN_INTERPRETER, interpreted, needs_cuda, needs_triton, run_interpreted

CONFIG = DecoderConfig(vocab_size=61, n_layer=2, n_embd=32, n_head=2, context_len=600)


@pytest.mark.skipif(IN_INTERPRETER, reason="is the other process")
@needs_triton
def test_the_kernels_in_the_interpreter() -> None:
    run_interpreted(__file__)


# In the interpreter


@pytest.fixture(scope="module", params=[torch.float32, torch.float16], ids=["float32", "float16"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return tiny.make_decoder(seed=4, config=CONFIG).to(request.param)


def random_caches(decoder: Decoder, num_slots: int, seed: int = 0) -> list[KVCache]:
    """Two of the same random numbers."""
    device, dtype = decoder.device, decoder.wte.weight.dtype
    caches = [
        decoder.new_cache(num_slots, dtype=dtype, device=device, num_spare=DRAFT_TOKENS) for _ in range(2)
    ]
    generator = torch.Generator().manual_seed(seed)
    for values in zip(*((cache.k, cache.v) for cache in caches), strict=True):
        made = torch.randn(values[0].shape, generator=generator).to(device, dtype)
        for value in values:
            value.copy_(made)
    return caches


@torch.inference_mode()
def compare(decoder: Decoder, caches: list[KVCache], positions: list[int], length: int) -> float:
    """The difference of the slots' logits; what is written has to be the same, too."""
    ours, theirs = caches
    device = decoder.device
    generator = torch.Generator().manual_seed(sum(positions))
    token_ids = torch.randint(decoder.config.vocab_size, (len(positions), 1), generator=generator).to(device)
    # The shape in which `StaticSteps` hands them over: columns of one tensor.
    inputs = torch.cat((token_ids, torch.tensor(positions, device=device)[:, None]), dim=1)
    arguments = inputs[:, :-1], inputs[:, -1:], length
    made = FusedSteps(decoder).logits(decoder, ours, *arguments)
    expected = static_logits(decoder, theirs, *arguments)
    assert made.shape == expected.shape and made.dtype == torch.float32
    for one, other in ((ours.k, theirs.k), (ours.v, theirs.v)):
        assert difference(one, other) <= TOLERANCES[one.dtype]
        assert torch.equal(one[:, len(positions) :], other[:, len(positions) :])
    return difference(made, expected)


@interpreted
@needs_triton
@pytest.mark.parametrize(
    ("position", "length"),
    [
        (0, 256),
        (1, 256),
        (127, 256),
        (255, 256),
        (255, 512),
        (256, 512),
        (257, 512),
        (511, 512),
        (512, 608),
        (599, 608),
        (607, 608),
    ],
)
def test_interpreted_positions(decoder: Decoder, position: int, length: int) -> None:
    found = compare(decoder, random_caches(decoder, 2), [position], length)
    assert found <= TOLERANCES[decoder.wte.weight.dtype]


@interpreted
@needs_triton
@pytest.mark.parametrize("length", [256, 608])
@pytest.mark.parametrize("num_slots", [3, 8])
def test_interpreted_slots_have_positions_of_their_own(decoder: Decoder, num_slots: int, length: int) -> None:
    positions = [(97 * slot + 250 * (slot % 2)) % length for slot in range(num_slots)]
    found = compare(decoder, random_caches(decoder, num_slots + 1), positions, length)
    assert found <= TOLERANCES[decoder.wte.weight.dtype]


@interpreted
@needs_triton
def test_interpreted_slots_that_wait_beyond_the_length() -> None:
    """A slot with nothing to do writes behind what it holds, beyond what others look at."""
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    ours, theirs = random_caches(decoder, 2)
    inputs = torch.tensor([[7, 3], [8, 600]])
    with torch.inference_mode():
        made = FusedSteps(decoder).logits(decoder, ours, inputs[:, :1], inputs[:, 1:], 256)
        expected = static_logits(decoder, theirs, inputs[:, :1], inputs[:, 1:], 256)
    assert difference(made[0], expected[0]) <= 1e-3
    for one, other in ((ours.k, theirs.k), (ours.v, theirs.v)):
        assert difference(one[:, 0], other[:, 0]) <= 1e-3
        assert torch.equal(one[:, 1, :, :600], other[:, 1, :, :600])
        assert torch.equal(one[:, 1, :, 601:], other[:, 1, :, 601:])


@interpreted
@needs_triton
def test_interpreted_reads_nothing_that_is_masked_out() -> None:
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    ours, theirs = random_caches(decoder, 1)
    for values in (ours.k, ours.v):
        values[..., 300:, :] = float("nan")
    inputs = torch.tensor([[7, 300]])
    with torch.inference_mode():
        made = FusedSteps(decoder).logits(decoder, ours, inputs[:, :1], inputs[:, 1:], 608)
        expected = static_logits(decoder, theirs, inputs[:, :1], inputs[:, 1:], 608)
    assert difference(made, expected) <= 1e-3


@interpreted
@needs_triton
@pytest.mark.parametrize("vocab_size", [300, 9000])
def test_interpreted_choice(vocab_size: int) -> None:
    steps = FusedSteps(tiny.make_decoder(seed=4, config=CONFIG))
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(40, (7, 1, vocab_size), generator=generator).float()  # many are equal
    banned = torch.rand(7, vocab_size, generator=generator) < 0.5
    banned[1] = True
    banned[2] = logits[2, 0] > 20
    logits[3, 0, 5] = float("nan")
    logits[4, 0, vocab_size - 1] = float("inf")
    logits[5, 0, 9] = float("-inf")
    made, expected = steps.told(logits, banned), static_steps._told(logits, banned)
    sound = expected[:, 0, 1] == 1
    assert torch.equal(made[:, :, 1], expected[:, :, 1]) and sound.tolist() == [1, 1, 1, 0, 0, 0, 1]
    assert torch.equal(made[sound], expected[sound])
    assert bool((made[:, :, 0] < vocab_size).all())


@interpreted
@needs_triton
def test_interpreted_steps_run_by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    machines = [
        StaticSteps(decoder, decoder.new_cache(3, num_spare=DRAFT_TOKENS), captures=False) for _ in range(2)
    ]
    machines[0]._fused = fused_steps(decoder, machines[0]._cache, static_logits)
    assert machines[0].is_fused and not machines[1].is_fused
    banned = torch.zeros(CONFIG.vocab_size, dtype=torch.bool)
    token_id = 5
    for position in range(6):
        works = [
            SlotWork(slot=0, position=position, token_ids=[token_id], banned=banned),
            SlotWork(slot=2, position=position, token_ids=[token_id + 1]),
        ]
        one, other = (machine.run(works, [position, 0, position]) for machine in machines)
        assert [result.likeliest for result in one] == [result.likeliest for result in other]
        assert all(result.is_sound == [True] for result in one)
        [token_id] = one[0].likeliest
        banned = banned.clone()
        banned[token_id] = True


@interpreted
@needs_triton
def test_interpreted_kernels_that_are_wrong_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    cache = decoder.new_cache(1, num_spare=DRAFT_TOKENS)

    def other(*arguments: Any) -> Tensor:
        return static_logits(*arguments) + 1.0

    assert fused_steps(decoder, cache, other) is None
    [record] = caplog.records
    assert "away from torch's" in record.getMessage()


# Anywhere


def test_what_the_kernels_do_not_take() -> None:
    def reason(decoder: Decoder) -> str:
        return why_not(decoder, decoder.new_cache(1))

    assert reason(tiny.make_decoder(config=CONFIG)) == ""
    assert "no power of two" in reason(Decoder(replace(CONFIG, n_embd=48)))
    assert "not normalised" in reason(Decoder(replace(CONFIG, qk_norm=False)))
    assert "not of one" in reason(tiny.make_decoder(config=CONFIG).half())
    int8 = tiny.make_decoder(config=CONFIG)
    quantize_(int8, kernel="plain")
    assert "quantized" in reason(int8)


@pytest.mark.skipif(IN_INTERPRETER, reason="Triton is there")
def test_one_warning_where_there_are_no_kernels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    decoder = tiny.make_decoder(config=CONFIG)
    assert fused_steps(decoder, decoder.new_cache(1), static_logits) is None
    [record] = caplog.records
    assert "Triton, which comes with torch on Linux, is not here" in record.getMessage()


def test_kernels_that_fail_later_cost_no_token(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def logits(self, *arguments: Any) -> Tensor:
            raise ValueError("out of resources")

    decoder = tiny.make_decoder(seed=4, config=CONFIG)
    machines = [
        StaticSteps(decoder, decoder.new_cache(1, num_spare=DRAFT_TOKENS), captures=False) for _ in range(2)
    ]
    machines[0]._fused = Failing()  # type: ignore[assignment]
    for position in range(3):
        works = [SlotWork(slot=0, position=position, token_ids=[position])]
        one, other = (machine.run(works, [position])[0] for machine in machines)
        assert torch.equal(one.logits, other.logits) and one.likeliest == other.likeliest
    [record] = caplog.records
    assert "from here on" in record.getMessage() and not machines[0].is_fused


# On a card


@pytest.fixture(scope="module")
def large() -> Decoder:
    """The embedded decoder's shape, with weights of about its size."""
    decoder = Decoder(DecoderConfig())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.03, generator=generator)
    return decoder.requires_grad_(False).eval()


@needs_cuda
@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("positions", "length"),
    [
        ([0], 256),
        ([255], 256),
        ([300], 512),
        ([2047], 2048),
        ([2559], 2568),
        ([1, 500], 512),
        ([9, 99, 999, 1999], 2048),
        (list(range(0, 1600, 200)), 2048),
    ],
)
def test_full_shape_on_a_card(large: Decoder, dtype: torch.dtype, positions: list[int], length: int) -> None:
    decoder = large.to("cuda", dtype)
    found = compare(decoder, random_caches(decoder, len(positions)), positions, length)
    assert found <= TOLERANCES[dtype]


@needs_cuda
@needs_triton
def test_graphs_on_a_card_are_fused(large: Decoder) -> None:
    decoder = large.to("cuda", torch.bfloat16)

    def machine(logits: Callable[..., Tensor] | None) -> StaticSteps:
        cache = decoder.new_cache(2, dtype=torch.bfloat16, device="cuda", num_spare=DRAFT_TOKENS)
        return StaticSteps(decoder, cache, logits=logits)

    ours, theirs = machine(None), machine(static_logits)
    assert ours.is_fused and not theirs.is_fused
    for position in range(40):
        works = [
            SlotWork(slot=slot, position=position, token_ids=[position * 11 + slot]) for slot in range(2)
        ]
        pairs = zip(*(one.run(works, [position] * 2) for one in (ours, theirs)), strict=True)
        for one, other in pairs:
            assert difference(one.logits, other.logits) <= TOLERANCES[torch.bfloat16]
            assert one.likeliest == one.logits.argmax(dim=-1).tolist() and one.is_sound == [True]
    assert ours._captures and ours.is_fused
    assert fused.MAX_SLOTS == 8
