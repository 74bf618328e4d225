"""What an upstream is sent, what it answers, and what is refused before anything is sent."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest

from localgpt.errors import ImageFormatError, InputError
from localgpt.runtime.upstream.address import DIALECTS, UpstreamKind
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    ImagePart,
    Message,
    Notice,
    Request,
    SamplingOptions,
    SpeakRequest,
    TextDelta,
    TextPart,
    TokenBias,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from tests.upstream.asking import KEY, MODEL, answer, chat, events_of, service_of
from tests.upstream.wire_server import chunk, says, streams, text_chunks, wire_server

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
TOOL = Tool(name="clock", description="Tells the time.", parameters='{"type": "object", "properties": {}}')
OTHER = Tool(name="door")
EVERYTHING = SamplingOptions(
    temperature=0.0,
    top_p=0.5,
    top_k=7,
    max_tokens=9,
    repetition_penalty=1.2,
    frequency_penalty=0.5,
    presence_penalty=-0.5,
    logit_bias=(TokenBias(token_id=42, bias=-100.0),),
    top_logprobs=2,
    stop=("\n", "END"),
    seed=-3,
)


async def sent(request: Request, kind: UpstreamKind = "localgpt") -> dict[str, Any]:
    """The body that an upstream gets."""
    async with wire_server(streams(*text_chunks("ok", reason="stop"))) as server:
        service = service_of(server, kind=kind)
        if getattr(request, "options", EVERYTHING).top_logprobs is None:
            await service.run(request)
        else:
            with pytest.raises(InputError, match="sends no log probabilities"):
                await service.run(request)
        body = server.last.body
        assert isinstance(body, dict)
        return body


async def test_chat_is_streamed_and_told_in_pieces() -> None:
    async with wire_server(streams(*text_chunks("Hel", "lo", ", wörld."))) as server:
        events, result = await events_of(service_of(server, key=KEY), chat(text="Say hello."))
        assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo", ", wörld."]
        assert (result.text, result.finish_reason) == ("Hello, wörld.", "stop")
        assert result.model == MODEL and result.usage == Usage(prompt_tokens=5, completion_tokens=3)
        assert not result.notices
        assert (server.last.method, server.last.path) == ("POST", "/v1/chat/completions")
        assert server.last.headers["authorization"] == f"Bearer {KEY}"
        assert server.last.body == {
            "model": "llama3.2:3b",
            "messages": [{"role": "user", "content": "Say hello."}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.3,
            "top_p": 0.95,
            "top_k": 50,
        }


async def test_every_option_is_sent() -> None:
    body = await sent(chat(options=EVERYTHING))
    assert {
        name: body[name] for name in body if name not in ("model", "messages", "stream", "stream_options")
    } == {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 7,
        "max_tokens": 9,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"42": -100.0},
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["\n", "END"],
        "seed": -3,
    }
    assert (await sent(chat(options=SamplingOptions(repetition_penalty=1.1)), "llama.cpp"))[
        "repeat_penalty"
    ] == 1.1


@pytest.mark.parametrize("kind", DIALECTS)
async def test_what_is_left_open_is_left_to_every_kind(kind: UpstreamKind) -> None:
    body = await sent(chat(options=SamplingOptions(repetition_penalty=1.0)), kind)
    assert "max_tokens" not in body and "seed" not in body and body["temperature"] == 0.3
    assert ("top_k" in body) == DIALECTS[kind].top_k


@pytest.mark.parametrize(
    ("kind", "request_", "param"),
    [
        ("openai", chat(options=SamplingOptions(top_k=1)), "top_k"),
        ("ollama", chat(options=SamplingOptions(top_k=1)), "top_k"),
        ("openai", chat(options=SamplingOptions(repetition_penalty=1.5)), "repetition_penalty"),
        ("ollama", chat(options=SamplingOptions(logit_bias=(TokenBias(token_id=1, bias=1),))), "logit_bias"),
        ("ollama", chat(options=SamplingOptions(top_logprobs=0)), "logprobs"),
        ("ollama", chat(tools=(TOOL,), tool_choice=ToolChoice(mode="required")), "tool_choice"),
        ("ollama", chat(tools=(TOOL,), tool_choice=ToolChoice(mode="named", name="clock")), "tool_choice"),
        ("ollama", chat(tools=(TOOL,), parallel_tool_calls=False), "parallel_tool_calls"),
        ("vllm", EmbedRequest(id="r", model=MODEL, inputs=(ImagePart(data=PNG),)), "input"),
        ("localgpt", chat(tool_choice=ToolChoice(mode="required")), "tool_choice"),
        ("localgpt", chat(tools=(TOOL,), tool_choice=ToolChoice(mode="named", name="no")), "tool_choice"),
        ("localgpt", chat(tools=(Tool(name="x", parameters="{"),)), "tools"),
        ("localgpt", chat(answer_format=AnswerFormat(kind="json", schema="{")), "response_format"),
        ("localgpt", chat(Message.of("assistant", "hello")), "messages"),
        ("localgpt", AskRequest(id="r", model=MODEL, image=ImagePart(data=PNG), question=" "), "question"),
        ("localgpt", DescribeRequest(id="r", model=MODEL, image=ImagePart(data=b"BM")), "image"),
        ("localgpt", EmbedRequest(id="r", model=MODEL, inputs=()), "input"),
        ("localgpt", EmbedRequest(id="r", model=MODEL, inputs=(TextPart(text=" "),)), "input"),
        ("localgpt", SpeakRequest(id="r", model=MODEL, text="hi"), "model"),
        ("localgpt", chat(model="upstream:other/m"), "model"),
        ("localgpt", chat(model="upstream:box"), "model"),
        ("localgpt", chat(model="upstream:box/"), "model"),
        ("localgpt", chat(model="upstream:box/a\nb"), "model"),
        ("localgpt", chat(model="upstream:box/upstream:c/d"), "model"),
        ("localgpt", chat(model="local/multimodal-base"), "model"),
        ("ollama", chat(model="upstream:box/gpt-oss:120b-cloud"), "model"),
        ("openai", chat(model="upstream:box/glm-5:Cloud"), "model"),
        ("ollama", chat(model="upstream:box/kimi:cloud:1t"), "model"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_unsent(
    kind: UpstreamKind, request_: Request, param: str
) -> None:
    async with wire_server(streams(*text_chunks("never"))) as server:
        with pytest.raises(InputError) as caught:
            await service_of(server, kind=kind).run(request_)
        assert caught.value.param == param and not server.asked


async def test_a_model_of_a_cloud_is_asked_once_that_is_allowed() -> None:
    async with wire_server(streams(*text_chunks("ok"))) as server:
        service = service_of(server, kind="ollama", allow_remote=True)
        assert (await answer(service, chat(model="upstream:box/glm-5:cloud"))).text == "ok"
        assert service.notices == (f"what is asked of upstream:box may leave this machine, by way of "
                                   f"127.0.0.1:{server.port}",)  # fmt: skip


async def test_a_conversation_with_pictures_and_calls() -> None:
    call = ToolCall(id="c1", name="clock", arguments='{"zone": "UTC"}')
    turns = (
        Message.of("system", "Be brief."),
        Message(
            role="user", content=(TextPart(text="What is "), ImagePart(data=PNG), TextPart(text="this?"))
        ),
        Message(role="assistant", content=(), tool_calls=(call,)),
        Message(role="tool", content=(TextPart(text="12:00"),), tool_call_id="c1"),
    )
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert (await sent(chat(*turns)))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is "},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "this?"},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "clock", "arguments": '{"zone": "UTC"}'},
                }
            ],
        },
        {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff\xe0", "jpeg"), (PNG, "png"), (b"GIF89a", "gif"), (b"RIFF\0\0\0\0WEBPVP8 ", "webp")],
)
async def test_a_picture_is_called_what_its_bytes_are(start: bytes, kind: str) -> None:
    image = ImagePart(data=start, media_type="image/x-other")
    body = await sent(AskRequest(id="r", model=MODEL, image=image, question="What?"))
    picture, text = body["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith(f"data:image/{kind};base64,")
    assert text == {"type": "text", "text": "What?"} and body["temperature"] == 0.0
    body = await sent(DescribeRequest(id="r", model=MODEL, image=image, language="zh"))
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "描述这张图片。"}


async def test_a_picture_others_cannot_read_is_told_by_its_field() -> None:
    turn = Message(role="user", content=(ImagePart(data=b"\0\0\0\x18ftypheic"),))
    async with wire_server(streams()) as server:
        with pytest.raises(ImageFormatError, match="send JPEG, PNG, WebP or GIF") as caught:
            await service_of(server).run(chat(turn))
        assert caught.value.param == "messages"


async def test_tools_are_sent_as_the_choice_says() -> None:
    tools = (TOOL, OTHER)
    clock = {"type": "function", "function": {"name": "clock", "description": "Tells the time.",
             "parameters": {"type": "object", "properties": {}}}}  # fmt: skip
    body = await sent(chat(tools=tools), "ollama")
    assert [tool["function"]["name"] for tool in body["tools"]] == ["clock", "door"] and body["tools"][
        0
    ] == clock
    assert "tool_choice" not in body and "parallel_tool_calls" not in body
    body = await sent(chat(tools=tools, tool_choice=ToolChoice(mode="none")), "ollama")
    assert "tools" not in body
    body = await sent(chat(tools=tools, tool_choice=ToolChoice(mode="required"), parallel_tool_calls=False))
    assert (
        body["tool_choice"] == "required" and body["parallel_tool_calls"] is False and len(body["tools"]) == 2
    )
    body = await sent(chat(tools=tools, tool_choice=ToolChoice(mode="named", name="clock")))
    assert body["tool_choice"] == "required" and body["tools"] == [clock]


async def test_json_is_asked_for_with_its_schema() -> None:
    assert (await sent(chat(answer_format=AnswerFormat(kind="json"))))["response_format"] == {
        "type": "json_object"
    }
    form = AnswerFormat(kind="json", schema='{"type": "object"}')
    assert (await sent(chat(answer_format=form)))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }


async def test_calls_come_in_pieces() -> None:
    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        name = {"name": more.pop("name")} if "name" in more else {}
        return chunk({"tool_calls": [{"index": index, **more, "function": name | {"arguments": arguments}}]})

    chunks = [piece(0, "", id="c1", name="clock"), piece(0, '{"a":'), piece(0, "1}"),
              piece(0, "{}", id="c2", name="door"), piece(3, "{}", name="bell"),
              chunk({}, "stop")]  # fmt: skip
    async with wire_server(streams(*chunks)) as server:
        events, result = await events_of(service_of(server), chat(tools=(TOOL,)))
    first, second, third = result.tool_calls
    assert (first.id, first.name, first.arguments) == ("c1", "clock", '{"a":1}')
    assert (second.id, second.name, second.arguments) == ("c2", "door", "{}")
    assert (third.name, third.arguments) == ("bell", "{}") and third.id.startswith("call_")
    assert result.finish_reason == "tool_calls" and result.text == ""
    assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0, 0, 0, 1, 2]
    assert result.notices == ("Upstream box tells no token counts; 0 stands for unknown.",)


async def test_log_probabilities_are_read() -> None:
    token = {"token": "Hé", "bytes": [72, 195, 169], "logprob": -0.5}
    other = {"token": "\udcff", "bytes": None, "logprob": -2}
    tokens = {"content": [token | {"top_logprobs": [token, other]}]}
    async with wire_server(streams(chunk({"content": "Hé"}, logprobs=tokens), chunk({}, "stop"))) as server:
        options = SamplingOptions(top_logprobs=2)
        events, result = await events_of(service_of(server), chat(options=options))
    plain = TokenLogprob(data="Hé".encode(), logprob=-0.5)
    top = (plain, TokenLogprob(data="\udcff".encode("utf-8", "surrogatepass"), logprob=-2.0))
    assert result.logprobs == (TokenLogprob(data="Hé".encode(), logprob=-0.5, top=top),)
    assert events == [TextDelta(text="Hé", logprobs=result.logprobs)]


async def test_a_text_is_gone_on_with() -> None:
    def text(words: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "text": words, "finish_reason": reason} | more]}

    logprobs = {"tokens": [" ago"], "token_logprobs": [-1.5], "top_logprobs": [{" ago": -1.5, " day": -3.0}]}
    async with wire_server(streams(text(" ago", logprobs=logprobs), text(".", "length"))) as server:
        request = CompleteRequest(id="r", model=MODEL, prompt="Long", options=SamplingOptions(top_logprobs=2))
        result = await answer(service_of(server), request)
        assert server.last.path == "/v1/completions"
        assert server.last.body["prompt"] == "Long" and server.last.body["logprobs"] == 2
    assert (result.text, result.finish_reason) == (" ago.", "length")
    assert [token.data for token in result.logprobs[0].top] == [b" ago", b" day"]


@pytest.mark.parametrize(
    ("details", "cached"),
    [
        ({"cached_tokens": 4}, 4),
        ({"cached_tokens": 99}, 5),
        ({"cached_tokens": None}, 0),
        (None, 0),
        ([1], 0),
    ],
)
async def test_cached_tokens_are_passed_on(details: Any, cached: int) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": details}
    async with wire_server(streams(*text_chunks("a")[:-1], {"choices": [], "usage": usage})) as server:
        assert (await answer(service_of(server), chat())).usage.cached_tokens == cached


async def test_thoughts_are_left_out_and_that_is_said() -> None:
    chunks = [chunk({"reasoning_content": "Hm."}), chunk({"reasoning": "Hm!"}), *text_chunks("Yes")]
    async with wire_server(streams(*chunks)) as server:
        events, result = await events_of(service_of(server), chat())
    assert events[0] == Notice(text="The model thinks before it answers; its thoughts are left out.")
    assert result.text == "Yes" and len(result.notices) == 1


async def test_texts_are_embedded_in_their_order() -> None:
    data = [{"index": 1, "embedding": [0.0, 2]}, {"index": 0, "embedding": [3, 4.0]}]
    async with wire_server(says({"data": data, "usage": {"prompt_tokens": 6}})) as server:
        inputs = (TextPart(text="one"), TextPart(text="two"))
        result = await service_of(server).run(EmbedRequest(id="r", model=MODEL, inputs=inputs, dimensions=2))
        assert server.last.path == "/v1/embeddings"
        assert server.last.body == {"model": "llama3.2:3b", "input": ["one", "two"],
                                    "encoding_format": "float", "dimensions": 2}  # fmt: skip
        assert isinstance(result, EmbedResult) and result.embeddings == ((0.6, 0.8), (0.0, 1.0))
        assert result.usage.prompt_tokens == 6 and math.isclose(math.hypot(*result.embeddings[0]), 1.0)
        with pytest.raises(InputError, match="have 2 numbers") as caught:
            await service_of(server).run(EmbedRequest(id="r", model=MODEL, inputs=inputs, dimensions=3))
        assert caught.value.param == "dimensions"


async def test_pictures_are_embedded_where_the_upstream_can() -> None:
    async with wire_server(says({"data": [{"embedding": [1.0]}]})) as server:
        await service_of(server).run(EmbedRequest(id="r", model=MODEL, inputs=(ImagePart(data=PNG),)))
        assert server.last.body["input"][0]["type"] == "image_url"
