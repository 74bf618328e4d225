"""GGUF models in llama.cpp against the same network in transformers: same prompts, same words, same rules."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localgpt.checkpoints.gguf import export_gguf
from localgpt.errors import CancelledRequestError, CheckpointError, InputError, PromptTooLongError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import DecoderConfig
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel, kind_of, load_open
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    ImagePart,
    Message,
    Notice,
    SamplingOptions,
    TextDelta,
    TextPart,
    TokenBias,
    Tool,
    ToolChoice,
)
from tests import gguf_files, tiny

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed (pip install 'localgpt[gguf]' builds it)",
)
GREEDY = SamplingOptions(temperature=0.0, max_tokens=20)
SCHEMA = '{"type": "object", "properties": {"city": {"enum": ["Paris", "Bern"]}}, "required": ["city"]}'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same network as a folder of the hub and as a GGUF file."""
    return gguf_files.write_qwen2(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def ours(files: tuple[Path, Path]) -> OpenModel:
    return load(files[0])


@pytest.fixture(scope="module")
def model(files: tuple[Path, Path]) -> Iterator[OpenModel]:
    loaded = load(files[1])
    yield loaded
    loaded.release()


def load(path: Path, **given: Any) -> OpenModel:
    return load_open(OpenCheckpoint(folder=path, id="tiny", kind=kind_of(path), **given))


def chat(*texts: str, options: SamplingOptions = GREEDY, **given: Any) -> ChatRequest:
    roles = ("user", "assistant")
    turns = [Message.of(roles[place % 2], text) for place, text in enumerate(texts or ("What is this?",))]
    return ChatRequest(id="r", messages=tuple(turns), options=options, **given)


def answer(model: OpenModel, request: Any) -> ChatResult:
    events: list[Any] = []
    result = model.answer(request, events.append, lambda: False, model.sizes(request)[0])
    assert isinstance(result, ChatResult)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == result.text
    return result


@pytest.mark.parametrize(
    "request_",
    [
        chat("What is the capital of France?"),
        chat("你好，法国的首都是哪里？"),
        chat("one", "two", "three <|end|> four"),  # a mark that is written out stays text
        chat(
            "hi", options=replace(GREEDY, repetition_penalty=1.5, frequency_penalty=0.5, presence_penalty=0.5)
        ),
        chat("hi", options=replace(GREEDY, logit_bias=(TokenBias(token_id=70, bias=20.0),))),
        chat("hi", options=SamplingOptions(temperature=0.8, top_p=0.9, top_k=5, seed=7, max_tokens=12)),
        CompleteRequest(id="r", prompt="The capital of", options=GREEDY),
    ],
)
def test_it_says_what_transformers_says(ours: OpenModel, model: OpenModel, request_: Any) -> None:
    expected, got = answer(ours, request_), answer(model, request_)
    assert got.text == expected.text and got.finish_reason == expected.finish_reason
    assert got.usage.prompt_tokens == expected.usage.prompt_tokens
    assert got.usage.completion_tokens == expected.usage.completion_tokens


def test_log_probabilities_are_close(ours: OpenModel, model: OpenModel) -> None:
    request = chat(options=replace(GREEDY, top_logprobs=3))
    expected, got = answer(ours, request).logprobs, answer(model, request).logprobs
    assert [token.data for token in got] == [token.data for token in expected] and got
    for mine, other in zip(got, expected, strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=0.02)
        assert len(mine.top) == 3


def test_the_vocabulary_is_the_tokenizers(ours: Any, model: Any) -> None:
    mine, other = model.vocabulary, ours.vocabulary
    assert mine.vocab_size == other.vocab_size and mine.end_id == other.end_id and mine.has_all_bytes
    for text in ("Hello, world.  Two", "naïve 中文 😀", "<tool_call>x</tool_call>", "<|end|>"):
        assert mine.encode(text) == other.encode(text)
        assert mine.encode_plain(text) == other.encode_plain(text)
    assert mine.token_of("<tool_call>") == other.token_of("<tool_call>") is not None
    assert mine.token_of("no such token") is None


def test_an_answer_ends_before_a_stop_string(model: OpenModel) -> None:
    whole = answer(model, chat()).text
    stop = whole[5:8]
    result = answer(model, chat(options=replace(GREEDY, stop=(stop,))))
    assert result.text == whole[: whole.index(stop)] and result.finish_reason == "stop"


def test_json_fits_its_schema_and_tools_are_called(model: OpenModel) -> None:
    form = AnswerFormat(kind="json", schema=SCHEMA)
    assert json.loads(answer(model, chat(answer_format=form)).text)["city"] in ("Paris", "Bern")
    tool = Tool(name="weather", parameters=SCHEMA)
    options = replace(GREEDY, max_tokens=60)
    result = answer(model, chat(options=options, tools=(tool,), tool_choice=ToolChoice(mode="required")))
    assert result.finish_reason == "tool_calls" and result.tool_calls[0].name == "weather"
    assert json.loads(result.tool_calls[0].arguments)["city"] in ("Paris", "Bern")


def test_what_is_read_again_has_the_same_bits(model: OpenModel) -> None:
    words = "A long story about a capital. " * 12
    options = replace(GREEDY, max_tokens=8, top_logprobs=0)
    model.drop_caches()
    assert model.cache_bytes == 0
    first = answer(model, chat(words, options=options))
    assert model.cache_bytes > 0
    again = answer(model, chat(words, options=options))
    assert again.logprobs == first.logprobs
    model.drop_caches()
    assert model.cache_bytes == 0
    assert answer(model, chat(words, options=options)).logprobs == first.logprobs


def test_nobody_waits_any_more(model: OpenModel) -> None:
    request = chat(options=replace(GREEDY, max_tokens=100))
    seen: list[Any] = []
    with pytest.raises(CancelledRequestError):
        model.answer(request, seen.append, lambda: len(seen) >= 3, model.sizes(request)[0])
    assert len(seen) == 3
    answer(model, request)  # and the model goes on


def test_what_it_cannot_do_is_refused(model: OpenModel) -> None:
    picture = ImagePart(data=b"x")
    turn = Message(role="user", content=(picture,))
    for request, param in (
        (ChatRequest(id="r", messages=(turn,)), "messages"),
        (DescribeRequest(id="r", image=picture), "model"),
        (EmbedRequest(id="r", inputs=(TextPart(text="hi"),)), "model"),
        (chat(options=replace(GREEDY, logit_bias=(TokenBias(token_id=10**6, bias=1),))), "logit_bias"),
    ):
        with pytest.raises(InputError) as caught:
            model.sizes(request)
        assert caught.value.param == param
    with pytest.raises(PromptTooLongError) as long:
        model.sizes(chat("word " * 2000))
    assert long.value.param == "messages"


def test_status_and_memory(files: tuple[Path, Path], model: OpenModel) -> None:
    status = model.status()
    assert status.tasks == ("chat", "complete") and status.licence == "apache-2.0"
    assert status.weight_bytes == files[1].stat().st_size and status.context_len == gguf_files.CONTEXT_LEN
    few, many = (model.sizes(chat(options=replace(GREEDY, max_tokens=num)))[0] for num in (8, 480))
    assert 0 < few.nbytes <= many.nbytes and few.shape != many.shape


def test_what_differs_is_told(files: tuple[Path, Path]) -> None:
    loaded = load(files[1], device="cuda", quantize="int8")
    events: list[Any] = []
    request = chat()
    loaded.answer(request, events.append, lambda: False, loaded.sizes(request)[0])
    assert [event.text for event in events if isinstance(event, Notice)] == list(loaded.notices)
    assert len(loaded.notices) == 2
    loaded.release()


def test_a_file_that_llama_cpp_does_not_know_is_an_error(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(files[1].read_bytes().replace(b"qwen2", b"qwenX"))
    with pytest.raises(CheckpointError, match=r"cannot read .*odd\.gguf.*qwenX"):
        load(path)


def test_texts_become_the_vectors_of_transformers(tmp_path: Path) -> None:
    hub, path = gguf_files.write_bert(tmp_path)
    assert kind_of(path) == "gguf-embed"
    loaded = load(path)
    texts = ("the capital of france", "a small cat", "cat")
    request = EmbedRequest(id="r", inputs=tuple(TextPart(text=text) for text in texts), dimensions=32)
    result = loaded.answer(request, [].append, lambda: False, loaded.sizes(request)[0])
    assert isinstance(result, EmbedResult) and loaded.status().tasks == ("embed",)
    expected = gguf_files.bert_vectors(hub, texts)
    for mine, other in zip(result.embeddings, expected, strict=True):
        assert mine == pytest.approx(other, abs=2e-3)
    for bad, param in (
        (EmbedRequest(id="r", inputs=()), "input"),
        (EmbedRequest(id="r", inputs=(TextPart(text=" "),)), "input"),
        (EmbedRequest(id="r", inputs=(TextPart(text="cat"), TextPart(text="cat " * 99))), "input[1]"),
        (EmbedRequest(id="r", inputs=(ImagePart(data=b"x"),)), "input"),
        (EmbedRequest(id="r", inputs=(TextPart(text="cat"),), dimensions=8), "dimensions"),
        (chat(), "model"),
    ):
        with pytest.raises(InputError) as caught:
            loaded.sizes(bad)
        assert caught.value.param == param
    loaded.release()


def test_our_own_export_answers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "decoder.gguf"
    config = DecoderConfig(n_layer=2, n_embd=64, n_head=4, context_len=128)
    export_gguf(tiny.make_decoder(config=config), tokenizer, path)
    loaded = load(path)
    result = answer(loaded, chat("hi " * 20, options=replace(GREEDY, max_tokens=4)))
    assert result.usage.completion_tokens in range(1, 5) and result.model == "tiny"
    loaded.release()


async def test_a_file_is_the_main_model_of_a_service(files: tuple[Path, Path]) -> None:
    import asyncio

    service = await asyncio.to_thread(load_service, LoadOptions(model=str(files[1]), device="cpu"))
    try:
        status = await service.status()
        assert status.models[0].id == "tiny-qwen2" and status.models[0].is_loaded
        result = await service.run(chat("What is the capital of France?"))
        assert isinstance(result, ChatResult) and result.model == "tiny-qwen2" and result.text
        assert any(one.name == "tiny-qwen2" for one in (await service.status()).memory.residents)  # type: ignore[union-attr]
    finally:
        await service.close()
