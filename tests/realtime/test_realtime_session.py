"""Sessions, items and events that do not fit: everything is honoured, or refused by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from localgpt.errors import CapacityError
from localgpt.server.access import Caller
from localgpt.server.realtime.items import MAX_SOUND_BYTES, Content, Conversation, ConversationItem
from localgpt.server.realtime.secrets import ClientSecrets
from localgpt.server.realtime.session import first_session
from localgpt.tasks import EMBEDDED_MODEL_ID, ImagePart
from tests.realtime.speech import vowels
from tests.realtime.talking import TEXT, talking
from tests.realtime.voice_service import VoiceService


@pytest.fixture
def service() -> VoiceService:
    return VoiceService()


async def test_a_session_is_shown_whole(service: VoiceService) -> None:
    async with talking(service) as talk:
        session = talk.seen[0]["session"]
        assert (session["type"], session["model"], session["object"]) == (
            "realtime",
            EMBEDDED_MODEL_ID,
            "realtime.session",
        )
        assert session["output_modalities"] == ["audio"] and session["instructions"]
        assert session["audio"] == {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": None, "speed": 1.0},
        }


async def test_updates_change_what_they_send(service: VoiceService) -> None:
    async with talking(service) as talk:
        for given in (
            {"instructions": "Be brief."},
            {"type": "realtime", "audio": {"output": {"voice": "marin"}}},
            {"audio": {"input": {"turn_detection": None}}},
            {"audio": {"input": {"transcription": {"language": "zh"}}}, "tracing": "auto"},
            {"tools": [{"type": "function", "name": "f"}], "max_output_tokens": 50},
        ):
            talk.send("session.update", session=given)
            session = (await talk.until("session.updated"))["session"]
        assert session["instructions"] == "Be brief." and session["tracing"] is None
        assert session["audio"]["output"]["voice"] == "marin" and session["audio"]["output"]["speed"] == 1.0
        assert session["audio"]["input"]["turn_detection"] is None
        assert session["audio"]["input"]["transcription"] == {"language": "zh"}
        assert [tool["name"] for tool in session["tools"]] == ["f"]
        talk.send("session.update", session={"instructions": "", "tools": []})
        session = (await talk.until("session.updated"))["session"]
        assert session["instructions"] == "" and session["tools"] == []
        talk.type("Hello")
        talk.send("response.create", response={**TEXT, "max_output_tokens": 7, "metadata": {"a": "b"}})
        response = (await talk.until("response.done"))["response"]
        assert response["metadata"] == {"a": "b"} and response["max_output_tokens"] == 7
    assert service.chat.options.max_tokens == 7
    assert [message.role for message in service.chat.messages] == ["user"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"temperature": 1.0}, "session.temperature"),
        ({"output_modalities": []}, "session.output_modalities"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
         "session.audio.input.format.rate"),
        ({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
         "session.audio.input.noise_reduction"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
         "session.audio.input.turn_detection.threshold"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}},
         "session.audio.input.turn_detection.idle_timeout_ms"),
        ({"audio": {"output": {"speed": 3.0}}}, "session.audio.output.speed"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0]"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "function", "name": "f"}]}, "tools[1].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name"),
        ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
        ({"reasoning": {"effort": "low"}}, "session.reasoning"),
        ({"max_output_tokens": 5000}, "session.max_output_tokens"),
        ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
        ({"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}}, "session.truncation"),
        ({"type": "transcription"}, "session.type"),
        ({"model": "nobody"}, "model"),
    ],
)  # fmt: skip
async def test_what_a_session_cannot_be(service: VoiceService, session: dict[str, Any], param: str) -> None:
    async with talking(service) as talk:
        talk.send("session.update", session=session, event_id="mine")
        error = (await talk.next())["error"]
        assert error["event_id"] == "mine" and error["type"] == "invalid_request_error"
        assert (error["param"] or "").startswith(param), error
        talk.send("session.update", session={})
        assert (await talk.until("session.updated"))["session"] == talk.seen[0]["session"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"type": "nothing"}', "no such event"),
        ('{"type": "input_audio_buffer.append"}', "audio is missing"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "base64"),
        ('{"type": "input_audio_buffer.append", "audio": "AA=="}', "end within a sample"),
        ('{"type": "response.create", "response": {"input": []}}', "response.input"),
        ('{"type": "response.create", "response": {"conversation": "none"}}', "response.conversation"),
        ('{"type": "response.create"}', "nothing to answer"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "no item"),
        (
            '{"type": "conversation.item.create", "item": {"type": "mcp_call"}}',
            "expected an object whose type",
        ),
    ],
)
async def test_events_that_do_not_fit(service: VoiceService, text: str, message: str) -> None:
    async with talking(service) as talk:
        talk.inbox.put_nowait(text)
        while (event := await talk.next())["type"] in ("response.created",):
            pass
        error = event["error"] if event["type"] == "error" else event["response"]["status_details"]["error"]
        assert message in error["message"]
        talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")


async def test_the_voice_stays(service: VoiceService) -> None:
    async with talking(service) as talk:
        talk.type("Hello")
        talk.send("response.create")
        await talk.until("response.done")
        talk.send("session.update", session={"audio": {"output": {"voice": "cedar"}}})
        assert (await talk.next())["error"]["code"] == "cannot_update_voice"
        talk.send("session.update", session={"audio": {"output": {"speed": 1.25}}})
        await talk.until("session.updated")
        talk.send("response.create")
        await talk.until("response.done")
    assert (service.spoke[-1].speed, service.spoke[-1].voice) == (1.25, None)


async def test_voices_of_the_model_are_asked_for_by_name(service: VoiceService) -> None:
    async with talking(service, {"audio": {"output": {"voice": {"id": "3"}}}}) as talk:
        talk.type("Hello")
        talk.send("response.create")
        done = await talk.until("response.done")
        assert done["response"]["audio"]["output"]["voice"] == "3"
    assert service.spoke[0].voice == "3"


async def test_members_are_named(service: VoiceService) -> None:
    session = {
        "localgpt": {"listener": "open/old-ears", "speaker": "open/mouth"},
        "audio": {"input": {"turn_detection": None}},
    }
    async with talking(service, session) as talk:
        talk.speak(vowels(500))
        talk.send("input_audio_buffer.commit")
        talk.send("response.create")
        await talk.until("response.done")
        assert service.listened[0].model == "open/old-ears"
        talk.send("session.update", session={"localgpt": {"listener": "open/mouth"}})
        await talk.until("session.updated")
        talk.speak(vowels(500))
        assert "cannot listen, it can speak" in (await talk.next())["error"]["message"]


async def test_items(service: VoiceService) -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    async with talking(service, TEXT) as talk:
        talk.type("first", id="one")
        talk.send(
            "conversation.item.create",
            item={
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "transcript": "said"}],
                "id": "two",
            },
        )
        talk.send(
            "conversation.item.create",
            previous_item_id="root",
            item={"type": "message", "role": "system", "content": [{"type": "input_text", "text": "rule"}]},
        )
        talk.send(
            "conversation.item.create",
            previous_item_id="one",
            item={
                "type": "message",
                "role": "user",
                "id": "shown",
                "content": [
                    {"type": "input_text", "text": "what is it?"},
                    {"type": "input_image", "image_url": picture},
                ],
            },
        )
        added = [await talk.until("conversation.item.added") for _ in range(4)]
        assert [event["previous_item_id"] for event in added] == [None, "one", None, "one"]
        talk.send("response.create", response={"instructions": "Be kind."})
        await talk.until("response.done")
        messages = service.chat.messages
        assert [message.role for message in messages] == ["system", "system", "user", "user", "assistant"]
        assert isinstance(messages[3].content[1], ImagePart)
        talk.send("conversation.item.delete", item_id="shown")
        assert (await talk.until("conversation.item.deleted"))["item_id"] == "shown"
        talk.type("again", id="one")
        assert (await talk.next())["error"]["param"] == "item.id"
        talk.send(
            "conversation.item.create",
            previous_item_id="gone",
            item={"type": "function_call_output", "call_id": "c", "output": ""},
        )
        assert (await talk.next())["error"]["param"] == "previous_item_id"


async def test_sound_in_an_item_is_heard(service: VoiceService) -> None:
    sound = base64.b64encode(vowels(300).tobytes()).decode()
    async with talking(service, TEXT) as talk:
        content = [{"type": "input_audio", "audio": sound}]
        talk.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": content, "id": "a"},
        )
        talk.send("response.create")
        await talk.until("response.done")
        assert service.chat.messages[-1].content[0].text == "What time is it?"  # type: ignore[union-attr]
        talk.send("conversation.item.retrieve", item_id="a")
        item = (await talk.until("conversation.item.retrieved"))["item"]
        assert item["content"] == [{"type": "input_audio", "audio": sound, "transcript": "What time is it?"}]


def test_what_a_conversation_keeps_is_bounded() -> None:
    conversation = Conversation()
    parts = []
    for number in range(600):
        part = Content(kind="input_audio", text="x" * 10_000)
        part.keep_sound(bytes(MAX_SOUND_BYTES // 4))
        parts.append(part)
        gone = conversation.add(ConversationItem(id=f"i{number}", content=[part]))
        assert len(gone) <= 1
    kept = [item.id for item in conversation]
    assert kept[-1] == "i599" and 400 < len(kept) < 500
    assert sum(len(part.sound) for part in parts) == MAX_SOUND_BYTES
    assert parts[-1].sound and not parts[0].sound


def test_sound_too_long_to_keep_is_let_go_and_counted() -> None:
    part = Content(kind="output_audio")
    for _ in range(10):
        part.keep_sound(bytes(MAX_SOUND_BYTES // 8))
    assert part.sound == b"" and part.num_sound == 10 * (MAX_SOUND_BYTES // 8)


def test_client_secrets_expire_and_are_bounded() -> None:
    now = 1000.0
    secrets = ClientSecrets(clock=lambda: now)
    caller = Caller(owner="a", role="user")
    secret, expires_at = secrets.make(caller, first_session(), 60)
    assert secret.startswith("ek_") and expires_at == 1060
    assert secrets.find(secret) is not None and secrets.find("ek_other") is None and secrets.find("") is None
    now = 1061.0
    assert secrets.find(secret) is None
    for _ in range(1000):
        secrets.make(caller, first_session(), 60)
    with pytest.raises(CapacityError):
        secrets.make(caller, first_session(), 60)
    secrets.make(Caller(owner="b", role="user"), first_session(), 60)
    now = 1200.0
    secrets.make(caller, first_session(), 60)
