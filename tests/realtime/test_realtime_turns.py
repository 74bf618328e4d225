"""Spoken turns: the events of the GA wire in their order, and what the models are asked."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from typing import Any

import pytest

from localgpt.errors import BackendError, CapacityError
from localgpt.tasks import TextPart
from tests.realtime.speech import said, silence, vowels
from tests.realtime.talking import TEXT, Talk, talking
from tests.realtime.voice_service import SPOKEN_MS, VoiceService

TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
HEARD = [
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]
BEGUN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
SPOKEN = ["response.output_audio_transcript.delta", "response.output_audio.delta"]
ENDED = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


@pytest.fixture
def service() -> VoiceService:
    return VoiceService(deltas=("It is ", "noon. ", "The sun is ", "high."))


def words(talk: Talk) -> list[tuple[str, str]]:
    """The last conversation that was answered, without the instructions."""
    service = talk.gateway.service._service
    assert isinstance(service, VoiceService)
    messages = service.chats[-1].messages
    return [
        (one.role, "".join(part.text for part in one.content if isinstance(part, TextPart)))
        for one in messages
        if one.role != "system"
    ]


async def test_a_spoken_turn(service: VoiceService) -> None:
    async with talking(service, TRANSCRIBED) as talk:
        talk.speak(said(400, 1200, 700))
        done = await talk.until("response.done")
        assert talk.kinds(1) == [*TURN, *HEARD, *BEGUN, *SPOKEN, *SPOKEN, *ENDED]

        started, stopped = talk.of(TURN[0])[0], talk.of(TURN[1])[0]
        assert started["audio_start_ms"] == pytest.approx(100, abs=60)  # 300 ms before the first speech
        assert stopped["audio_end_ms"] == pytest.approx(1600, abs=60)
        item_ids = {
            event["item_id"] for event in (started, stopped, talk.of(TURN[2])[0], talk.of(HEARD[1])[0])
        }
        assert item_ids == {talk.of("conversation.item.added")[0]["item"]["id"]}
        assert talk.of(HEARD[1])[0]["transcript"] == "What time is it?"
        assert words(talk) == [("user", "What time is it?")]

        assert [event["delta"] for event in talk.of(SPOKEN[0])] == ["It is noon.", " The sun is high."]
        assert [request.text for request in service.spoke] == ["It is noon.", "The sun is high."]
        sound = b"".join(base64.b64decode(event["delta"]) for event in talk.of(SPOKEN[1]))
        assert len(sound) == 2 * 24 * (2 * SPOKEN_MS + 2 * 250)  # and the pauses behind two sentences
        assert done["response"]["status"] == "completed"
        assert done["response"]["output"][0]["content"] == [
            {"type": "output_audio", "transcript": "It is noon. The sun is high."}
        ]
        assert done["response"]["usage"]["input_token_details"]["cached_tokens"] == 2
        turn = done["response"]["localgpt"]["turn_ms"]
        assert turn["committed"] == 0 and None not in turn.values()
        order = ("speech_ended", "listening", "heard", "first_token", "first_clause", "first_sound")
        assert sorted(order, key=lambda name: float(turn[name])) == list(order)


async def test_the_turn_is_heard_as_it_was_said(service: VoiceService) -> None:
    async with talking(
        service, {"audio": {"input": {"transcription": {"language": "en", "prompt": "noon"}}}}
    ) as talk:
        talk.speak(said(400, 1200, 700))
        await talk.until("response.done")
    request = service.listened[0]
    assert (request.model, request.language, request.prompt) == ("open/ears", "en", "noon")
    with wave.open(io.BytesIO(request.audio.data)) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
        assert file.getnframes() / 24 == pytest.approx(1500 + 60, abs=120)
    assert service.spoke[0].model == "open/mouth"


async def test_an_answer_is_begun_ahead_and_used_once(service: VoiceService) -> None:
    """It is heard, answered and spoken before the turn is certainly over; nothing is done twice."""
    async with talking(service) as talk:
        talk.speak(said(400, 1000, 200))
        while not service.spoke:
            await asyncio.sleep(0)
        assert "input_audio_buffer.speech_stopped" not in talk.kinds()
        talk.speak(silence(500))
        done = await talk.until("response.done")
        assert len(service.listened) == len(service.chats) == 1
        turn = done["response"]["localgpt"]["turn_ms"]
        assert turn["heard"] < 0 and turn["first_token"] < 0 and turn["first_clause"] < 0


async def test_who_goes_on_speaking_is_not_cut_off(service: VoiceService) -> None:
    service.heard = ("What time", "What time is it in Rome?")
    async with talking(service, TRANSCRIBED) as talk:
        talk.speak(said(300, 900, 240))
        while not service.spoke:
            await asyncio.sleep(0)
        service.gate = None
        talk.speak(said(20, 900, 700))
        await talk.until("response.done")
        assert len(talk.of("input_audio_buffer.committed")) == len(talk.of("response.created")) == 1
        assert words(talk) == [("user", "What time is it in Rome?")]
        assert talk.of(HEARD[1])[0]["transcript"] == "What time is it in Rome?"


async def test_speech_that_goes_on_cancels_what_was_begun_ahead(service: VoiceService) -> None:
    service.hearing_gate = asyncio.Event()
    async with talking(service) as talk:
        talk.speak(said(300, 900, 240, 300))
        while not service.num_hearing_cancelled:
            await asyncio.sleep(0)
        service.hearing_gate.set()
        talk.speak(silence(700))
        await talk.until("response.done")
        assert len(service.listened) == 2


async def test_noises_begin_no_turn(service: VoiceService) -> None:
    async with talking(service) as talk:
        for noise in (0.0, 0.003, 0.05):
            talk.speak(silence(1500, noise=noise))
        click = silence(1000)
        click[5000:5060] = 30_000
        talk.speak(click)
        assert await talk.quiet() == []


async def test_a_turn_without_words_gets_no_answer(service: VoiceService) -> None:
    service.heard = (" ",)
    async with talking(service, TRANSCRIBED) as talk:
        talk.speak(said(300, 600, 700))
        assert (await talk.until(HEARD[1]))["transcript"] == ""
        assert "response.created" not in {event["type"] for event in await talk.quiet()}
    assert not service.chats


async def test_a_turn_is_answered_when_asked_to(service: VoiceService) -> None:
    session = {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}}
    async with talking(service, session) as talk:
        talk.speak(said(300, 600, 700))
        await talk.until("conversation.item.done")
        assert not await talk.quiet() and not service.chats
        talk.send("response.create")
        await talk.until("response.done")
        assert words(talk) == [("user", "What time is it?")]


async def test_push_to_talk(service: VoiceService) -> None:
    session = {**TRANSCRIBED, "audio": {"input": {"turn_detection": None, "transcription": {}}}}
    async with talking(service, session) as talk:
        talk.speak(vowels(800))
        talk.send("input_audio_buffer.commit")
        talk.send("response.create")
        done = await talk.until("response.done")
        assert talk.kinds(1)[:4] == [
            "input_audio_buffer.committed",
            *BEGUN[2:3],
            "conversation.item.done",
            BEGUN[0],
        ]
        assert done["response"]["status"] == "completed"
        assert words(talk) == [("user", "What time is it?")]
        talk.speak(vowels(800))
        talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")
        talk.send("input_audio_buffer.commit")
        error = (await talk.next())["error"]
        assert error["code"] == "input_audio_buffer_commit_empty" and "0 ms" in error["message"]


async def test_recognition_that_fails_is_told_and_the_call_goes_on(service: VoiceService) -> None:
    service.listen_error = CapacityError("no room")
    async with talking(service, TRANSCRIBED) as talk:
        talk.speak(said(300, 600, 700))
        failed = await talk.until("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "overloaded"
        assert (await talk.next())["error"]["message"] == "no room"
        service.listen_error = None
        talk.speak(said(100, 600, 700))
        assert (await talk.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("who", ["chat", "voice"])
async def test_an_answer_that_fails_is_told_and_the_call_goes_on(service: VoiceService, who: str) -> None:
    setattr(service, "error" if who == "chat" else "speak_error", BackendError("it broke"))
    async with talking(service) as talk:
        talk.type("Hello")
        talk.send("response.create")
        response = (await talk.until("response.done"))["response"]
        assert response["status"] == "failed"
        assert response["status_details"]["error"]["message"] == "it broke"
        service.error = service.speak_error = None
        talk.send("response.create")
        assert (await talk.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("lacking", ["listener", "speaker"])
async def test_a_missing_member_is_one_clear_error(service: VoiceService, lacking: str) -> None:
    setattr(service, "listens" if lacking == "listener" else "speaks", False)
    async with talking(service) as talk:
        talk.speak(said(300, 600, 700))
        while (event := await talk.next())["type"] != "error":
            pass
        assert event["error"]["code"] == f"no_{lacking}" and "localgpt pull" in event["error"]["message"]
        assert not [event for event in await talk.quiet() if event["type"] in ("error", "response.created")]
        talk.type("Hello")
        talk.send("response.create", response=TEXT)
        assert (await talk.until("response.done"))["response"]["status"] == "completed"


async def test_words_alone(service: VoiceService) -> None:
    service.speaks = service.listens = False
    async with talking(service, TEXT) as talk:
        talk.type("Hello")
        talk.send("response.create")
        done = await talk.until("response.done")
        assert talk.kinds(1) == [
            *TURN[3:],
            *BEGUN,
            "response.output_text.delta",
            "response.output_text.done",
            *ENDED[2:],
        ]
        assert [event["delta"] for event in talk.of("response.output_text.delta")] == list(service.deltas)
        assert done["response"]["output"][0]["content"] == [
            {"type": "output_text", "text": "It is noon. The sun is high."}
        ]


async def test_telephone_sound(service: VoiceService) -> None:
    form = {"format": {"type": "audio/pcmu"}}
    async with talking(
        service, {"audio": {"input": {**form, "turn_detection": None}, "output": form}}
    ) as talk:
        silent = base64.b64encode(b"\xff" * 4000).decode()
        talk.send("input_audio_buffer.append", audio=silent)
        talk.send("input_audio_buffer.commit")
        talk.send("response.create")
        await talk.until("response.done")
        sound = b"".join(base64.b64decode(event["delta"]) for event in talk.of("response.output_audio.delta"))
        assert len(sound) == 8 * (2 * SPOKEN_MS + 2 * 250)
    assert service.spoke[0].sample_rate == 8000
    with wave.open(io.BytesIO(service.listened[0].audio.data)) as file:
        assert file.getframerate() == 8000 and not any(file.readframes(4000))


async def test_a_transcription_session_answers_nothing(service: VoiceService) -> None:
    async with talking(service, {"type": "transcription"}) as talk:
        talk.speak(said(300, 600, 700))
        assert (await talk.until(HEARD[1]))["transcript"] == "What time is it?"
        talk.send("response.create")
        assert (await talk.next())["error"]["message"].startswith("this session writes down")
    assert not service.chats


SEMANTIC: dict[str, Any] = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}


async def test_a_finished_sentence_ends_a_turn_soon(service: VoiceService) -> None:
    async with talking(service, SEMANTIC) as talk:
        talk.speak(said(300, 900, 400))
        stopped = await talk.until("input_audio_buffer.speech_stopped")
        assert stopped["audio_end_ms"] == pytest.approx(1200, abs=60)
        await talk.until("response.done")


async def test_an_unfinished_sentence_is_waited_for(service: VoiceService) -> None:
    service.heard = (
        "I would like to know what time it is and",
        "I would like to know what time it is and where.",
    )
    async with talking(service, SEMANTIC) as talk:
        talk.speak(said(300, 900, 1500))
        assert {event["type"] for event in await talk.quiet()} == {"input_audio_buffer.speech_started"}
        talk.speak(said(20, 900, 600))
        await talk.until("response.done")
        assert words(talk)[0][1].endswith("where.")
