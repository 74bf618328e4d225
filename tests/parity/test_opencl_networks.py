"""Decoder and encoder on OpenCL against torch, with the same int8 weights, which torch spreads to float32."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from localgpt.checkpoints import embedded_folder, load_family
from localgpt.compute.opencl.decoder import OpenCLCache, OpenCLDecoder
from localgpt.compute.opencl.device import OpenCLDevice
from localgpt.compute.opencl.encoder import OpenCLEncoder
from localgpt.compute.opencl.loading import load_opencl_family
from localgpt.engine.engine import Engine
from localgpt.engine.runner import CachedDecoder, ModelRunner
from localgpt.engine.sequence import GenerationRequest
from localgpt.errors import BackendError, CapacityError, CheckpointError, MissingWeightsError
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.models.decoder import Decoder
from localgpt.models.encoder import JointEncoder
from localgpt.nn.linear import dequantize_weight
from localgpt.runtime.loading import LoadOptions, load_service, plan_load
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    ChatRequest,
    ChatResult,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    ImagePart,
    Message,
    SamplingOptions,
    TextPart,
)
from recipes.export import pack_int8
from tests import opencl_devices, tiny, tiny_folder
from tests.opencl_devices import BOTH_KINDS, open_device

TOLERANCE = 1e-5  # of the largest logit or feature
GREEDY = SamplingOptions(temperature=0.0, max_tokens=24)


def spread(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors as the floats they stand for."""
    names = [
        name for name in packed if not (name.endswith("_scale") and name.removesuffix("_scale") in packed)
    ]
    return {
        name: dequantize_weight(packed[name], packed[f"{name}_scale"])
        if f"{name}_scale" in packed
        else packed[name].float()
        for name in names
    }


def make_decoders(lanes: int = 1, *, qk_norm: bool = True) -> tuple[Decoder, OpenCLDecoder]:
    """The tiny decoder in torch and on OpenCL, of the same stored weights."""
    decoder = tiny.make_decoder(config=replace(tiny.DECODER, qk_norm=qk_norm))
    state = {name: tensor for name, tensor in decoder.state_dict().items() if name != "lm_head.weight"}
    packed, _ = pack_int8(state)
    decoder.load_state_dict(spread(packed), strict=False)
    return decoder, OpenCLDecoder(decoder.config, packed, open_device(lanes))


def make_encoders(lanes: int = 1) -> tuple[JointEncoder, OpenCLEncoder]:
    encoder = tiny.make_encoder()
    generator = torch.Generator().manual_seed(4)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training
            for values, low, high in (
                (layer.running_mean, -0.2, 0.2), (layer.running_var, 0.5, 2.0),
                (layer.weight.data, 0.5, 1.5), (layer.bias.data, -0.2, 0.2),
            ):  # fmt: skip
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
    packed, _ = pack_int8(encoder.state_dict())
    encoder.load_state_dict(spread(packed), strict=False)
    return encoder, OpenCLEncoder(encoder.config, packed, open_device(lanes))


def difference(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape and got.dtype == torch.float32
    return float((got - expected).abs().max() / expected.abs().max())


def some_ids(length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(tiny.DECODER.vocab_size, (length,), generator=generator)


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("lanes", BOTH_KINDS)
@torch.inference_mode()
def test_prefill_in_pieces_and_cached_decoding(lanes: int, qk_norm: bool) -> None:
    plain, opencl = make_decoders(lanes, qk_norm=qk_norm)
    ids, modality = some_ids(30), torch.tensor([0] * 5 + [1] * 9 + [2] * 3 + [0] * 13)
    full = plain(ids[None], modality=modality[None])[0]
    cache = opencl.new_cache(2)
    x = opencl.embed(ids[None])[0]
    assert difference(x, plain.embed(ids[None])[0]) < TOLERANCE
    assert difference(opencl.prefill(x[:11], modality[:11], cache, slot=1, start=0), full[10]) < TOLERANCE
    assert (
        difference(opencl.prefill(x[11:20], modality[11:20], cache, slot=1, start=11), full[19]) < TOLERANCE
    )
    for position in range(20, 30):
        length = torch.tensor([position])
        step = opencl.decode_step(ids[position : position + 1], cache, torch.tensor([1]), length)
        assert difference(step[0], full[position]) < TOLERANCE


@pytest.mark.parametrize("lanes", BOTH_KINDS)
@torch.inference_mode()
def test_a_ragged_batch_equals_single_sequences(lanes: int) -> None:
    plain, opencl = make_decoders(lanes)
    lengths, slots = [3, 40, 17, 1, 8], [4, 0, 2, 1, 3]
    cache, alone = opencl.new_cache(5), []
    for seed, (length, slot) in enumerate(zip(lengths, slots, strict=True)):
        ids = some_ids(length, seed)
        opencl.prefill(opencl.embed(ids), None, cache, slot=slot, start=0)
        alone.append(plain(torch.cat([ids, torch.tensor([5])])[None])[0, -1])
    batch = opencl.decode_step(torch.full((5,), 5), cache, torch.tensor(slots), torch.tensor(lengths))
    assert difference(batch, torch.stack(alone)) < TOLERANCE


def greedy(decoder: CachedDecoder, prompts: list[list[int]]) -> list[list[int]]:
    """Answers of the engine, all prompts at once, never an end."""
    tokenizer = tiny.make_tokenizer()
    engine = Engine(
        ModelRunner(decoder, num_slots=3, prefill_tokens=8), lambda: StreamDecoder(tokenizer), end_id=-1
    )
    sequences = [
        engine.submit(GenerationRequest(token_ids=prompt, options=GREEDY, max_tokens=GREEDY.max_tokens or 24))
        for prompt in prompts
    ]
    answers: dict[int, list[int]] = {id(sequence): [] for sequence in sequences}
    while engine.has_work:
        for output in engine.step():
            assert output.error is None
            if output.token_id is not None:
                answers[id(output.sequence)].append(output.token_id)
    return list(answers.values())


def test_greedy_answers_of_the_tiny_family_are_those_of_torch() -> None:
    plain, opencl = make_decoders()
    prompts = [some_ids(length, seed=length).tolist() for length in (3, 20, 9, 33)]
    expected = greedy(plain, prompts)
    assert greedy(opencl, prompts) == expected
    assert all(len(answer) == 24 for answer in expected) and len({tuple(answer) for answer in expected}) == 4


@pytest.mark.parametrize("lanes", BOTH_KINDS)
@torch.inference_mode()
def test_pictures_and_texts(lanes: int) -> None:
    plain, opencl = make_encoders(lanes)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for ours, expected in zip(opencl.read_image(pixels), plain.read_image(pixels), strict=True):
        assert difference(ours, expected) < TOLERANCE
    assert difference(opencl.encode_image(pixels), plain.encode_image(pixels)) < TOLERANCE
    token_ids, lengths = some_ids(48).view(3, 16), torch.tensor([16, 1, 7])
    assert (
        difference(opencl.encode_text(token_ids, lengths), plain.encode_text(token_ids, lengths)) < TOLERANCE
    )


def test_weights_of_another_shape_are_refused() -> None:
    decoder = tiny.make_decoder()
    packed, _ = pack_int8({name: t for name, t in decoder.state_dict().items() if name != "lm_head.weight"})
    narrow = packed | {"blocks.1.mlp.c_fc.weight": packed["blocks.1.mlp.c_fc.weight"][:-1]}
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.c_fc\.weight has the shape"):
        OpenCLDecoder(decoder.config, narrow, open_device())
    del packed["norm_f.weight"]
    with pytest.raises(CheckpointError, match=r"norm_f\.weight is missing"):
        OpenCLDecoder(decoder.config, packed, open_device())


def test_what_would_read_beside_the_arrays_is_refused() -> None:
    _, opencl = make_decoders()
    cache = opencl.new_cache(1)
    one, zero = torch.tensor([1]), torch.tensor([0])
    for token_ids, slots, lengths in (
        (torch.tensor([tiny.DECODER.vocab_size]), zero, zero),
        (torch.tensor([-1]), zero, zero),
        (one, one, zero),
        (one, zero, torch.tensor([tiny.DECODER.context_len])),
    ):
        with pytest.raises(BackendError, match="outside 0 to"):
            opencl.decode_step(token_ids, cache, slots, lengths)
    with pytest.raises(CapacityError, match="too long for the OpenCL kernels"):
        OpenCLCache(open_device(), (2, 1, 4, 2**27, 8))


async def answer(service: LocalService, question: str, photo: bytes) -> tuple[str, str, list[float]]:
    """A chat, a description and a vector from a service, which is closed."""
    try:
        picture = ImagePart(data=photo)
        said = await service.run(
            ChatRequest(id="chat", messages=(Message.of("user", question),), options=GREEDY)
        )
        seen = await service.run(DescribeRequest(id="describe", image=picture, options=GREEDY))
        embedded = await service.run(EmbedRequest(id="embed", inputs=(TextPart(text="a dog " * 12), picture)))
    finally:
        await service.close()
    assert isinstance(said, ChatResult) and isinstance(seen, ChatResult) and isinstance(embedded, EmbedResult)
    return said.text, seen.text, [value for vector in embedded.embeddings for value in vector]


def compare_services(folder: Path, question: str) -> str:
    """Hold answers on OpenCL against torch's in float32; what was said."""
    opencl_devices.require()
    photo = tiny.make_photo()
    plain = LocalService(load_family(folder, dtype=torch.float32))
    opencl = load_service(LoadOptions(model=str(folder), device="opencl:0", max_batch_size=2))
    status = asyncio.run(opencl.status())
    assert status.device == "opencl:0" and status.dtype == "int8" and not status.notices
    said, seen, vectors = asyncio.run(answer(opencl, question, photo))
    expected = asyncio.run(answer(plain, question, photo))
    assert (said, seen) == expected[:2] and said and seen
    assert np.abs(np.array(vectors) - np.array(expected[2])).max() < 1e-4
    return said


def test_a_service_on_opencl_answers_as_one_on_torch(family_folder: Path) -> None:
    compare_services(family_folder, "Who are you?")


@pytest.mark.weights
def test_the_shipped_family_answers_as_on_torch() -> None:
    try:
        folder = embedded_folder()
    except MissingWeightsError as error:
        pytest.skip(str(error))
    assert "Paris" in compare_services(folder, "What is the capital of France?")


def test_half_precision_is_left_out_with_a_notice(family_folder: Path) -> None:
    opencl_devices.require()
    plan = plan_load(LoadOptions(model=str(family_folder), device="opencl", fp16=True))
    assert plan.device == "opencl:0" and plan.dtype is None
    assert plan.notices == ("the OpenCL kernels know no half precision; using int8 weights instead",)


def test_a_family_whose_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    opencl_devices.require()
    folder = tiny_folder.write_family(tmp_path / "tiny")
    config = folder / "decoder" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"n_layer": 2', '"n_layer": 3'), "utf-8")
    with pytest.raises(CheckpointError, match=r"blocks\.2\.\S+ is missing"):
        load_opencl_family(folder, "opencl:0")


def test_a_device_that_is_gone_is_an_error_of_the_house() -> None:
    opencl_devices.require()
    with pytest.raises(BackendError, match="opencl:99 cannot be used"):
        OpenCLDevice(99)
