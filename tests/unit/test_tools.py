"""Tool calls: asked for, streamed, closed in time, and read back into a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localgpt.errors import InputError
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    SYSTEM_ID,
    TOOL_CALL_ID,
    TOOL_RESULT_ID,
    TOOLS_ID,
    USER_ID,
)
from localgpt.runtime.local import LocalService
from localgpt.runtime.tool_calls import ToolCallReader
from localgpt.tasks import (
    AnswerFormat,
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    Message,
    SamplingOptions,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
)
from tests import spoken, tiny

WEATHER = Tool(
    name="get_weather",
    description="The weather of a city.",
    parameters='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)
ADD = Tool(
    name="加",
    parameters='{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, '
    '"required": ["a", "b"]}',
)
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
SUM = '{"name": "加", "arguments": {"a": 1, "b": 22}}'
GREEDY = SamplingOptions(temperature=0.0)


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    messages = messages or (Message.of("user", "What is the weather in Paris?"),)
    return ChatRequest(id="1", messages=messages, **{"options": GREEDY, "tools": (WEATHER, ADD), **fields})


async def ask(family: Any, request: ChatRequest) -> tuple[list[Event], ChatResult]:
    service = LocalService(family)
    try:
        events = [event async for event in service.stream(request)]
    finally:
        await service.close()
    last = events[-1]
    assert isinstance(last, Finished)
    return events, last.result


async def test_a_call_comes_in_pieces_and_whole() -> None:
    events, result = await ask(spoken.make_family(TOOL_CALL_ID, PARIS), chat())
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert deltas[0].name == "get_weather"
    assert deltas[0].id is not None and deltas[0].id.startswith("call_")
    assert not any(delta.id or delta.name for delta in deltas[1:])
    assert {delta.index for delta in deltas} == {0}
    assert "".join(delta.arguments for delta in deltas) == '{"city": "Paris"}'
    assert len(deltas) > 3
    call = ToolCall(id=deltas[0].id, name="get_weather", arguments='{"city": "Paris"}')
    assert (result.tool_calls, result.finish_reason, result.text) == ((call,), "tool_calls", "")
    assert not [event for event in events if isinstance(event, TextDelta)]
    assert result.usage.completion_tokens == 1 + len(tiny.make_tokenizer().encode(PARIS))


async def test_several_calls_of_one_answer() -> None:
    family = spoken.make_family(TOOL_CALL_ID, PARIS, TOOL_CALL_ID, SUM)
    events, result = await ask(family, chat())
    assert [(call.name, json.loads(call.arguments)) for call in result.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("加", {"a": 1, "b": 22}),
    ]
    assert len({call.id for call in result.tool_calls}) == 2
    for index, call in enumerate(result.tool_calls):
        deltas = [e for e in events if isinstance(e, ToolCallDelta) and e.index == index]
        assert "".join(delta.arguments for delta in deltas) == call.arguments
        assert (deltas[0].id, deltas[0].name) == (call.id, call.name)
    _, alone = await ask(family, chat(parallel_tool_calls=False))
    assert [call.name for call in alone.tool_calls] == ["get_weather"]
    assert alone.finish_reason == "tool_calls"


async def test_an_answer_in_words_stays_one() -> None:
    _, result = await ask(spoken.make_family("It rains."), chat())
    assert (result.text, result.tool_calls, result.finish_reason) == ("It rains.", (), "stop")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (ToolChoice(mode="required"), {"get_weather", "加"}),
        (ToolChoice(mode="named", name="加"), {"加"}),
    ],
)
async def test_a_call_can_be_demanded(choice: ToolChoice, names: set[str]) -> None:
    for script in (("It rains.",), (TOOL_CALL_ID, PARIS)):
        _, result = await ask(spoken.make_family(*script), chat(tool_choice=choice))
        assert result.finish_reason == "tool_calls"
        assert {call.name for call in result.tool_calls} <= names
        assert len(result.tool_calls) == 1


async def test_with_none_no_tool_is_called_or_shown() -> None:
    family = spoken.make_family(TOOL_CALL_ID, "It rains.")
    _, result = await ask(family, chat(tool_choice=ToolChoice(mode="none")))
    assert not result.tool_calls
    assert result.finish_reason in ("stop", "length")
    assert TOOLS_ID not in family.decoder.prompts[0]


async def test_a_call_closes_within_its_tokens() -> None:
    endless = '{"name": "get_weather", "arguments": {"city": "' + "Paris " * 200
    family = spoken.make_family(TOOL_CALL_ID, endless)
    for max_tokens in (70, 90, 130):
        options = SamplingOptions(temperature=0.0, max_tokens=max_tokens)
        _, result = await ask(family, chat(options=options))
        assert result.usage.completion_tokens <= max_tokens
        assert json.loads(result.tool_calls[0].arguments)["city"].startswith("Paris")
        assert result.finish_reason == "tool_calls"
        assert len(result.notices) == 1


async def test_circles_in_a_call_are_closed_too() -> None:
    family = spoken.make_family(TOOL_CALL_ID, '{"name": "get_weather", "arguments": {"city": "' + "x" * 400)
    _, result = await ask(family, chat())
    assert result.usage.completion_tokens < 150
    assert set(json.loads(result.tool_calls[0].arguments)["city"]) == {"x"}
    assert "repeat" in result.notices[0]


async def test_no_room_for_a_call() -> None:
    family = spoken.make_family(TOOL_CALL_ID, PARIS)
    options = SamplingOptions(temperature=0.0, max_tokens=5)
    _, result = await ask(family, chat(options=options))
    assert not result.tool_calls
    assert "No tool can be called within 5 tokens" in result.notices[0]
    with pytest.raises(InputError, match="at least") as caught:
        await ask(family, chat(options=options, tool_choice=ToolChoice(mode="required")))
    assert caught.value.param == "max_tokens"


async def test_stop_strings_do_not_cut_calls() -> None:
    options = SamplingOptions(temperature=0.0, stop=("Paris",), top_logprobs=1)
    _, result = await ask(spoken.make_family(TOOL_CALL_ID, PARIS), chat(options=options))
    assert result.tool_calls[0].arguments == '{"city": "Paris"}'
    assert result.logprobs == ()  # they are told for words
    _, result = await ask(spoken.make_family("In Paris it rains."), chat(options=options))
    assert result.text == "In "


async def test_tools_and_a_schema_together() -> None:
    form = AnswerFormat(kind="json", schema='{"type": "object", "properties": {"sky": {"type": "string"}}}')
    _, result = await ask(spoken.make_family('{"sky": "grey"}'), chat(answer_format=form))
    assert (result.text, result.tool_calls) == ('{"sky": "grey"}', ())
    _, result = await ask(spoken.make_family(TOOL_CALL_ID, PARIS), chat(answer_format=form))
    assert [call.name for call in result.tool_calls] == ["get_weather"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": (), "tool_choice": ToolChoice(mode="required")}, "tool_choice"),
        ({"tool_choice": ToolChoice(mode="named", name="other")}, "tool_choice"),
        ({"tools": (WEATHER, WEATHER)}, "tools"),
        ({"tools": (Tool(name="a", parameters="no json"),)}, "tools"),
        ({"tools": (Tool(name="a", description="x" * 300_000),)}, "tools"),
        ({"tools": (Tool(name="a", parameters=" " * 300_000),)}, "tools"),
        ({"tools": (Tool(name="a", parameters='{"type": "wibble"}'),)}, "tools"),
        ({"tools": (Tool(name="a", parameters="[]"),), "tool_choice": ToolChoice(mode="none")}, "tools"),
    ],
)
async def test_what_contradicts_itself_names_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        await ask(spoken.make_family("x"), chat(**fields))
    assert caught.value.param == param
    assert "\n" not in str(caught.value)


# The prompt


BROKEN = ToolCall(id="call_1", name="n", arguments="{")
CALL = ToolCall(id="call_1", name="get_weather", arguments='{"city":"Paris"}')
USED = (
    Message.of("user", "Weather?"),
    Message(role="assistant", content=(), tool_calls=(CALL,)),
    Message(role="tool", content=(TextPart(text="18"),), tool_call_id="call_1"),
)


async def test_the_prompt_holds_tools_calls_and_results_as_in_training() -> None:
    family = spoken.make_family("It is mild.")
    await ask(family, chat(Message.of("system", "Be brief."), *USED, tools=(WEATHER,)))
    encode = family.tokenizer.encode
    definition = {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    assert family.decoder.prompts[0] == [
        BOS_ID, SYSTEM_ID, *encode("Be brief."), END_ID,
        TOOLS_ID, *encode(json.dumps([definition])), END_ID,
        USER_ID, *encode("Weather?"), END_ID,
        ASSISTANT_ID, TOOL_CALL_ID, *encode(PARIS), END_ID,
        TOOL_RESULT_ID, *encode("18"), END_ID, ASSISTANT_ID,
    ]  # fmt: skip


async def test_the_question_stays_with_its_result_when_the_context_is_full() -> None:
    family = spoken.make_family("x", context_len=400)
    old = [Message.of(role, "old " * 30) for role in ("user", "assistant")] * 4
    _, result = await ask(family, chat(*old, *USED, tools=(WEATHER,)))
    text = family.tokenizer.decode(family.decoder.prompts[0], keep_special=True)
    assert "<|user|>Weather?<|end|><|assistant|><|tool_call|>" in text
    assert "left out: " in result.notices[0]


@pytest.mark.parametrize(
    "messages",
    [
        (*USED[:2], Message(role="tool", content=(TextPart(text="18"),), tool_call_id="call_2")),
        (Message(role="user", content=(TextPart(text="x"),), tool_calls=(CALL,)),),
        (USED[0], Message(role="assistant", content=(), tool_calls=(BROKEN,)), USED[2]),
        USED[:2],
    ],
)  # fmt: skip
async def test_broken_histories_are_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        await ask(spoken.make_family("x"), chat(*messages))
    assert caught.value.param == "messages"


async def test_a_tool_may_have_nothing_to_say() -> None:
    nothing = Message(role="tool", content=(TextPart(text=""),), tool_call_id="call_1")
    family = spoken.make_family("x")
    await ask(family, chat(*USED[:2], nothing))
    assert family.decoder.prompts[0][-3:] == [TOOL_RESULT_ID, END_ID, ASSISTANT_ID]


# The reader


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_every_cut_of_a_call_gives_the_same(size: int) -> None:
    arguments = '{"name": "\\"x\\", \\"arguments\\": ", "城市": ["巴黎", {}]}'
    text = f'{{"name": "a \\"b\\"", "arguments": {arguments}}}'
    reader = ToolCallReader()
    deltas = []
    for _ in range(2):
        reader.open()
        for at in range(0, len(text), size):
            deltas += reader.push(text[at : at + size])
    reader.close()
    assert [(call.name, call.arguments) for call in reader.calls] == [('a "b"', arguments)] * 2
    for index in range(2):
        own = [delta for delta in deltas if delta.index == index]
        assert own[0].name == 'a "b"'
        assert "".join(delta.arguments for delta in own) == arguments
