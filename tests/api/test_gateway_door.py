"""What a full queue says before a request is read."""

from __future__ import annotations

import asyncio

import pytest

from localgpt.errors import CapacityError
from localgpt.server.turns import Turns
from localgpt.settings import UpstreamSettings
from tests.api.fake_service import FakeService
from tests.api.test_gateway_admission import HELLO, SMALL, app_of, client_of, fill, leave, settle
from tests.api.wire import Wire

MODEL_WORK = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/vision/describe",
    "/v1/vision/ask",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/api/conversations/1/answer",
)


async def test_a_full_queue_refuses_model_work_unread_and_nothing_else(service: FakeService) -> None:
    app = app_of(service)
    wires = [*await fill(app, service), Wire(app, HELLO)]
    await settle(app, 1)
    broken = b'{"messages": ['  # whoever reads this finds a 400
    async with client_of(app) as client:
        for path in MODEL_WORK:
            reply = await client.post(path, content=broken)
            assert reply.status_code == 503 and reply.json()["error"]["code"] == "overloaded", path
            assert int(reply.headers["retry-after"]) >= 1
        refused = (await client.get("/metrics")).text
        assert f'localgpt_admissions_refused_total{{reason="queue_full"}} {len(MODEL_WORK)}.0' in refused
        assert (await client.post("/v1/vision/detect", json={})).status_code == 501
        assert (await client.get("/v1/models")).status_code == 200
    await leave(*wires)


async def test_a_full_queue_is_none_of_an_upstreams(service: FakeService) -> None:
    upstreams = {"far": UpstreamSettings(base_url="http://127.0.0.1:1/v1")}
    app = app_of(service, SMALL.model_copy(update={"upstreams": upstreams}))
    wires = [*await fill(app, service), Wire(app, HELLO)]
    await settle(app, 1)
    async with client_of(app) as client:
        far = asyncio.ensure_future(client.post(MODEL_WORK[0], json={**HELLO, "model": "upstream:far/m"}))
        here = await client.post(MODEL_WORK[0], json=HELLO)
        assert here.status_code == 503 and here.json()["error"]["code"] == "overloaded"
        await leave(*wires)
        assert service.gate is not None
        service.gate.set()
        assert (await far).status_code == 200


async def test_with_room_bodies_are_read(service: FakeService) -> None:
    async with client_of(app_of(service)) as client:
        for path in MODEL_WORK[:-1]:  # the last one needs a store
            assert (await client.post(path, content=b"{")).status_code == 400, path


def test_the_door_says_what_the_queue_would_say() -> None:
    turns = Turns(num_slots=1, max_waiting=2)
    turns.refuse_when_full("flood")
    turns.enter("flood")
    waiting = [turns.enter("flood") for _ in range(2)]
    with pytest.raises(CapacityError):
        turns.refuse_when_full("flood")
    turns.refuse_when_full("other")  # the flood's newest gives way
    turns.enter("other")
    assert [place.refusal is not None for place in waiting] == [False, True]
    with pytest.raises(CapacityError):
        turns.refuse_when_full("other")
    with pytest.raises(CapacityError):
        turns.enter("other")


async def test_a_door_that_refused_holds_nobody(service: FakeService) -> None:
    app = app_of(service)
    wires = [*await fill(app, service), Wire(app, HELLO)]
    await settle(app, 1)
    async with client_of(app) as client:
        await asyncio.gather(*(client.post(MODEL_WORK[0], json=HELLO) for _ in range(20)))
    assert app.state.gateway.turns.num_waiting == 1
    await leave(*wires)
    assert app.state.gateway.turns.idle.is_set()
