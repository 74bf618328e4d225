"""`/v1/realtime` over a real socket: the official client, keys, limits, and many calls at once."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from localgpt.settings import Settings
from localgpt.tasks import ChatRequest, Event, ListenRequest, ListenResult, Request, TextPart
from tests.api.live import Live, live
from tests.realtime.speech import base64_of, said
from tests.realtime.voice_service import VoiceService

KEY = "a-key-of-the-operator"


@pytest.fixture
def service() -> VoiceService:
    return VoiceService(deltas=("It is noon.",))


@asynccontextmanager
async def caller(
    server: Live, query: str = "?model=gpt-realtime", **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{server.port}/v1/realtime{query}"
    async with connect(url, proxy=None, compression=None, **options) as socket:
        yield socket


async def refusal(server: Live, query: str = "?model=gpt-realtime", **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with caller(server, query, **options):
            pass
    response = caught.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body)["error"]["message"]


async def next_of(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        event: dict[str, Any] = json.loads(await socket.recv())
        assert kind == "error" or event["type"] != "error", event
        if event["type"] == kind:
            return event


async def test_the_official_client_speaks(service: VoiceService) -> None:
    async with (
        live(Settings(), service) as server,
        AsyncOpenAI(api_key="unused", base_url=f"http://127.0.0.1:{server.port}/v1") as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "audio": {"input": {"transcription": {"model": "whisper-1"}}, "output": {"voice": "marin"}},
            }
        )
        samples = said(300, 900, 700)
        for begin in range(0, len(samples), 2400):
            await connection.input_audio_buffer.append(audio=base64_of(samples[begin : begin + 2400]))
        kinds, sound, transcript = [], b"", ""
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            elif event.type == "conversation.item.input_audio_transcription.completed":
                transcript = event.transcript
            elif event.type == "response.done":
                assert event.response.status == "completed"
                break
        assert kinds[:2] == ["session.created", "session.updated"]
        assert transcript == "What time is it?" and len(sound) > 10_000
        await connection.response.create()
        await connection.response.cancel()
    assert service.chats[0].messages[0].content[0].text == "Be brief."  # type: ignore[union-attr]


async def test_the_official_client_types_and_calls_functions(service: VoiceService) -> None:
    async with (
        live(Settings(), service) as server,
        AsyncOpenAI(api_key="unused", base_url=f"http://127.0.0.1:{server.port}/v1") as client,
        client.realtime.connect(model="gpt-4o") as connection,
    ):
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        async for event in connection:
            if event.type == "response.output_text.done":
                assert event.text == "It is noon."
            if event.type == "response.done":
                break


async def test_keys(service: VoiceService) -> None:
    async with live(Settings(api_keys=(KEY,)), service) as server:
        assert (await refusal(server))[0] == 401
        assert (await refusal(server, additional_headers={"authorization": "Bearer wrong"}))[0] == 401
        protocols = ["realtime", "openai-insecure-api-key.wrong"]
        assert (await refusal(server, subprotocols=protocols))[0] == 401
        async with caller(server, additional_headers={"authorization": f"Bearer {KEY}"}) as socket:
            await next_of(socket, "session.created")
        protocols = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with caller(server, subprotocols=protocols) as socket:
            assert socket.subprotocol == "realtime"
            await next_of(socket, "session.created")

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            path = "/v1/realtime/client_secrets"
            assert (await http.post(path, json={})).status_code == 401
            http.headers["authorization"] = f"Bearer {KEY}"
            body = {
                "session": {"type": "realtime", "instructions": "Be kind."},
                "expires_after": {"seconds": 60},
            }
            made = (await http.post(path, json=body)).json()
            wrong = await http.post(path, json={"session": {"type": "realtime", "voice": "x"}})
            assert wrong.json()["error"]["param"] == "session.voice"
            assert (
                await http.get("/v1/models", headers={"authorization": f"Bearer {made['value']}"})
            ).status_code == 401
        protocols = ["realtime", f"openai-insecure-api-key.{made['value']}"]
        async with caller(server, "", subprotocols=protocols) as socket:
            assert (await next_of(socket, "session.created"))["session"]["instructions"] == "Be kind."


async def test_other_sites_and_names_are_kept_out(service: VoiceService) -> None:
    async with live(Settings(), service) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with caller(server, origin="https://evil.example"):
                pass
        assert caught.value.response.status_code == 403
        async with caller(server, origin=f"http://127.0.0.1:{server.port}") as socket:
            await next_of(socket, "session.created")


async def test_what_keeps_a_call_out_is_told(service: VoiceService) -> None:
    async with live(Settings(max_calls=1), service) as server:
        status, message = await refusal(server, "?model=gpt-realtime&voice=x")
        assert status == 400 and "voice is not a parameter" in message
        async with caller(server) as first:
            await next_of(first, "session.created")
            status, message = await refusal(server)
            assert status == 503 and "which is the limit" in message
            metrics = await server.ask(
                "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
            )
            assert "localgpt_calls 1.0" in metrics
        while server.app.state.gateway.calls:
            await asyncio.sleep(0)
        async with caller(server, "?model=nobody") as socket:
            assert (await next_of(socket, "error"))["error"]["code"] == "model_not_found"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1008
    async with live(Settings(enable_voice=False), service) as server:
        status, message = await refusal(server)
        assert status == 501 and "enable语音" in message
    async with live(Settings(max_connections=1), service) as server, caller(server) as first:
        await next_of(first, "session.created")
        assert (await refusal(server))[0] == 503


async def test_the_end_of_the_server_is_told(service: VoiceService) -> None:
    async with live(Settings(drain_s=0.0), service) as server:
        async with caller(server) as socket:
            await next_of(socket, "session.created")
            server.server.stop()
            assert (await next_of(socket, "error"))["error"]["message"] == "the server is stopping"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        await server.task


async def test_a_client_that_reads_nothing_is_cut(service: VoiceService) -> None:
    service.deltas = ("A sentence that is spoken for a while, again and again.\n",) * 4000
    async with live(Settings(write_timeout_s=0.1), service) as server:
        async with caller(server, max_queue=1, close_timeout=0.1) as socket:
            await next_of(socket, "session.created")
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await socket.send(json.dumps({"type": "response.create"}))
            while server.app.state.gateway.calls or not service.chats:
                await asyncio.sleep(0.01)
        assert server.app.state.gateway.turns.idle.is_set()


class Echo(VoiceService):
    """Hears what a caller says by how long they say it, and repeats it."""

    async def _hear(self, request: ListenRequest) -> ListenResult:
        seconds = (len(request.audio.data) - 44) / 48_000
        return ListenResult(
            text=f"{round(seconds * 10)}", language="en", duration_s=seconds, segments=(), model="m"
        )

    async def stream(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, ChatRequest):
            part = request.messages[-1].content[0]
            assert isinstance(part, TextPart)
            self.deltas = (f"number {part.text}.",)
        async for event in super().stream(request):
            yield event


@pytest.mark.parametrize(
    "num_calls", [pytest.param(5, id="five"), pytest.param(20, id="twenty", marks=pytest.mark.prove)]
)
async def test_calls_do_not_hear_each_other(num_calls: int) -> None:
    service = Echo()
    async with live(Settings(max_batch_size=2), service) as server:

        async def talk(number: int) -> list[str]:
            said_back = []
            async with caller(server) as socket:
                await next_of(socket, "session.created")
                session = {"audio": {"input": {"turn_detection": None}}}
                await socket.send(json.dumps({"type": "session.update", "session": session}))
                for turn in range(3):
                    ms = 500 + 100 * number + 3000 * turn
                    for _ in range(ms // 100):
                        await socket.send(
                            json.dumps({"type": "input_audio_buffer.append", "audio": base64_of(said(100))})
                        )
                    await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
                    await socket.send(json.dumps({"type": "response.create"}))
                    response = (await next_of(socket, "response.done"))["response"]
                    assert response["status"] == "completed", response
                    said_back.append(response["output"][0]["content"][0]["transcript"])
            return said_back

        answers = await asyncio.gather(*(talk(number) for number in range(num_calls)))
    for number, said_back in enumerate(answers):
        assert said_back == [f"number {5 + number + 30 * turn}." for turn in range(3)]
