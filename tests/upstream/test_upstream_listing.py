"""The upstreams' models: told as last heard, asked again in the background, and never waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localgpt.errors import LocalGPTError
from localgpt.runtime.upstream import listing
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.listing import Listing, Survey, ask_models
from localgpt.runtime.upstream.service import UpstreamService
from tests.upstream.asking import KEY, service_of
from tests.upstream.wire_server import Asked, WireServer, says, sends, wire_server

LIST = {
    "object": "list",
    "data": [
        {"id": "llama3.2:3b", "created": 1_700_000_000, "owned_by": "library"},
        {"id": "Qwen/Qwen3-4B", "max_model_len": 40960},
        {"id": "tiny.gguf", "created": "today", "meta": {"n_ctx_train": 2048, "n_params": 15_000_000}},
        {"id": "gpt-4o", "localgpt": {"alias_of": "local/multimodal-base"}},
        {"id": "upstream:next/model"},
        {"id": ""},
        {"id": "a\nb"},
        {"id": "x" * 300},
        {"id": 5},
        {},
    ],
}


def listing_of(server: WireServer, **given: Any) -> Listing:
    return Listing(Upstream(name="box", base_url=server.url, **given), first_wait_s=60.0)


async def test_models_are_listed_under_the_upstreams_name() -> None:
    async with wire_server(says(LIST)) as server:
        service = service_of(server, key=KEY, allow_remote=True)
        status = await service.status()
        assert [model.id for model in status.models] == [
            "upstream:box/llama3.2:3b",
            "upstream:box/Qwen/Qwen3-4B",
            "upstream:box/tiny.gguf",
        ]
        assert [model.context_len for model in status.models] == [0, 40960, 2048]
        assert [model.created for model in status.models] == [1_700_000_000, 0, 0]
        assert status.models[2].num_params == 15_000_000 and status.models[0].num_params == 0
        assert status.models[0].upstream == f"127.0.0.1:{server.port}" and status.models[0].leaves_machine
        assert status.ready and status.notices == service.notices and len(status.notices) == 1
        assert (server.last.method, server.last.path) == ("GET", "/v1/models")
        assert server.last.headers["authorization"] == f"Bearer {KEY}" and server.last.body is None


async def test_one_that_says_nothing_holds_nobody_up() -> None:
    never = asyncio.Event()

    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with wire_server(silent) as server, wire_server(says(LIST)) as other:
        upstreams = [
            Upstream(name=name, base_url=one.url) for name, one in (("away", server), ("box", other))
        ]
        service = UpstreamService(upstreams, first_wait_s=0.0)
        while not (await service.status()).models:  # the other one's come as soon as they are there
            await asyncio.sleep(0)
        assert {model.id.partition("/")[0] for model in (await service.status()).models} == {"upstream:box"}
        assert len(server.asked) == 1 and len(other.asked) == 1
        await service.close()
        await server.gone.wait()


async def test_what_is_old_is_asked_again_and_kept_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_FRESH_S", -1.0)
    async with wire_server(says(LIST)) as server:
        known = listing_of(server)
        first = await known.look()
        server.script = sends(b"")
        assert await known.look() == first  # at once; the question is under way
        while (latest := await known.look()).trouble is None:
            await asyncio.sleep(0)
        assert latest.models == first.models and "broke off" in (latest.trouble or "")
        await known.close()


async def test_what_is_new_is_not_asked_again() -> None:
    async with wire_server(says(LIST)) as server:
        known = listing_of(server)
        assert await known.look() == await known.look()
        assert len(server.asked) == 1


async def test_one_that_was_never_there_has_no_models() -> None:
    async with wire_server(says(b"", 500)) as server:
        survey = await listing_of(server).look()
    assert survey == Survey(trouble="upstream box says (500): nothing that explains it")


@pytest.mark.parametrize("body", [b"{", [], {"data": 5}, {"data": [5]}, {"data": "x"}])
async def test_a_list_that_is_none(body: Any) -> None:
    async with wire_server(says(body)) as server:
        with pytest.raises(LocalGPTError, match="upstream box"):
            await ask_models(Upstream(name="box", base_url=server.url))


async def test_a_list_may_be_empty_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire_server(says({"data": None})) as server:
        upstream = Upstream(name="box", base_url=server.url)
        assert await ask_models(upstream) == ()
        server.script = says({"data": [{"id": str(number)} for number in range(1200)]})
        assert len(await ask_models(upstream)) == 1000
        monkeypatch.setattr(listing, "_MAX_BYTES", 1000)
        with pytest.raises(LocalGPTError, match="more than 1,000 bytes"):
            await ask_models(upstream)


def test_it_may_be_looked_at_from_one_loop_after_another() -> None:
    """A question that was under way when its loop ended is asked again in the next."""

    async def left_open(known: Listing) -> None:
        await known.look()

    async def twice() -> None:
        async with wire_server(says(LIST)) as server:
            known = listing_of(server)
            known._first_wait_s = 0.0
            await asyncio.to_thread(asyncio.run, left_open(known))
            known._first_wait_s = 60.0
            assert len((await known.look()).models) == 3

    asyncio.run(twice())
