"""LocalGPT behind LocalGPT: a server whose upstream is another one, asked by the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import httpx2
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from localgpt.errors import InputError
from localgpt.runtime.upstream.address import read_upstreams
from localgpt.runtime.upstream.service import UpstreamService
from localgpt.server import create_app
from localgpt.settings import Settings, UpstreamSettings
from tests.api.fake_service import FakeService, call_deltas, likely
from tests.api.live import live

MODEL = "upstream:box/local/multimodal-base"
KEY = "a-long-enough-key"
HELLO = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def chained(behind: FakeService) -> AsyncIterator[AsyncOpenAI]:
    """A client of a server without models of its own, which asks one with the given service and a key."""
    async with live(Settings(api_keys=(KEY,)), behind) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        entry = UpstreamSettings(base_url=url, kind="localgpt", api_key_env="BOX_KEY")
        upstreams = {"box": entry, "gone": UpstreamSettings(base_url="http://127.0.0.1:1/v1")}
        settings = Settings(upstreams=upstreams, model_aliases={"gpt-4o": MODEL})
        service = UpstreamService(read_upstreams(upstreams, {"BOX_KEY": KEY}), first_wait_s=60.0)
        async with (
            live(settings, service) as front,
            AsyncOpenAI(
                base_url=f"http://127.0.0.1:{front.port}/v1",
                api_key="unused",
                max_retries=0,
                http_client=httpx2.AsyncClient(trust_env=False),
                _strict_response_validation=True,
            ) as client,
        ):
            yield client


async def test_models_say_where_they_are() -> None:
    async with chained(FakeService()) as client:
        models = {model.id: model async for model in await client.models.list()}
        assert list(models)[:2] == ["local/multimodal-base", MODEL] and "gpt-4o" in models
        assert "upstream:box/gpt-4o" not in models, "aliases of the upstream stay there"
        extension = models[MODEL].model_extra or {}
        assert extension["localgpt"]["leaves_machine"] is False
        assert extension["localgpt"]["upstream"].startswith("127.0.0.1:")
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(NotFoundError, match="not in the list of its upstream"):
            await client.models.retrieve("upstream:box/other")


async def test_chat_whole_and_streamed() -> None:
    behind = FakeService(deltas=(likely("Hel", -0.5, Hal=-1.0), "lo."))
    async with chained(behind) as client:
        reply = await client.chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            temperature=0.7,
            seed=5,
            logprobs=True,
            top_logprobs=1,
            extra_body={"top_k": 3, "repetition_penalty": 1.1},
        )
        choice = reply.choices[0]
        assert (choice.message.content, choice.finish_reason, reply.model) == ("Hello.", "stop", MODEL)
        assert choice.logprobs is not None and choice.logprobs.content is not None
        assert choice.logprobs.content[0].top_logprobs[0].token == "Hal"
        assert reply.usage is not None and reply.usage.total_tokens == 10
        options = behind.chat.options
        assert (options.temperature, options.seed, options.top_k, options.repetition_penalty) == (
            0.7,
            5,
            3,
            1.1,
        )
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        assert (
            "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            == "Hello."
        )


async def test_tools_texts_and_vectors() -> None:
    behind = FakeService(deltas=call_deltas("clock", "{", "}"), finish_reason="tool_calls")
    async with chained(behind) as client:
        function = {"name": "clock", "parameters": {"type": "object", "properties": {}}}
        reply = await client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            tools=[{"type": "function", "function": function}],
            tool_choice="required",
        )
        calls = reply.choices[0].message.tool_calls
        assert calls is not None and calls[0].function.arguments == "{}"
        assert behind.chat.tool_choice.mode == "required" and behind.chat.tools[0].name == "clock"
        behind.deltas, behind.finish_reason = ("abc",), "length"
        text = await client.completions.create(model=MODEL, prompt="Once", max_tokens=3)
        assert (text.choices[0].text, text.choices[0].finish_reason) == ("abc", "length")
        vectors = await client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
        assert [round(number, 6) for number in vectors.data[1].embedding] == [0.6, 0.8, 0.0]


async def test_refusals_come_through_with_their_field() -> None:
    behind = FakeService(error=InputError("the seed is unlucky", param="seed"))
    async with chained(behind) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=HELLO, seed=13)
        assert caught.value.param == "seed" and "upstream box says (400): the seed is unlucky" in str(
            caught.value
        )
        with pytest.raises(NotFoundError, match="no model is called"):
            await client.chat.completions.create(model="upstream:nobody/m", messages=HELLO)
        with pytest.raises(BadRequestError, match="no model is called 'other'"):
            await client.chat.completions.create(model="upstream:box/other", messages=HELLO)


async def test_a_client_that_leaves_ends_the_work_behind() -> None:
    behind = FakeService(gate=asyncio.Event())
    async with chained(behind) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()
        async with asyncio.timeout(60):
            while not behind.num_cancelled:
                await asyncio.sleep(0.001)


async def test_one_that_is_away_is_a_503() -> None:
    settings = Settings(upstreams={"gone": UpstreamSettings(base_url="http://127.0.0.1:1/v1")})
    service = UpstreamService(read_upstreams(settings.upstreams, {}))
    transport = httpx.ASGITransport(create_app(settings, service))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        body = {"model": "upstream:gone/m", "messages": HELLO}
        response = await http.post("/v1/chat/completions", json=body)
        assert response.status_code == 503 and response.json()["error"]["code"] == "backend_unavailable"
        assert "upstream gone at 127.0.0.1:1 cannot be reached" in response.json()["error"]["message"]
