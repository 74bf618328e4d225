"""Which requests are described by consensus, and that chats about a picture alone are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.runtime.describing import asks_to_describe, picture_to_describe, with_plain_wish
from localgpt.runtime.drafting import NUM_DRAFTS, Draft, most_told
from localgpt.runtime.local import LocalService
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    ChatResult,
    DescribeRequest,
    ImagePart,
    Message,
    SamplingOptions,
    TextPart,
    Tool,
)
from recipes.scenes import wordings
from recipes.vision_data import photo_wordings
from tests import tiny

PHOTO = ImagePart(data=tiny.make_photo())
GREEDY = SamplingOptions(temperature=0.0, max_tokens=6)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_the_models_learned_as_wishes_for_a_description(language: str) -> None:
    learned = [*wordings.TRAINING["describe"][language], *photo_wordings.TRAINING["describe"][language]]
    assert len(learned) > 20
    assert [text for text in learned if not asks_to_describe(text)] == []


@pytest.mark.parametrize(
    "words",
    [
        "", "  ", "What do you see in this picture?", "What’s in the photo", "Describe it for me, please.",
        "Can you describe this photo in one sentence?", "PLEASE CAPTION THIS IMAGE!", "请描述一下这张照片。",
        "这张图片里有什么？", "你看到了什么？", "图里都有些什么",
    ],
)  # fmt: skip
def test_wishes(words: str) -> None:
    assert asks_to_describe(words)


@pytest.mark.parametrize(
    "words",
    [
        "What is this?", "How many dogs are in this picture?", "Is there a dog in the picture?",
        "Describe the man in this picture.", "What is in this picture, and what colour is it?",
        "Describe this picture in French.", "What do you see in Paris?", "Write a story about this picture.",
        "Describe yourself",
        "这是什么？", "图片里有几个人？", "图片里有什么颜色？", "描述这个人。", "为什么？",
    ],
)  # fmt: skip
def test_other_questions(words: str) -> None:
    assert not asks_to_describe(words)


@pytest.mark.parametrize("piece", ["你能", "please ", "能你可以", "describe it ", "图片里有什么"])
def test_what_repeats_is_read_in_one_way(piece: str) -> None:
    many = piece * (96 // len(piece))
    assert not asks_to_describe(many + "!x")  # would not end if each piece could be cut in two ways
    assert not asks_to_describe(piece * 50_000)


def chat(*content: ImagePart | TextPart, **fields: object) -> ChatRequest:
    return ChatRequest(id="1", messages=(Message(role="user", content=content),), options=GREEDY, **fields)  # type: ignore[arg-type]


def test_only_free_text_about_one_picture() -> None:
    wish = TextPart(text="Describe this picture.")
    assert picture_to_describe(DescribeRequest(id="1", image=PHOTO)) is PHOTO
    assert picture_to_describe(chat(PHOTO, wish)) is PHOTO
    assert picture_to_describe(chat(PHOTO)) is PHOTO
    others = [
        chat(wish),
        chat(PHOTO, PHOTO, wish),
        chat(PHOTO, TextPart(text="Is it red?")),
        chat(PHOTO, wish, tools=(Tool(name="look"),)),
        chat(PHOTO, wish, answer_format=AnswerFormat(kind="json")),
    ]
    assert [picture_to_describe(other) for other in others] == [None] * len(others)


def test_the_words_that_serve_best() -> None:
    def words_of(*content: ImagePart | TextPart) -> list[str]:
        request = with_plain_wish(chat(*content))
        assert isinstance(request, ChatRequest)
        assert [part for part in request.messages[0].content if isinstance(part, ImagePart)] == [PHOTO]
        return [part.text for part in request.messages[0].content if isinstance(part, TextPart)]

    assert words_of(TextPart(text="What do you see?"), PHOTO) == [DESCRIBE_PROMPTS["en"]]
    assert words_of(PHOTO, TextPart(text="图片里有什么？")) == [DESCRIBE_PROMPTS["zh"]]
    assert words_of(PHOTO) == []


async def test_a_chat_is_answered_as_describe_is(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def count(drafts: Sequence[Draft], likeness: Mapping[str, float]) -> Draft:
        counts.append(len(drafts))
        return most_told(drafts, likeness)

    monkeypatch.setattr("localgpt.runtime.local.most_told", count)
    service = LocalService(tiny.make_family())
    described = await service.run(DescribeRequest(id="1", image=PHOTO, options=GREEDY))
    greeted = await service.run(chat(TextPart(text="what's in the photo?"), PHOTO))
    asked = await service.run(chat(PHOTO, TextPart(text="Is it red?")))
    await service.close()
    assert isinstance(described, ChatResult) and isinstance(greeted, ChatResult)
    assert isinstance(asked, ChatResult)
    assert counts == [NUM_DRAFTS, NUM_DRAFTS] and described.text == greeted.text != asked.text
