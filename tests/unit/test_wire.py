"""Messages between processes: everything survives the way through bytes, and nothing foreign is let in."""

from __future__ import annotations

import json
import struct

import pytest

from localgpt.errors import InputError
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    AudioPart,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    DetectedObject,
    DetectRequest,
    DetectResult,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    HeatMap,
    ImagePart,
    ListenRequest,
    ListenResult,
    Message,
    Notice,
    PaintedImage,
    PaintPreview,
    PaintRequest,
    PaintResult,
    PaintStage,
    Progress,
    Request,
    Result,
    SamplingOptions,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
    SpeechSegment,
    SpokenWord,
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
    PaintRequest(id="8", prompt="一只猫 \ud83d"),
    PaintRequest(
        id="9",
        prompt="a cat",
        negative_prompt="dogs",
        width=640,
        height=512,
        num_steps=4,
        guidance_scale=0.0,
        seed=2**53 - 1,
        num_images=3,
        image=PHOTO,
        strength=0.25,
        mask=ImagePart(data=b"mask"),
        num_previews=3,
        binds_words=False,
        wants_heat_maps=True,
    ),
    ListenRequest(id="10", audio=AudioPart(data=b"RIFF", media_type="audio/wav")),
    ListenRequest(
        id="11",
        audio=AudioPart(data=b""),
        language="zh",
        translate=True,
        timestamps="word",
        prompt="上海",
        temperature=0.5,
        seed=3,
    ),
    ListenRequest(id="11b", audio=AudioPart(path="/data/uploads/tmp1")),
    SpeakRequest(id="12", text="你好"),
    SpeakRequest(
        id="13",
        text="Hello",
        voice="a",
        language="en",
        speed=0.5,
        seed=0,
        sample_rate=24_000,
        format="opus",
    ),
    DetectRequest(id="14", image=PHOTO),
    DetectRequest(id="15", image=PHOTO, labels=("cat", "狗"), threshold=0.25, max_objects=3),
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
PAINT_RESULT = PaintResult(
    images=(
        PaintedImage(
            data=b"PNG",
            width=64,
            height=72,
            seed=7,
            stages=(PaintStage(name="sketch", num_steps=1, width=32, height=36),),
            heat_maps=(HeatMap(word="球", data=b"MAP", width=12, height=12),),
        ),
    ),
    seconds=0.5,
    model="m",
    num_steps=4,
    guidance_scale=7.5,
    notices=("n",),
    binds_words=True,
    binding_seconds=0.25,
)
RESULTS: list[Result] = [
    CHAT_RESULT,
    CALL_RESULT,
    EmbedResult(
        embeddings=((0.1, -1.0), (2.0, 3e-8)), usage=Usage(prompt_tokens=1, completion_tokens=0), model="m"
    ),
    PAINT_RESULT,
    ListenResult(
        text="嗨",
        language="zh",
        duration_s=1.5,
        segments=(SpeechSegment(start_s=0.0, end_s=1.0, text="嗨", avg_logprob=-0.5, no_speech_prob=0.1),),
        model="m",
        words=(SpokenWord(start_s=0.0, end_s=1.0, text="嗨", probability=0.9),),
    ),
    ListenResult(text="", language=None, duration_s=0.0, segments=(), model="m"),
    SpeakResult(
        data=b"\x00\x01",
        format="pcm",
        media_type="audio/pcm",
        sample_rate=16_000,
        duration_s=0.1,
        seed=1,
        model="m",
        voice="a",
    ),
    DetectResult(
        objects=(DetectedObject(label="猫", score=0.5, box_xyxy=(0.0, 1.5, 2.0, 3.0)),),
        width=4,
        height=5,
        model="m",
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
    Finished(result=PAINT_RESULT),
    Progress(done=1.0, total=4.0, unit="steps"),
    PaintPreview(stage="sketch", index=1, data=b"PNG", width=8, height=9, num_steps=2),
    SpeakChunk(data=b"\x00\x01", text="嗨", start_s=0.5, duration_s=0.25),
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
