"""Barge-in, cancellation and truncation: what is not heard is neither sent nor remembered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.realtime.speech import said, silence, vowels
from tests.realtime.talking import Talk, talking
from tests.realtime.test_realtime_turns import BEGUN, ENDED, words
from tests.realtime.voice_service import VoiceService


@pytest.fixture
def service() -> VoiceService:
    return VoiceService(deltas=("One sentence here. ", "Another sentence there. ", "And the last one."))


async def begin(talk: Talk) -> str:
    """An answer whose first sound is there and whose end is not; its item's id."""
    talk.type("Tell me")
    talk.send("response.create")
    return str((await talk.until("response.output_audio.delta"))["item_id"])


async def test_speaking_interrupts(service: VoiceService) -> None:
    service.gate = asyncio.Event()
    service.deltas = ("One sentence here. Another ", "sentence.")
    async with talking(service) as talk:
        item_id = await begin(talk)
        mark = len(talk.seen)
        talk.speak(said(300, 600))
        done = await talk.until("response.done")
        kinds = talk.kinds(mark)
        assert kinds[kinds.index("input_audio_buffer.speech_started") :] == [
            "input_audio_buffer.speech_started",
            *ENDED,
        ]
        assert done["response"]["status"] == "cancelled"
        assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert done["response"]["output"][0]["status"] == "incomplete"
        assert service.num_cancelled == 1

        talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=150)
        await talk.until("conversation.item.truncated")
        service.gate = None
        talk.speak(silence(700))
        await talk.until("response.done")
        assert words(talk) == [("user", "Tell me"), ("assistant", "One"), ("user", "What time is it?")]


async def test_what_waits_to_be_heard_is_dropped(service: VoiceService) -> None:
    """The sound that a slow client has not taken yet does not come after the interruption."""
    async with talking(service) as talk:
        talk.type("Tell me")
        talk.send("response.create")
        await talk.until("response.output_item.added")
        talk.reads.clear()
        while len(service.spoke) < 2:
            await asyncio.sleep(0)
        talk.speak(said(300, 600))
        while talk.call._answering.is_busy:
            await asyncio.sleep(0)
        talk.reads.set()
        await talk.until("input_audio_buffer.speech_started")
        mark = len(talk.seen)
        await talk.until("response.done")
        assert "response.output_audio.delta" not in talk.kinds(mark)


async def test_an_answer_may_be_left_to_speak(service: VoiceService) -> None:
    """The next turn is answered when this answer is over."""
    detection = {"type": "server_vad", "interrupt_response": False}
    service.gate = asyncio.Event()
    async with talking(service, {"audio": {"input": {"turn_detection": detection}}}) as talk:
        await begin(talk)
        talk.speak(said(300, 600, 700))
        await talk.until("input_audio_buffer.committed")
        await talk.quiet()
        assert len(talk.of("response.created")) == 1
        service.gate.set()
        assert (await talk.until("response.done"))["response"]["status"] == "completed"
        assert (await talk.until("response.done"))["response"]["status"] == "completed"
        assert [role for role, _ in words(talk)] == ["user", "assistant", "user"]


async def test_the_client_cancels(service: VoiceService) -> None:
    service.gate = asyncio.Event()
    async with talking(service) as talk:
        await begin(talk)
        talk.send("response.cancel", response_id="another")
        while (event := await talk.next())["type"] != "error":
            pass
        assert event["error"]["code"] == "response_cancel_not_active"
        talk.send("response.cancel", response_id=talk.of("response.created")[0]["response"]["id"])
        done = await talk.until("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        talk.send("response.cancel")
        assert (await talk.next())["error"]["code"] == "response_cancel_not_active"
    assert service.num_cancelled == 1


async def test_one_answer_at_a_time(service: VoiceService) -> None:
    service.gate = asyncio.Event()
    async with talking(service) as talk:
        await begin(talk)
        talk.send("response.create", event_id="mine")
        while (event := await talk.next())["type"] != "error":
            pass
        assert event["error"]["code"] == "conversation_already_has_active_response"
        assert event["error"]["event_id"] == "mine"


@pytest.mark.parametrize(
    ("end_ms", "kept"),
    [
        (0, ""),
        (299, "One sentence here."),
        (600, "One sentence here."),
        (700, "One sentence here. Another"),
        (10_000, "One sentence here. Another sentence there. And the last one."),
    ],
)
async def test_truncation_keeps_the_words_that_were_heard(
    service: VoiceService, end_ms: int, kept: str
) -> None:
    async with talking(service) as talk:
        talk.type("Tell me")
        talk.send("response.create")
        item_id = (await talk.until("response.done"))["response"]["output"][0]["id"]
        talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
        await talk.until("conversation.item.truncated")
        talk.send("conversation.item.retrieve", item_id=item_id)
        item = (await talk.until("conversation.item.retrieved"))["item"]
        assert item["content"][0]["transcript"] == kept


async def test_truncation_that_cannot_be(service: VoiceService) -> None:
    async with talking(service) as talk:
        talk.type("Tell me", id="mine")
        await talk.until("conversation.item.done")
        for item_id, message in (
            ("mine", "only the sound of an answer"),
            ("none", "there is no item 'none'"),
        ):
            talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1)
            error = (await talk.next())["error"]
            assert error["param"] == "item_id" and message in error["message"]


async def test_an_interrupted_turn_is_answered_with_the_next(service: VoiceService) -> None:
    """Who goes on before the answer has begun said both."""
    service.hearing_gate = asyncio.Event()
    service.heard = ("First.", "First.", "Second.", "Second.")
    async with talking(service) as talk:
        talk.speak(said(300, 600, 700, 600))
        while len(talk.of("input_audio_buffer.speech_started")) < 2:
            await talk.next()
        service.hearing_gate.set()
        talk.speak(silence(700))
        await talk.until("response.done")
        assert len(talk.of("response.created")) == 1
        assert [role for role, _ in words(talk)] == ["user", "user"]


async def test_a_hangup_cancels_everything(service: VoiceService) -> None:
    service.gate = asyncio.Event()
    async with talking(service) as talk:
        await begin(talk)
        talk.speak(vowels(600))
    assert service.num_cancelled == 1
    assert talk.gateway.turns.idle.is_set()


async def test_a_stop_of_the_server_ends_the_call(service: VoiceService) -> None:
    async with talking(service) as talk:
        talk.gateway.stopping.set()
        assert (await talk.next())["error"]["code"] == "cancelled"
        assert (await talk.task)[0] == 1001


async def test_a_call_that_brings_nothing_ends(service: VoiceService) -> None:
    async with talking(service, call_idle_s=0.01) as talk:
        assert (await talk.next())["error"]["code"] == "session_expired"
        assert (await talk.task)[0] == 1000


async def test_who_does_not_read_is_cut(service: VoiceService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgpt.server.realtime.outbox._MAX_BYTES", 20_000)
    async with talking(service) as talk:
        talk.reads.clear()
        for _ in range(400):
            talk.send("input_audio_buffer.clear")
        code, reason = await asyncio.wait_for(asyncio.shield(talk.task), 60)
        assert code == 1008 and "does not read" in reason


async def test_sound_waits_for_its_reader(service: VoiceService) -> None:
    """However long the answer: a second of sound waits on the way, and a few pieces before it."""
    service.deltas = ("This is a sentence of some length, that is said.\n",) * 60
    async with talking(service) as talk:
        talk.type("Tell me")
        talk.send("response.create")
        await talk.until("response.output_item.added")
        talk.reads.clear()
        for _ in range(2000):
            await asyncio.sleep(0)
        assert len(service.spoke) < 15 and talk.call.outbox._num_bytes < 200_000
        talk.reads.set()
        await talk.until("response.done")
        assert len(service.spoke) == 61  # the first one in two, to begin sooner


CALLS = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


async def test_a_function_is_called_and_its_output_answered(service: VoiceService) -> None:
    from tests.api.fake_service import call_deltas

    service.deltas = call_deltas("weather", '{"place":', ' "Rome"}')
    service.finish_reason = "tool_calls"
    async with talking(service, {"tools": [WEATHER], "tool_choice": "auto"}) as talk:
        talk.type("How is the weather in Rome?")
        talk.send("response.create")
        done = await talk.until("response.done")
        assert talk.kinds(3) == [*BEGUN[:3], *CALLS, "conversation.item.done", *ENDED[4:]]
        call = done["response"]["output"][0]
        assert (call["name"], call["arguments"], call["status"]) == (
            "weather",
            '{"place": "Rome"}',
            "completed",
        )
        assert service.chats[0].tools[0].name == "weather" and not service.spoke

        service.deltas, service.finish_reason = ("It rains.",), "stop"
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        talk.send("conversation.item.create", item=output)
        talk.send("response.create")
        await talk.until("response.done")
        asked, told = service.chats[1].messages[-2:]
        assert asked.tool_calls[0].arguments == '{"place": "Rome"}'
        assert (told.role, told.tool_call_id) == ("tool", asked.tool_calls[0].id)


async def test_words_before_a_call_are_an_item_of_their_own(service: VoiceService) -> None:
    from tests.api.fake_service import call_deltas

    service.deltas = (
        "Let me see. ",
        *call_deltas("weather", "{}"),
        *call_deltas("weather", "{}", index=1, id="call_2"),
    )
    service.finish_reason = "tool_calls"
    async with talking(service, {"tools": [WEATHER], "output_modalities": ["text"]}) as talk:
        talk.type("How is the weather?")
        talk.send("response.create")
        output = (await talk.until("response.done"))["response"]["output"]
        assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
        assert {item["status"] for item in output} == {"completed"}
        assert [event["output_index"] for event in talk.of("response.output_item.done")] == [0, 1, 2]
