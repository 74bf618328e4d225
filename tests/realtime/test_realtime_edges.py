"""Calls at their edges: odd texts, long recordings, keys that are gone, models that fail half-way."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from localgpt.tasks import ChatRequest, Event, Request
from tests.realtime.speech import said, silence
from tests.realtime.talking import PATIENCE_S, TEXT, Talk, talking
from tests.realtime.voice_service import VoiceService


@pytest.fixture
def service() -> VoiceService:
    return VoiceService(deltas=("It is noon.",))


async def test_half_of_a_character_does_not_end_the_call(service: VoiceService) -> None:
    """Such a text has no UTF-8; the error that names it must be written all the same."""
    async with talking(service) as talk:
        talk.send("nothing", event_id="\ud800")
        assert (await talk.next())["error"]["event_id"] == "\ud800"
        assert all(text.encode() for text in talk.texts)


async def test_a_session_that_is_too_deep_is_refused(service: VoiceService) -> None:
    async with talking(service) as talk:
        deep = '{"a":' * 990 + "1" + "}" * 990
        talk.inbox.put_nowait('{"type":"session.update","session":{"tracing":' + deep + "}}")
        assert (await talk.next())["type"] in ("error", "session.updated")
        await talk.quiet()


async def test_a_long_recording_of_an_item_is_heard(service: VoiceService) -> None:
    """It is more than a conversation keeps: it is heard before it is dropped, and its length is told."""
    sound = bytes(48 * 180_000)
    async with talking(service, {"audio": {"input": {"transcription": {}}}}) as talk:
        content = [{"type": "input_audio", "audio": base64.b64encode(sound).decode()}]
        talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        told = await talk.until("conversation.item.input_audio_transcription.completed")
        assert told["usage"] == {"type": "duration", "seconds": 180.0}
        assert not any(part.sound for item in talk.call.conversation for part in item.content)


async def test_an_answer_ahead_is_given_up_where_nobody_speaks_any_more(service: VoiceService) -> None:
    service.gate = asyncio.Event()
    async with talking(service) as talk:
        talk.speak(said(300, 900, 100))
        while not service.chats:
            await asyncio.sleep(0)
        service.speaks = False
        talk.speak(silence(700))
        while (event := await talk.next())["type"] != "error":
            pass
        assert event["error"]["code"] == "no_speaker"
        await talk.quiet()
        assert service.num_cancelled == 1


async def test_what_was_said_is_answered_once_the_next_turn_is_dropped(service: VoiceService) -> None:
    service.hearing_gate = asyncio.Event()
    async with talking(service, TEXT) as talk:
        talk.speak(said(300, 900, 700))
        await talk.until("input_audio_buffer.committed")
        talk.speak(said(100, 990))
        await talk.until("input_audio_buffer.speech_started")
        service.hearing_gate.set()
        await talk.quiet()
        assert not talk.of("response.created")
        talk.send("input_audio_buffer.clear")
        await talk.until("response.done")


@dataclass
class Broken(VoiceService):
    """Fails in a way that no model should."""

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, ChatRequest):
            raise KeyError("a bug")
        async for event in super().stream(request):
            yield event


@pytest.mark.parametrize("session", [{}, TEXT], ids=["sound", "words"])
async def test_a_bug_ends_the_call_instead_of_leaving_it_silent(session: dict[str, object]) -> None:
    talk = Talk(Broken(), session)
    talk.type("Hi")
    talk.send("response.create")
    with pytest.raises(KeyError):
        async with asyncio.timeout(PATIENCE_S):
            await talk.task
