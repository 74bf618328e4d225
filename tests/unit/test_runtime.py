"""The local service over a tiny family: every task, every refusal, streams, notices, cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import torch

from localgpt.engine.sequence import Output
from localgpt.errors import (
    CancelledRequestError,
    ImageFormatError,
    InputError,
    LocalGPTError,
    PromptTooLongError,
)
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    FIRST_SPECIAL_ID,
    IMAGE_END_ID,
    IMAGE_ID,
    PAINT_ID,
    SPECIAL_TOKENS,
    SYSTEM_ID,
    USER_ID,
)
from localgpt.runtime.answers import AnswerWriter, TokenRules
from localgpt.runtime.conversation import Conversation, check_messages, fit_conversation, language_of
from localgpt.runtime.local import LocalService, VoiceNotInstalledError
from localgpt.runtime.pictures import PictureCache, ReadPicture
from localgpt.tasks import (
    AskRequest,
    Channel,
    ChatRequest,
    ChatResult,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    ImagePart,
    Message,
    Notice,
    Request,
    Result,
    SamplingOptions,
    Status,
    TaskService,
    TextDelta,
    TextPart,
)
from localgpt.tasks.wire import (
    decode_event,
    decode_request,
    decode_result,
    encode_event,
    encode_request,
    encode_result,
)
from tests import tiny

PHOTO = ImagePart(data=tiny.make_photo(), media_type="image/png")
OTHER_PHOTO = ImagePart(data=tiny.make_photo((20, 20, 220)))
GREEDY = SamplingOptions(temperature=0.0, max_tokens=8)
NUM_IMAGE_TOKENS = tiny.PROJECTOR.n_image_token


class SerialisingService:
    """A service that lets nothing through but bytes."""

    def __init__(self, inner: TaskService) -> None:
        self.inner = inner

    async def run(self, request: Request) -> Result:
        return decode_result(encode_result(await self.inner.run(decode_request(encode_request(request)))))

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        async for event in self.inner.stream(decode_request(encode_request(request))):
            yield decode_event(encode_event(event))

    async def open(self, request: Request) -> Channel:
        return await self.inner.open(request)

    async def status(self) -> Status:
        return await self.inner.status()

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture(params=["direct", "bytes"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[TaskService]:
    local = LocalService(tiny.make_family(), max_batch_size=2)
    yield local if request.param == "direct" else SerialisingService(local)
    await local.close()


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    local = LocalService(tiny.make_family(), max_batch_size=2)
    yield local
    await local.close()


def chat(*texts: str, options: SamplingOptions = GREEDY, **fields: Any) -> ChatRequest:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    messages = tuple(Message.of(roles[number % 2], text) for number, text in enumerate(texts))
    return ChatRequest(id="1", messages=messages, options=options, **fields)


# Tasks


async def test_every_task_answers(service: TaskService) -> None:
    for request in (
        chat("What is the capital of France?"),
        chat("你是谁？", "我是", "你好"),
        DescribeRequest(id="1", image=PHOTO, language="zh"),
        AskRequest(id="1", image=PHOTO, question="What is this?", options=GREEDY),
    ):
        result = await service.run(request)
        assert isinstance(result, ChatResult)
        assert result.text
        assert result.finish_reason in ("stop", "length")
        assert result.model == "local/tiny"
        assert result.usage.completion_tokens > 0
    embedded = await service.run(EmbedRequest(id="1", inputs=(TextPart(text="a dog"), PHOTO)))
    assert isinstance(embedded, EmbedResult)
    assert [len(vector) for vector in embedded.embeddings] == [tiny.ENCODER.embed_dim] * 2
    for vector in embedded.embeddings:
        assert sum(value * value for value in vector) == pytest.approx(1.0, abs=1e-4)


async def test_pieces_of_a_stream_concatenate_to_the_result(service: TaskService) -> None:
    options = SamplingOptions(temperature=1.5, seed=11, max_tokens=40)
    request = chat("请用中文回答：巴黎在哪里？", options=options)
    events = [event async for event in service.stream(request)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == finished.result.text
    assert len(pieces) > 1
    assert await service.run(request) == finished.result  # the seed reproduces it


async def test_answers_do_not_depend_on_company(local: LocalService) -> None:
    requests = [
        chat("hello"),
        chat("你好，你是谁？"),
        AskRequest(id="1", image=PHOTO, question="What?", options=GREEDY),
    ]
    alone = [await local.run(request) for request in requests]
    together = await asyncio.gather(*(local.run(request) for request in requests * 2))
    assert together == alone * 2


async def test_a_picture_changes_the_answer_and_is_counted(local: LocalService) -> None:
    options = SamplingOptions(temperature=0.0, max_tokens=20)
    results = [
        await local.run(AskRequest(id="1", image=image, question="What is this?", options=options))
        for image in (PHOTO, OTHER_PHOTO, PHOTO)
    ]
    assert results[0] == results[2]
    assert isinstance(results[0], ChatResult)
    assert results[0].usage.prompt_tokens > NUM_IMAGE_TOKENS


async def test_a_repeated_picture_is_encoded_once_for_each_owner(
    local: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local._pictures is not None
    read: list[int] = []
    real = local._pictures.read_pixels
    monkeypatch.setattr(local._pictures, "read_pixels", lambda data: (read.append(1), real(data))[1])
    for question in ("one?", "two?", "three?"):
        await local.run(AskRequest(id="1", image=PHOTO, question=question, options=GREEDY, owner="a"))
    assert len(read) == 1
    await local.run(AskRequest(id="1", image=PHOTO, question="one?", options=GREEDY, owner="b"))
    assert len(read) == 2, "the clock would tell what another owner showed"


def test_the_picture_cache_forgets_the_least_recently_used() -> None:
    cache, picture = PictureCache(2), ReadPicture(torch.zeros(2, 3), torch.zeros(4))
    for name in (b"a", b"b"):
        cache.put(name, "", picture)
    cache.get(b"a", "")
    cache.put(b"c", "", picture)
    assert [cache.get(name, "") is not None for name in (b"a", b"b", b"c")] == [True, False, True]
    assert cache.nbytes == 2 * 40


async def test_chat_holds_several_pictures(local: LocalService) -> None:
    message = Message(role="user", content=(TextPart(text="Compare."), PHOTO, OTHER_PHOTO))
    result = await local.run(ChatRequest(id="1", messages=(message,), options=GREEDY))
    assert isinstance(result, ChatResult)
    assert result.usage.prompt_tokens > 2 * NUM_IMAGE_TOKENS


async def test_fewer_picture_tokens_with_keep() -> None:
    service = LocalService(tiny.make_family(), keep=0.25)
    result = await service.run(AskRequest(id="1", image=PHOTO, question="What?", options=GREEDY))
    assert isinstance(result, ChatResult)
    assert result.usage.prompt_tokens < NUM_IMAGE_TOKENS
    await service.close()


async def test_long_texts_are_embedded_whole(local: LocalService) -> None:
    start = "a dog runs on the green grass and the capital of France is Paris"
    long = [TextPart(text=start + end) for end in (" 1 2 3 4 5 6 7 8 9", " 9 8 7 6 5 4 3 2 1")]
    result = await local.run(EmbedRequest(id="1", inputs=tuple(long)))
    assert isinstance(result, EmbedResult)
    assert result.embeddings[0] != result.embeddings[1]  # what differs lies beyond the first window


async def test_status(local: LocalService) -> None:
    status = await local.status()
    assert status.ready
    assert status.device == "cpu"
    assert status.max_batch_size == 2
    (model,) = status.models
    assert model.id == "local/tiny"
    assert model.context_len == tiny.DECODER.context_len
    assert set(model.tasks) == {"chat", "complete", "describe", "ask", "embed"}
    expected = sum(
        p.numel()
        for m in (tiny.make_decoder(), tiny.make_encoder(), tiny.make_projector())
        for p in m.parameters()
    )
    assert model.num_params == expected
    before = status.resident_bytes
    await local.run(chat("hello"))
    assert (await local.status()).resident_bytes > before


async def test_closing_ends_what_runs_and_refuses_what_comes() -> None:
    service = LocalService(tiny.make_family(), max_batch_size=1)
    tasks = [
        asyncio.create_task(service.run(chat("hello", options=SamplingOptions(seed=1)))) for _ in range(4)
    ]
    async with aclosing(service.stream(chat("hello"))) as events:  # type: ignore[type-var]
        await anext(events)
    await service.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, ChatResult | CancelledRequestError) for result in results)
    assert not (await service.status()).ready
    with pytest.raises(CancelledRequestError):
        await service.run(chat("hello"))


async def test_leaving_a_stream_frees_its_slot(local: LocalService) -> None:
    stream = local.stream(chat("hello", options=SamplingOptions(temperature=1.5, seed=3)))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await local.run(chat("hello"))
    status = await local.status()
    assert (status.num_running, status.num_waiting) == (0, 0)


# Refusals


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ChatRequest(id="1", messages=()), "messages"),
        (chat(""), "messages"),
        (chat(" \n"), "messages"),
        (chat("hi", "hello"), "messages"),
        (chat("hi", model="gpt-5"), "model"),
        (ChatRequest(id="1", messages=(Message.of("system", "Be brief."),)), "messages"),
        (
            ChatRequest(id="1", messages=(Message(role="system", content=(PHOTO,)), Message.of("user", "x"))),
            "messages",
        ),
        (AskRequest(id="1", image=PHOTO, question=" "), "question"),
        (AskRequest(id="1", image=ImagePart(data=b"hello"), question="What?"), "image"),
        (DescribeRequest(id="1", image=ImagePart(data=b"")), "image"),
        (ChatRequest(id="1", messages=(Message(role="user", content=(ImagePart(data=b"x"),)),)), "messages"),
        (EmbedRequest(id="1", inputs=()), "input"),
        (EmbedRequest(id="1", inputs=(TextPart(text=" "),)), "input"),
        (EmbedRequest(id="1", inputs=(ImagePart(data=b"x"),)), "input"),
        (EmbedRequest(id="1", inputs=(TextPart(text="x"),), model="x"), "model"),
        (chat("word " * 400), "messages"),
        (chat("word " * 100_000), "messages"),
        (AskRequest(id="1", image=PHOTO, question="word " * 400), "question"),
    ],
)
async def test_what_cannot_be_answered_names_its_field(
    local: LocalService, request_: Request, param: str
) -> None:
    with pytest.raises(InputError) as caught:
        await local.run(request_)
    assert caught.value.param == param
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_kinds_of_errors(local: LocalService) -> None:
    with pytest.raises(PromptTooLongError):
        await local.run(chat("word " * 400))
    with pytest.raises(ImageFormatError):
        await local.run(DescribeRequest(id="1", image=ImagePart(data=b"text")))
    with pytest.raises(InputError, match="local/tiny or local/multimodal-base"):
        await local.run(chat("hi", model="x"))
    with pytest.raises(InputError):
        local.stream(EmbedRequest(id="1", inputs=()))
    with pytest.raises(VoiceNotInstalledError):
        await local.open(chat("hi"))


async def test_the_embedded_id_names_whatever_runs(local: LocalService) -> None:
    assert (await local.run(chat("hi", model="local/tiny"))).model == "local/tiny"
    assert (await local.run(chat("hi", model="local/multimodal-base"))).model == "local/tiny"


async def test_a_deadline_is_kept(local: LocalService) -> None:
    with pytest.raises(CancelledRequestError, match="deadline"):
        await local.run(chat("hi", deadline_s=0.0))
    assert isinstance(await local.run(chat("hi", deadline_s=600.0)), ChatResult)


async def test_a_family_without_an_encoder_only_talks() -> None:
    service = LocalService(tiny.make_family(sees=False))
    assert isinstance(await service.run(chat("hi")), ChatResult)
    with pytest.raises(InputError) as caught:
        await service.run(AskRequest(id="1", image=PHOTO, question="What?"))
    assert caught.value.param == "image"
    with pytest.raises(LocalGPTError):
        await service.run(EmbedRequest(id="1", inputs=(TextPart(text="x"),)))
    assert (await service.status()).models[0].tasks == ("chat", "complete")
    await service.close()


# Conversations


def fit(tokenizer: Tokenizer, *messages: Message, max_tokens: int = 1000) -> Any:
    check_messages(messages)
    conversation = Conversation(messages=messages)
    return fit_conversation(tokenizer, conversation, num_image_tokens=4, max_tokens=max_tokens)


def test_the_prompt_is_the_chat_template(tokenizer: Tokenizer) -> None:
    system, user = Message.of("system", "Be brief."), Message.of("user", "Hi")
    assert fit(tokenizer, system, user).token_ids == [
        BOS_ID, SYSTEM_ID, *tokenizer.encode("Be brief."), END_ID,
        USER_ID, *tokenizer.encode("Hi"), END_ID, ASSISTANT_ID,
    ]  # fmt: skip


def test_pictures_come_before_the_text_of_their_turn(tokenizer: Tokenizer) -> None:
    prompt = fit(
        tokenizer, Message(role="user", content=(TextPart(text="What"), TextPart(text="is this?"), PHOTO))
    )
    assert prompt.images == (PHOTO,)
    assert prompt.token_ids == [
        BOS_ID, USER_ID, *[IMAGE_ID] * 4, IMAGE_END_ID,
        *tokenizer.encode("What\nis this?"), END_ID, ASSISTANT_ID,
    ]  # fmt: skip


def test_a_picture_without_words_is_described(tokenizer: Tokenizer) -> None:
    picture = Message(role="user", content=(PHOTO,))
    assert "Describe this picture." in tokenizer.decode(fit(tokenizer, picture).token_ids)
    chinese = (Message.of("system", "请用中文回答。"), picture)
    assert "描述这张图片。" in tokenizer.decode(fit(tokenizer, *chinese).token_ids)


def test_the_oldest_turns_go_first(tokenizer: Tokenizer) -> None:
    turns = [Message.of("system", "S0")]
    for number in range(6):
        turns += [Message.of("user", f"U{number} " + "x" * 20), Message.of("assistant", f"A{number}")]
    turns.append(Message.of("user", "last"))
    whole = fit(tokenizer, *turns)
    assert whole.num_left_out == 0
    previous = 0
    for limit in range(len(whole.token_ids), 30, -7):
        prompt = fit(tokenizer, *turns, max_tokens=limit)
        text = tokenizer.decode(prompt.token_ids)
        assert len(prompt.token_ids) <= limit
        assert text.startswith("S0")
        assert text.endswith("last")
        first_kept = text[2:4]
        assert first_kept in ("la", f"U{prompt.num_left_out // 2}")  # it begins with what the user said
        assert prompt.num_left_out >= previous
        previous = prompt.num_left_out
    assert previous > 6


def test_pictures_of_turns_left_out_go_too(tokenizer: Tokenizer) -> None:
    turns = (
        Message(role="user", content=(PHOTO, TextPart(text="y" * 60))),
        Message.of("assistant", "A"),
        Message(role="user", content=(OTHER_PHOTO, TextPart(text="this?"))),
    )
    prompt = fit(tokenizer, *turns, max_tokens=40)
    assert prompt.images == (OTHER_PHOTO,)
    assert prompt.num_left_out == 2
    assert prompt.token_ids.count(IMAGE_ID) == 4


def test_one_very_long_old_turn_does_not_matter(tokenizer: Tokenizer) -> None:
    turns = (Message.of("user", "z" * 1_000_000), Message.of("assistant", "A"), Message.of("user", "short"))
    assert fit(tokenizer, *turns, max_tokens=100).num_left_out == 2


async def test_a_notice_tells_what_was_left_out(local: LocalService) -> None:
    request = chat("first " * 10, "answer " * 10, "second " * 10, "answer", "last")
    events = [event async for event in local.stream(request)]
    assert isinstance(events[0], Notice)
    assert "left out: " in events[0].text
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.result.notices == (events[0].text,)


async def test_no_turn_is_left_out_of_a_request_that_forbids_it(local: LocalService) -> None:
    request = chat("first " * 10, "answer " * 10, "second " * 10, "answer", "last")
    with pytest.raises(PromptTooLongError, match="no turn may be left out") as raised:
        await local.run(replace(request, leave_out_turns=False))
    assert raised.value.param == "messages"
    assert isinstance(await local.run(replace(chat("hi"), leave_out_turns=False)), ChatResult)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is this?", "en"),
        ("这是什么？", "zh"),
        ("What does 你好 mean in English?", "en"),
        ("用Python写", "zh"),
        ("12 + 3", "en"),
    ],
)
def test_language_of_a_text(text: str, language: str) -> None:
    assert language_of(text) == language


# What may be said


def test_rules_let_text_and_the_end_through() -> None:
    rules = TokenRules.new(24_576, openers=frozenset({PAINT_ID}), device=torch.device("cpu"))
    assert not rules.banned[:FIRST_SPECIAL_ID].any()
    allowed = (~rules.banned[FIRST_SPECIAL_ID:]).nonzero()[:, 0] + FIRST_SPECIAL_ID
    assert allowed.tolist() == [END_ID]
    allowed = (~rules.banned_first[FIRST_SPECIAL_ID:]).nonzero()[:, 0] + FIRST_SPECIAL_ID
    assert allowed.tolist() == [PAINT_ID]
    assert TokenRules.new(24_576, device=torch.device("cpu")).banned_first[FIRST_SPECIAL_ID:].all()


@pytest.mark.parametrize(("language", "word"), [("en", "cannot paint"), ("zh", "不能画画")])
def test_a_wish_to_paint_is_answered_politely(tokenizer: Tokenizer, language: Any, word: str) -> None:
    writer = AnswerWriter(tokenizer, language)
    sequence: Any = None
    events = [
        event
        for token_id, text in ((PAINT_ID, ""), (5, "a red "), (6, "fox"), (END_ID, ""))
        for event in writer.take(Output(sequence=sequence, token_id=token_id, text=text))
    ]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == writer.text
    assert word in writer.text
    assert writer.text.endswith("a red fox")
    assert writer.num_tokens == 3
    assert [event.text for event in events if isinstance(event, Notice)] == writer.notices
    assert len(writer.notices) == 1


async def test_no_reserved_token_ever_reaches_the_text(local: LocalService) -> None:
    for seed in range(3):
        options = SamplingOptions(temperature=2.0, top_k=0, top_p=1.0, seed=seed, max_tokens=30)
        result = await local.run(chat("hello", options=options))
        assert isinstance(result, ChatResult)
        assert not [token for token in SPECIAL_TOKENS if token in result.text]
