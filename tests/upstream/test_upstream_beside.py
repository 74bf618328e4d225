"""Upstreams beside a server's own models: who is asked, and that one that hangs holds up nobody else."""

from __future__ import annotations

import asyncio

import httpx

from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.beside import beside_upstreams
from localgpt.server import create_app
from localgpt.settings import Settings, UpstreamSettings
from tests.api.fake_service import FakeService
from tests.upstream.wire_server import Asked, streams, text_chunks, wire_server

OWN = "local/multimodal-base"


def client_of(settings: Settings, own: FakeService, *upstreams: Upstream) -> httpx.AsyncClient:
    app = create_app(settings, beside_upstreams(own, upstreams))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000")


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


async def test_each_model_is_asked_where_it_is() -> None:
    own = FakeService()
    async with wire_server(streams(*text_chunks("from afar"))) as server:
        entry = UpstreamSettings(base_url=server.url, allow_remote=True)
        upstream = Upstream(name="box", base_url=server.url, allow_remote=True)
        async with client_of(Settings(upstreams={"box": entry}), own, upstream) as http:
            for model, said in ((OWN, "Hello, world."), ("upstream:box/m", "from afar")):
                reply = (await http.post("/v1/chat/completions", json=body(model))).json()
                assert reply["choices"][0]["message"]["content"] == said and reply["model"] == model
            status = (await http.get("/v1/status")).json()
            assert status["device"] == "cpu"
            assert "what is asked of upstream:box may leave this machine" in status["notices"][-1]
            assert len(own.requests) == 1


async def test_one_that_hangs_leaves_the_slots_to_the_models_here() -> None:
    never = asyncio.Event()

    async def hang(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.method == "POST":
            await never.wait()

    async with wire_server(hang) as server:
        settings = Settings(
            upstreams={"box": UpstreamSettings(base_url=server.url)}, max_batch_size=1, max_queue=0
        )
        upstream = Upstream(name="box", base_url=server.url)
        async with client_of(settings, FakeService(), upstream) as http:
            posts = [http.post("/v1/chat/completions", json=body("upstream:box/m")) for _ in range(8)]
            waiting = [asyncio.ensure_future(post) for post in posts]
            while sum(asked.method == "POST" for asked in server.asked) < 8:
                await asyncio.sleep(0.001)
            assert (await http.post("/v1/chat/completions", json=body(OWN))).status_code == 200
            assert (await http.get("/v1/status")).json()["num_running"] == 8
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (await http.get("/v1/status")).json()["num_running"] == 0


def test_without_upstreams_a_service_is_itself() -> None:
    own = FakeService()
    assert beside_upstreams(own, ()) is own
