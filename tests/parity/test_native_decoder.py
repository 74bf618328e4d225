"""The decoder in C++ against torch with the same int8 weights, and against float64.

Tolerances are fractions of the largest logit. Both int8 paths round activations to 8 bits; where one lies
between two steps, float32 sums in another order can take it to the other one, and all after it differs a
little. So torch and the kernel agree within `TOLERANCE`, and each is about as far from float64 as the other.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from localgpt.checkpoints import load_family
from localgpt.compute.native.check import check_kernel, in_torch, int8_tensors
from localgpt.compute.native.decoder import NativeDecoder
from localgpt.compute.native.library import open_library
from localgpt.compute.native.loading import load_native_family
from localgpt.engine.engine import Engine
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest
from localgpt.errors import BackendError, CheckpointError
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.nn.linear import dequantize_weight
from localgpt.runtime.footprint import measure
from localgpt.tasks import SamplingOptions
from tests import tiny, tiny_folder

TOLERANCE = 2e-2
CONFIG = replace(tiny.DECODER, n_embd=64)
LONG = replace(CONFIG, context_len=2048)


def has_library() -> str:
    try:
        open_library()
    except BackendError as error:
        return str(error)
    return ""


MISSING = has_library()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "the kernel is here")
PATHS = () if MISSING else open_library().paths


def make_decoders(config: DecoderConfig = CONFIG, **options: object) -> tuple[NativeDecoder, Decoder]:
    """The kernel's decoder and the plain torch one, of the same int8 weights."""
    decoder = tiny.make_decoder(seed=3, config=config)
    native = NativeDecoder(config, int8_tensors(decoder), **options)  # type: ignore[arg-type]
    return native, in_torch(decoder, kernel="plain")


def in_float64(decoder: Decoder) -> Decoder:
    """The network of the dequantised weights."""
    made = copy.deepcopy(decoder)
    tensors = int8_tensors(decoder)
    state = {
        name: dequantize_weight(value, tensors[f"{name}_scale"]) if f"{name}_scale" in tensors else value
        for name, value in tensors.items()
        if not name.endswith("weight_scale")
    }
    made.load_state_dict(state | {"lm_head.weight": state["wte.weight"]})
    return made.double()


def some_ids(length: int, seed: int = 0) -> Tensor:
    return torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed))


def difference(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected.double()).abs().max() / expected.abs().max())


@torch.inference_mode()
def all_logits(decoder: NativeDecoder | Decoder) -> Tensor:
    """Logits of a prompt with a picture in it, read in pieces, and of ragged batches after it."""
    cache = decoder.new_cache(3)
    ids, modality = some_ids(40), torch.tensor([0] * 7 + [1] * 9 + [2] * 5 + [0] * 19)
    x = decoder.embed(ids[None])[0]
    found = [
        decoder.prefill(x[a:b], modality[a:b], cache, slot=1, start=a)
        for a, b in ((0, 23), (23, 24), (24, 40))
    ]
    for step in range(12):
        tokens, lengths = some_ids(3, seed=step), torch.tensor([step, 40 + step, step])
        found += decoder.decode_step(tokens, cache, torch.tensor([2, 1, 0]), lengths)
    return torch.stack(found)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, qk_norm=False), replace(CONFIG, n_head=8)])
def test_every_instruction_set_and_number_of_threads_gives_the_same_bits(config: DecoderConfig) -> None:
    native, plain = make_decoders(config)
    expected = all_logits(native)
    assert native.path == PATHS[0] and "portable" in PATHS
    assert difference(expected, all_logits(plain)) < TOLERANCE
    for path in PATHS:
        for num_threads in (1, 2, 3):
            other, _ = make_decoders(config, path=path, num_threads=num_threads)
            assert torch.equal(all_logits(other), expected), (path, num_threads)


@torch.inference_mode()
def test_it_is_as_near_to_float64_as_torch() -> None:
    decoder = tiny.make_decoder(seed=3, config=CONFIG)
    native, plain = make_decoders()
    exact = all_logits_of_prompt(in_float64(decoder))
    ours, theirs = (difference(all_logits_of_prompt(made), exact) for made in (native, plain))
    assert ours < 0.1 and ours < 1.5 * theirs + 1e-3, (ours, theirs)


def all_logits_of_prompt(decoder: NativeDecoder | Decoder) -> Tensor:
    ids, cache = some_ids(100, seed=9), None
    if isinstance(decoder, Decoder) and decoder.alibi.dtype == torch.float64:
        return decoder(ids[None])[0]
    cache = decoder.new_cache(1)
    slot = torch.tensor([0])
    rows = [decoder.decode_step(ids[i : i + 1], cache, slot, torch.tensor([i]))[0] for i in range(100)]
    return torch.stack(rows)


@torch.inference_mode()
def test_a_context_of_2048_tokens() -> None:
    native, plain = make_decoders(LONG)
    ids = some_ids(2048, seed=2)
    caches = native.new_cache(1), plain.new_cache(1)
    for start in range(0, 2047, 256):
        end = min(start + 256, 2047)
        got, expected = (
            made.prefill(made.embed(ids[None, start:end])[0], None, cache, slot=0, start=start)
            for made, cache in zip((native, plain), caches, strict=True)
        )
        assert difference(got, expected) < TOLERANCE
    last = ids[2047:], torch.tensor([0]), torch.tensor([2047])
    got, expected = (
        made.decode_step(last[0], cache, *last[1:])
        for made, cache in zip((native, plain), caches, strict=True)
    )
    assert difference(got, expected) < TOLERANCE


@pytest.mark.parametrize("batch_size", range(1, 18))
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_batch(batch_size: int) -> None:
    native, _ = make_decoders()
    tokens, lengths = some_ids(batch_size), torch.arange(batch_size)
    cache = native.new_cache(batch_size)
    cache.k.normal_(generator=torch.Generator().manual_seed(1))
    cache.v.normal_(generator=torch.Generator().manual_seed(2))
    slots = torch.arange(batch_size).flip(0)
    together = native.decode_step(tokens, cache, slots, lengths)
    for row in range(batch_size):
        alone = native.decode_step(tokens[row : row + 1], cache, slots[row : row + 1], lengths[row : row + 1])
        assert torch.equal(alone[0], together[row])


@torch.inference_mode()
def test_rows_that_follow_each_other_in_a_slot() -> None:
    native, _ = make_decoders()
    tokens, slots, positions = (
        some_ids(20),
        torch.tensor([1] * 11 + [0] * 9),
        torch.tensor([*range(11), *range(9)]),
    )
    together = native.decode_step(tokens, native.new_cache(2), slots, positions)
    cache = native.new_cache(2)
    for row in range(20):
        at = slice(row, row + 1)
        assert torch.equal(native.decode_step(tokens[at], cache, slots[at], positions[at])[0], together[row])


@torch.inference_mode()
def test_torch_and_the_kernel_go_on_where_the_other_stopped() -> None:
    native, plain = make_decoders()
    ids = some_ids(30)
    for first, then in ((native, plain), (plain, native)):
        cache, own = first.new_cache(2), then.new_cache(2)
        for made, to in ((first, cache), (then, own)):
            made.prefill(made.embed(ids[None])[0], None, to, slot=1, start=0)
        assert difference(cache.k[:, 1, :, :30], own.k[:, 1, :, :30]) < TOLERANCE
        step = torch.tensor([5]), torch.tensor([1]), torch.tensor([30])
        got, expected = then.decode_step(step[0], cache, *step[1:]), then.decode_step(step[0], own, *step[1:])
        assert difference(got, expected) < TOLERANCE


def answers(decoder: NativeDecoder | Decoder, prompts: list[list[int]], num_slots: int) -> list[list[int]]:
    """Greedy answers of the engine, as many at once as there are slots, each prompt of another length."""
    engine = Engine(
        ModelRunner(decoder, num_slots=num_slots, prefill_tokens=32),
        lambda: StreamDecoder(tiny.make_tokenizer()),
    )
    options = SamplingOptions(temperature=0.0)
    sequences = [
        engine.submit(GenerationRequest(token_ids=prompt, options=options, max_tokens=12))
        for prompt in prompts
    ]
    while engine.has_work:
        engine.step()
    return [sequence.answer_ids for sequence in sequences]


@pytest.mark.parametrize("num_slots", [1, 4, 8])
def test_greedy_answers_are_those_of_torch(num_slots: int) -> None:
    native, plain = make_decoders()
    prompts = [some_ids(1 + 7 * seed % 90, seed=seed).tolist() for seed in range(48)]
    expected = answers(plain, prompts, 1)
    assert len({tuple(answer) for answer in expected}) > 24, "answers must vary with their prompts"
    assert answers(native, prompts, num_slots) == expected


@torch.inference_mode()
def test_what_does_not_fit_is_refused() -> None:
    native, _ = make_decoders()
    cache = native.new_cache(2)
    good = torch.tensor([1]), cache, torch.tensor([0]), torch.tensor([3])
    for place, bad in ((0, 10**6), (0, -1), (2, 2), (3, CONFIG.context_len), (3, -1)):
        wrong = [torch.tensor([bad]) if index == place else value for index, value in enumerate(good)]
        with pytest.raises(BackendError, match="that is not there"):
            native.decode_step(*wrong)
    with pytest.raises(BackendError, match="that is not there"):
        native.prefill(torch.zeros(1, 64), torch.tensor([3]), cache, slot=0, start=0)
    tensors = int8_tensors(tiny.make_decoder(config=CONFIG))
    with pytest.raises(BackendError, match=r"'mmx' is not here, expected one of .*portable"):
        NativeDecoder(CONFIG, tensors, path="mmx")
    with pytest.raises(CheckpointError, match=r"norm_f\.weight is missing"):
        NativeDecoder(CONFIG, {name: value for name, value in tensors.items() if name != "norm_f.weight"})
    with pytest.raises(CheckpointError, match="expected"):
        NativeDecoder(CONFIG, tensors | {"wte.weight": tensors["wte.weight"][:16]})
    with pytest.raises(BackendError, match="not int8"):
        NativeDecoder(CONFIG, {name: value for name, value in tensors.items() if "c_fc" not in name})
    with pytest.raises(BackendError, match="multiples of 16"):
        NativeDecoder(replace(CONFIG, n_embd=72), tensors)


def test_another_default_dtype_changes_nothing() -> None:
    native, _ = make_decoders()
    ids = some_ids(5)
    embeddings, logits = native.embed(ids[None]), all_logits(native)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # as another thread may at any moment
    try:
        assert torch.equal(native.embed(ids[None]), embeddings)
        assert torch.equal(all_logits(native), logits)
    finally:
        torch.set_default_dtype(default)


@torch.inference_mode()
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", [0, 17, 63])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_spoils_its_own_row_and_is_never_lost(path: str, place: int, bad: float) -> None:
    native, _ = make_decoders(path=path)
    inputs = native.embed(some_ids(3)[None])[0]
    slots, positions = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    sound = native._forward(inputs, native.new_cache(3), slots, positions)
    inputs[1, place] = bad
    logits = native._forward(inputs, native.new_cache(3), slots, positions)
    assert torch.equal(logits[[0, 2]], sound[[0, 2]])
    assert not bool(torch.isfinite(logits[1]).any())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(bad: float) -> None:
    native, _ = make_decoders()
    x = native.embed(torch.tensor([[1, 2, 3]]))[0]
    x[1, 3] = bad
    with pytest.raises(BackendError, match="the encoder gave values that are no numbers"):
        native.prefill(x, None, native.new_cache(1), slot=0, start=0)
    tensors = int8_tensors(tiny.make_decoder(config=CONFIG))
    for name in ("wte.weight_scale", "blocks.1.norm_2.weight"):
        with pytest.raises(CheckpointError, match=rf"{name} holds values that are no numbers"):
            NativeDecoder(CONFIG, tensors | {name: torch.full_like(tensors[name], bad)})


def test_its_weights_are_counted_once() -> None:
    native, _ = make_decoders()
    c, v, h = CONFIG.n_embd, CONFIG.vocab_size, CONFIG.n_head
    vectors = CONFIG.n_layer * (4 * c + CONFIG.n_modality * h) + c
    found = measure(native)
    assert found.num_params == v * c + CONFIG.n_layer * 12 * c * c + vectors
    assert found.dtype == "int8" and native.has_exact_rows
    assert (
        found.num_params
        < found.weight_bytes
        < found.num_params + 4 * (v + CONFIG.n_layer * 9 * c + vectors) + 1
    )


def test_a_family_folder(tmp_path: Path) -> None:
    folder = tiny_folder.write_family(tmp_path, config=CONFIG)
    native, plain = load_native_family(folder), load_family(folder)
    assert native.encoder is not None and native.projector is not None
    assert difference(all_logits(native.decoder), all_logits(plain.decoder)) < TOLERANCE


def test_the_check_of_the_doctor() -> None:
    found = check_kernel()
    assert found.works and found.paths == PATHS and not found.missing and not found.detail
