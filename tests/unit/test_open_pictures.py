"""Open models that see, and CLIP, on small random checkpoints of the true classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from localgpt.errors import CheckpointError, ImageFormatError, InputError
from localgpt.media.image import decode_image
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.clip import ClipModel
from localgpt.runtime.open.vision import VisionModel
from localgpt.tasks import (
    AskRequest,
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
from tests import open_models, tiny

GREEDY = SamplingOptions(temperature=0.0, max_tokens=12)
RED = ImagePart(data=tiny.make_photo((200, 30, 30), (90, 60)))
BLUE = ImagePart(data=tiny.make_photo((30, 30, 200), (60, 120)))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> VisionModel:
    folder = open_models.write_qwen_vl(tmp_path_factory.mktemp("open") / "tiny-vl")
    assert kind_of(folder) == "vision"
    return cast("VisionModel", load_open(OpenCheckpoint(folder=folder, id="tiny-vl", kind="vision")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    folder = open_models.write_clip(tmp_path_factory.mktemp("open") / "tiny-clip")
    assert kind_of(folder) == "clip"
    return cast("ClipModel", load_open(OpenCheckpoint(folder=folder, id="tiny-clip", kind="clip")))


def answer(model: Any, request: Any) -> Any:
    with torch.inference_mode():
        return model.answer(request, lambda event: None, lambda: False, model.sizes(request)[0])


def look(*pictures: ImagePart, text: str = "What is this?") -> ChatRequest:
    content = (*pictures, TextPart(text=text))
    return ChatRequest(id="1", messages=(Message(role="user", content=content),), options=GREEDY)


def generated(model: VisionModel, request: ChatRequest, pictures: list[ImagePart]) -> str:
    """The same answer by transformers' own processor of pictures and its own loop."""
    content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": "What is this?"}]
    text = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    seen = model.eyes.processor(images=[decode_image(one.data) for one in pictures], return_tensors="pt")
    for grid in seen["image_grid_thw"].tolist():
        pads = "<|pad|>" * (grid[0] * grid[1] * grid[2] // 4)
        text = text.replace("<|image_pad|>", pads, 1)
    ids = model.tokenizer(text.replace("<|pad|>", "<|image_pad|>"), return_tensors="pt")["input_ids"]
    model.network.model.rope_deltas = None
    out = model.network.generate(
        input_ids=ids,
        mm_token_type_ids=(ids == model.eyes.image_id).int(),
        pixel_values=seen["pixel_values"],
        image_grid_thw=seen["image_grid_thw"],
        max_new_tokens=12,
        do_sample=False,
    )
    return str(model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def test_answers_about_pictures_are_those_of_generate(seeing: VisionModel) -> None:
    for pictures in ([RED], [RED, BLUE]):
        request = look(*pictures)
        result = cast("ChatResult", answer(seeing, request))
        assert result.text == generated(seeing, request, pictures)
        assert answer(seeing, request) == result
    assert answer(seeing, look(RED)).text != answer(seeing, look(BLUE)).text


def test_no_picture_takes_fewer_tokens_than_is_told(seeing: VisionModel) -> None:
    least = seeing.status().num_image_tokens
    for size in ((4, 4), (90, 60), (300, 20)):
        picture = ImagePart(data=tiny.make_photo(size=size))
        assert 0 < least <= seeing._look(picture, "a").num_tokens


def test_qwen3_vl_answers_as_generate_does_quantized_too(tmp_path: Path) -> None:
    folder = open_models.write_qwen3_vl(tmp_path / "vl3")
    assert kind_of(folder) == "vision"
    for quantize in ("none", "int4"):
        checkpoint = OpenCheckpoint(folder=folder, id="vl3", kind="vision", quantize=cast("Any", quantize))
        model = cast("VisionModel", load_open(checkpoint))
        request = look(RED, BLUE)
        assert answer(model, request).text == generated(model, request, [RED, BLUE])


def test_gemma3_answers_as_generate_does_quantized_too(tmp_path: Path) -> None:
    folder = open_models.write_gemma3(tmp_path / "gemma")
    assert kind_of(folder) == "vision"
    for quantize in ("none", "int8"):
        checkpoint = OpenCheckpoint(folder=folder, id="g", kind="vision", quantize=cast("Any", quantize))
        model = cast("VisionModel", load_open(checkpoint))
        assert model.status().num_image_tokens == 4
        for pictures in ([RED], [BLUE, RED]):
            request = look(*pictures)
            assert answer(model, request).text == generated_by_gemma(model, pictures)
        assert answer(model, look(RED)).text != answer(model, look(BLUE)).text
        alone = look(text="two red apples " * 30)
        assert answer(model, alone) == answer(model, alone)


def generated_by_gemma(model: VisionModel, pictures: list[ImagePart]) -> str:
    """The same answer by transformers' own way: four marks for each picture, and its own loop."""
    content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": "What is this?"}]
    text = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    whole = f"\n\n<|vision_start|>{'<|image_pad|>' * 4}<|vision_end|>\n\n"
    ids = model.tokenizer(text.replace("<|vision_start|>", whole), return_tensors="pt")["input_ids"]
    seen = model.eyes.processor(images=[decode_image(one.data) for one in pictures], return_tensors="pt")
    out = model.network.generate(
        input_ids=ids,
        token_type_ids=(ids == model.eyes.image_id).int(),
        pixel_values=seen["pixel_values"].to(model._compute_dtype),
        max_new_tokens=12,
        do_sample=False,
    )
    return str(model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def test_pictures_stay_cut_for_their_owner_and_are_counted(tmp_path: Path) -> None:
    folder = open_models.write_qwen_vl(tmp_path / "vl")
    checkpoint = OpenCheckpoint(folder=folder, id="vl", kind="vision")
    model = cast("VisionModel", load_open(checkpoint))
    cut, cuts = model.eyes.cut, 0

    def counted(picture: Any) -> Any:
        nonlocal cuts
        cuts += 1
        return cut(picture)

    model.eyes.cut = counted  # type: ignore[method-assign]
    assert model.cache_bytes == 0
    for owner, expected in (("a", 1), ("a", 1), ("b", 2), ("a", 2)):
        answer(model, replace(look(RED), owner=owner))
        assert cuts == expected
    one = model._look(RED, "a").nbytes + len(RED.data)
    assert model.cache_bytes == 2 * one
    model.drop_caches()
    assert model.cache_bytes == 0
    forgetful = cast("VisionModel", load_open(replace(checkpoint, keeps_prompts=False)))
    answer(forgetful, look(RED))
    assert forgetful.cache_bytes == 0


def test_a_text_after_a_picture_is_read_as_if_there_had_been_none(seeing: VisionModel) -> None:
    request = look(text="two red apples " * 40)
    alone = answer(seeing, request)
    answer(seeing, look(RED))
    assert answer(seeing, request) == alone


def test_describe_and_ask(seeing: VisionModel) -> None:
    described = answer(seeing, DescribeRequest(id="1", image=RED, options=GREEDY))
    asked = answer(seeing, AskRequest(id="1", image=RED, question="What is this?", options=GREEDY))
    assert described.usage.completion_tokens == 12
    assert asked.text == answer(seeing, look(RED)).text


def test_bad_pictures_name_their_field(seeing: VisionModel) -> None:
    broken = ImagePart(data=b"no picture")
    for request, param in (
        (look(broken), "messages"),
        (DescribeRequest(id="1", image=broken), "image"),
        (DescribeRequest(id="1", image=ImagePart(data=tiny.make_photo(size=(600, 2)))), "image"),
    ):
        with pytest.raises(ImageFormatError) as caught:
            seeing.sizes(request)
        assert caught.value.param == param


def test_a_model_that_sees_needs_its_template(tmp_path: Path) -> None:
    folder = open_models.write_qwen_vl(tmp_path / "vl")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="no chat template"):
        load_open(OpenCheckpoint(folder=folder, id="vl", kind="vision"))


def embed(clip: ClipModel, *parts: str | ImagePart, **fields: Any) -> EmbedResult:
    inputs = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return cast("EmbedResult", answer(clip, EmbedRequest(id="1", inputs=inputs, **fields)))


def test_clip_vectors_are_the_networks(clip: ClipModel) -> None:
    result = embed(clip, "a dog", RED)
    ids = clip._tokenizer("a dog", add_special_tokens=False).input_ids
    row = torch.tensor([[clip._tokenizer.bos_token_id, *ids, clip._tokenizer.eos_token_id]])
    pixels = clip._processor(images=[decode_image(RED.data)], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = clip.network(input_ids=row, pixel_values=pixels)
    assert np.allclose(result.embeddings[0], out.text_embeds[0].numpy(), atol=1e-5)
    assert np.allclose(result.embeddings[1], out.image_embeds[0].numpy(), atol=1e-5)
    assert np.allclose(np.linalg.norm(result.embeddings, axis=1), 1.0, atol=1e-5)
    assert result.usage.prompt_tokens == len(ids) + 16


def test_long_texts_are_read_in_windows(clip: ClipModel) -> None:
    text = "two red apples and a dog on the green grass " * 3
    whole = embed(clip, text)
    ids = clip._tokenizer(text, add_special_tokens=False).input_ids
    pieces = [ids[at : at + 14] for at in range(0, len(ids), 14)]
    total = np.zeros(24)
    for piece in pieces:
        row = torch.tensor([[clip._tokenizer.bos_token_id, *piece, clip._tokenizer.eos_token_id]])
        with torch.inference_mode():
            vector = clip.network.get_text_features(input_ids=row).pooler_output[0]
        total += len(piece) * torch.nn.functional.normalize(vector, dim=0).numpy()
    assert np.allclose(whole.embeddings[0], total / np.linalg.norm(total), atol=1e-5)


def test_what_clip_cannot_embed_is_refused(clip: ClipModel) -> None:
    for parts, fields, param in (
        ((), {}, "input"),
        ((" ",), {}, "input"),
        (("a", ImagePart(data=b"x")), {}, "input[1]"),
        (("a",), {"dimensions": 12}, "dimensions"),
        (("word " * 60_000,), {}, "input"),
    ):
        with pytest.raises(InputError) as caught:
            embed(clip, *cast("Any", parts), **cast("Any", fields))
        assert caught.value.param == param


@pytest.mark.parametrize("is_second", [False, True])
def test_siglip_reads_texts_at_full_length_as_it_was_trained(tmp_path: Path, is_second: bool) -> None:
    folder = open_models.write_siglip(tmp_path / "siglip", is_second=is_second)
    assert kind_of(folder) == "clip"
    siglip = cast("ClipModel", load_open(OpenCheckpoint(folder=folder, id="s", kind="clip")))
    result = embed(siglip, "Two  red, apples!", RED)
    ids = open_models.make_backend().encode("two red, apples!" if is_second else "two red apples").ids
    end, start = (open_models.make_backend().token_to_id(name) for name in ("<|end|>", "<|start|>"))
    row = torch.tensor([[*ids, end, *[start if is_second else end] * (15 - len(ids))]])
    pixels = siglip._processor(images=[decode_image(RED.data)], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = siglip.network(input_ids=row, pixel_values=pixels)
    assert np.allclose(result.embeddings[0], out.text_embeds[0].numpy(), atol=1e-5)
    assert np.allclose(result.embeddings[1], out.image_embeds[0].numpy(), atol=1e-5)
    assert result.usage.prompt_tokens == len(ids) + 16
    long = embed(siglip, "two red apples and a dog on the green grass " * 3)
    assert np.isclose(np.linalg.norm(long.embeddings[0]), 1.0, atol=1e-5)


def test_a_text_of_which_siglip_reads_nothing_is_refused(tmp_path: Path) -> None:
    folder = open_models.write_siglip(tmp_path / "siglip")
    siglip = cast("ClipModel", load_open(OpenCheckpoint(folder=folder, id="s", kind="clip")))
    with pytest.raises(InputError, match="reads no token") as caught:
        embed(siglip, "a dog", "?!")
    assert caught.value.param == "input[1]"
