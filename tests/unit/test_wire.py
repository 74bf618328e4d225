"""Messages between processes: everything survives the way through bytes, and nothing foreign is let in."""

from __future__ import annotations

import json
import struct

import pytest

from localgpt.errors import InputError
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    ChatRequest,
    ChatResult,
    CompleteRequest,
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
from localgpt.tasks.wire import (
    decode_event,
    decode_request,
    decode_result,
    encode_event,
    encode_request,
    encode_result,
)

PHOTO = ImagePart(data=bytes(range(256)), media_type="image/jpeg")
OPTIONS = SamplingOptions(
    temperature=0.0,
    top_p=0.5,
    max_tokens=7,
    stop=("停", "\n"),
    seed=1,
    repetition_penalty=1.2,
    frequency_penalty=-2.0,
    presence_penalty=0.5,
    logit_bias=(TokenBias(token_id=7, bias=-100.0), TokenBias(token_id=0, bias=2.5)),
    top_logprobs=20,
)
CALL = ToolCall(id="call_1", name="天气", arguments='{"城市": "巴黎"}')
LOGPROBS = (
    TokenLogprob(data=b"\xe5", logprob=-0.5, top=(TokenLogprob(data=b"", logprob=-0.25),)),
    TokenLogprob(data=b"\x97\xa8", logprob=-1.0),
)
REQUESTS: list[Request] = [
    ChatRequest(
        id="1",
        messages=(
            Message.of("system", "简短回答。"),
            Message(role="user", content=(PHOTO, TextPart(text="你好 \ud83d"), ImagePart(data=b""))),
        ),
        options=OPTIONS,
        deadline_s=2.5,
    ),
    ChatRequest(id="2", messages=()),
    ChatRequest(
        id="6",
        messages=(
            Message.of("user", "天气？"),
            Message(role="assistant", content=(), tool_calls=(CALL, CALL)),
            Message(role="tool", content=(TextPart(text="18"),), tool_call_id="call_1"),
        ),
        tools=(Tool(name="天气", parameters='{"type": "object"}'), Tool(name="b", description="B")),
        tool_choice=ToolChoice(mode="named", name="天气"),
        parallel_tool_calls=False,
        answer_format=AnswerFormat(kind="json", schema='{"type": "object"}'),
        leave_out_turns=False,
    ),
    CompleteRequest(id="7", prompt="Once upon \ud83d", options=OPTIONS),
    DescribeRequest(id="3", image=PHOTO, language="zh", owner="someone"),
    AskRequest(id="4", image=PHOTO, question="What?", model="other"),
    EmbedRequest(id="5", inputs=(TextPart(text="a"), PHOTO), dimensions=16),
]
CHAT_RESULT = ChatResult(
    text="嗨",
    finish_reason="stop",
    usage=Usage(prompt_tokens=3, completion_tokens=1),
    model="m",
    notices=("n",),
)
CALL_RESULT = ChatResult(
    text="",
    finish_reason="tool_calls",
    usage=Usage(prompt_tokens=3, completion_tokens=9),
    model="m",
    tool_calls=(CALL,),
    logprobs=LOGPROBS,
)
RESULTS: list[Result] = [
    CHAT_RESULT,
    CALL_RESULT,
    EmbedResult(
        embeddings=((0.1, -1.0), (2.0, 3e-8)), usage=Usage(prompt_tokens=1, completion_tokens=0), model="m"
    ),
]
EVENTS: list[Event] = [
    TextDelta(text="嗨\n"),
    TextDelta(text="嗨", logprobs=LOGPROBS),
    ToolCallDelta(index=1, id="call_1", name="天气", arguments='{"'),
    ToolCallDelta(index=0),
    Notice(text="n"),
    Finished(result=CHAT_RESULT),
    Finished(result=CALL_RESULT),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda value: type(value).__name__)
def test_requests_survive(request_: Request) -> None:
    assert decode_request(encode_request(request_)) == request_


@pytest.mark.parametrize("result", RESULTS, ids=lambda value: type(value).__name__)
def test_results_survive(result: Result) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("event", EVENTS, ids=lambda value: type(value).__name__)
def test_events_survive(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


def test_pictures_travel_raw() -> None:
    assert PHOTO.data in encode_request(REQUESTS[0])


def message(header: object, blobs: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">4sBI", b"LGPT", 1, len(text)) + text + blobs


def embed(fields: object, *, kind: str = "EmbedRequest", blobs: object = ()) -> bytes:
    return message({"message": {"type": kind, "fields": fields}, "blobs": list(blobs)})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"LGPT",
        b"\x80\x04\x95pickle",
        encode_request(REQUESTS[0])[:-1],
        encode_request(REQUESTS[0]) + b"x",
        encode_event(EVENTS[0]),  # an event is no request
        encode_request(REQUESTS[1]).replace(b"LGPT\x01", b"LGPT\x02"),
        message([]),
        message({"message": None, "blobs": []}),
        message({"message": {"type": "os.system", "fields": {}}, "blobs": []}),
        embed({"id": "1"}),  # a field is missing
        embed({"id": "1", "inputs": [], "more": 1}),
        embed({"id": 1, "inputs": []}),
        embed({"id": "1", "inputs": "text"}),
        embed({"id": "1", "inputs": [3]}),
        embed({"id": "1", "inputs": [{"type": "Message", "fields": {}}]}),
        embed({"id": "1", "inputs": [{"type": "ImagePart", "fields": {"data": {"blob": 0}}}]}),
        embed({"id": "1", "inputs": [], "deadline_s": True}),
        embed({"id": "1", "inputs": []}, blobs=[-1, 1]),
        embed({"id": "1", "inputs": []}, blobs=["1"]),
        embed(["id", "inputs"]),
        message({"message": [[]] * 3, "blobs": []}),
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        decode_request(data)


def test_values_are_checked_as_everywhere() -> None:
    data = encode_request(ChatRequest(id="1", messages=(), options=SamplingOptions(top_k=7)))
    with pytest.raises(InputError) as caught:
        decode_request(data.replace(b'"top_k":7', b'"top_k":x'))
    assert caught.value.param is None
    broken = data.replace(b'"temperature":0.3', b'"temperature":7.0')
    with pytest.raises(InputError) as caught:
        decode_request(broken)
    assert caught.value.param == "temperature"
