"""The form of conversations and documents."""

from __future__ import annotations

import pytest

from localgpt.errors import InputError
from localgpt.media.text.template import (
    PAINT,
    TOOL_CALL,
    ImageSlot,
    render_chat,
    render_document,
    render_turn,
)
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    IMAGE_END_ID,
    IMAGE_ID,
    PAINT_ID,
    TOOL_CALL_ID,
    TOOL_RESULT_ID,
    USER_ID,
)
from recipes.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(iter(["hello world, what is this picture"] * 3))


def test_turn_with_picture_puts_placeholders_before_text(tokenizer: Tokenizer) -> None:
    token_ids = render_turn(tokenizer, "user", [ImageSlot(3), "what is this"])
    assert token_ids == [
        USER_ID, IMAGE_ID, IMAGE_ID, IMAGE_ID, IMAGE_END_ID, *tokenizer.encode("what is this"), END_ID,
    ]  # fmt: skip


def test_neighbouring_texts_are_encoded_as_one(tokenizer: Tokenizer) -> None:
    assert render_turn(tokenizer, "user", ["hel", "lo"]) == render_turn(tokenizer, "user", ["hello"])


def test_chat_opens_an_assistant_turn(tokenizer: Tokenizer) -> None:
    token_ids = render_chat(tokenizer, [("system", ["hi"]), ("user", ["hello"])])
    assert token_ids[0] == BOS_ID and token_ids[-1] == ASSISTANT_ID
    assert tokenizer.decode(token_ids, keep_special=True) == (
        "<|bos|><|system|>hi<|end|><|user|>hello<|end|><|assistant|>"
    )
    closed = render_chat(tokenizer, [("user", ["hello"])], add_assistant=False)
    assert closed[-1] == END_ID


def test_marks_and_tool_role(tokenizer: Tokenizer) -> None:
    assert render_turn(tokenizer, "assistant", [PAINT, "a fox"])[:2] == [ASSISTANT_ID, PAINT_ID]
    assert render_turn(tokenizer, "assistant", [TOOL_CALL, "{}"])[1] == TOOL_CALL_ID
    assert render_turn(tokenizer, "tool", ["4"])[0] == TOOL_RESULT_ID
    assert render_turn(tokenizer, "user", ["hi"], closed=False)[-1] != END_ID


def test_document(tokenizer: Tokenizer) -> None:
    assert render_document(tokenizer, "hello") == [BOS_ID, *tokenizer.encode("hello"), END_ID]


def test_unknown_role_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="expected one of"):
        render_turn(tokenizer, "root", ["hi"])
