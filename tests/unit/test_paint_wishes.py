"""A picture as the answer of a chat: by the mark of the embedded decoder, and by a tool of open models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localgpt.engine.sequence import Output
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import END_ID, PAINT_ID
from localgpt.runtime.answers import AnswerWriter
from localgpt.runtime.paint_tool import PaintCalls, with_paint_tool
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    Event,
    Message,
    Painting,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
)


def written(tokenizer: Tokenizer, *texts: str, language: Any = "en") -> tuple[AnswerWriter, list[Event]]:
    writer = AnswerWriter(tokenizer, language, may_paint=True)
    sequence: Any = None
    outputs = [Output(sequence=sequence, token_id=PAINT_ID, text="")]
    outputs += [Output(sequence=sequence, token_id=5, text=text) for text in texts]
    outputs.append(Output(sequence=sequence, token_id=END_ID, text="", finish_reason="stop"))
    return writer, [event for output in outputs for event in writer.take(output)]


def test_a_prompt_behind_the_mark_is_no_text(tokenizer: Tokenizer) -> None:
    writer, events = written(tokenizer, " a red", " fox")
    assert (events, writer.text, writer.notices, writer.paints) == ([], "", [], "a red fox")


@pytest.mark.parametrize(("language", "question"), [("en", "What shall I paint?"), ("zh", "要我画什么呢？")])
def test_a_mark_alone_asks_back(tokenizer: Tokenizer, language: str, question: str) -> None:
    writer, events = written(tokenizer, language=language)
    assert events == [TextDelta(text=question)]
    assert (writer.text, writer.paints) == (question, None)


def asked(**values: Any) -> ChatRequest:
    return ChatRequest(id="1", messages=(Message.of("user", "Draw a fox"),), **values)


def test_the_tool_is_added_where_nothing_stands_against_it() -> None:
    (tool,) = with_paint_tool(asked(painting=Painting())).tools
    assert json.loads(tool.parameters)["required"] == ["prompt"]
    other = Tool(name="weather")
    assert with_paint_tool(asked(painting=Painting(), tools=(other,))).tools == (other, tool)
    for values in (
        {},
        {"painting": Painting(), "tool_choice": ToolChoice(mode="none")},
        {"painting": Painting(), "answer_format": AnswerFormat(kind="json")},
        {"painting": Painting(), "tools": (Tool(name=tool.name),)},
    ):
        request = asked(**values)
        assert with_paint_tool(request) is request


def test_calls_of_the_tool_are_taken_out() -> None:
    painting = PaintCalls()
    events: list[Event] = [
        TextDelta(text="Of course."),
        ToolCallDelta(index=0, id="a", name="weather"),
        ToolCallDelta(index=1, id="b", name="paint_picture"),
        ToolCallDelta(index=1, arguments='{"prompt": "a fox"}'),
        ToolCallDelta(index=2, id="c", name="time"),
        ToolCallDelta(index=2, arguments="{}"),
    ]
    left = painting.left_of(events[:3]) + painting.left_of(events[3:])
    assert left == [
        *events[:2],
        ToolCallDelta(index=1, id="c", name="time"),
        ToolCallDelta(index=1, arguments="{}"),
    ]
    calls = [
        ToolCall(id="b", name="paint_picture", arguments='{"prompt": " a fox "}'),
        ToolCall(id="c", name="time", arguments="{}"),
    ]
    assert painting.split(calls) == ((calls[1],), "a fox")
    assert painting.split(calls[1:]) == ((calls[1],), None)


@pytest.mark.parametrize("arguments", ['{"prompt": ', "[1]", '{"prompt": 5}', "{}", ""])
def test_a_call_of_the_tool_without_a_prompt_paints_nothing(arguments: str) -> None:
    call = ToolCall(id="a", name="paint_picture", arguments=arguments)
    assert PaintCalls.split([call]) == ((), None)
    good = ToolCall(id="b", name="paint_picture", arguments='{"prompt": " a fox "}')
    assert PaintCalls.split([call, good]) == ((), "a fox")
