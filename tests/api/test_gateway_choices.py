"""Several answers of one request: all of them find a place, or none is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from localgpt.errors import InputError, RateLimitError
from localgpt.server import create_app
from localgpt.server.turns import Limits, Turns
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
Connect = Callable[..., httpx.AsyncClient]


class OneLimit:
    """The same for everybody."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def limits_of(self, owner: str) -> Limits:
        return self.limits


@pytest.mark.parametrize("limits", [Limits(max_parallel=2), Limits(requests_per_minute=2)])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, "n": 3}),
        ("/v1/completions", {"prompt": "x", "n": 3}),
        ("/v1/completions", {"prompt": ["x", "y", "z"]}),
    ],
)
async def test_more_answers_than_a_key_may_have(
    service: FakeService, connect: Connect, limits: Limits, stream: bool, path: str, body: Any
) -> None:
    app = create_app(Settings(), service)
    app.state.gateway.turns.limits = OneLimit(limits)
    reply = await connect(app).post(path, json={**body, "stream": stream})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "n" if "n" in body else "prompt")
    assert not service.requests


async def test_more_answers_than_the_server_takes(service: FakeService, connect: Connect) -> None:
    client = connect(create_app(Settings(max_batch_size=1, max_queue=0), service))
    best = {"prompt": "x", "best_of": 4}
    assert (await client.post("/v1/completions", json=best)).json()["error"]["param"] == "best_of"
    assert (await client.post("/v1/completions", json={**best, "best_of": 3})).status_code == 200


async def test_answers_that_do_not_fit_now_use_nothing_up(service: FakeService, connect: Connect) -> None:
    app = create_app(Settings(), service)
    app.state.gateway.turns.limits = OneLimit(Limits(requests_per_minute=4))
    client = connect(app)
    assert (await client.post("/v1/chat/completions", json={**CHAT, "n": 2})).status_code == 200
    for _ in range(3):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "n": 3})
        assert reply.status_code == 429 and int(reply.headers["retry-after"]) >= 1
    assert (await client.post("/v1/chat/completions", json={**CHAT, "n": 2})).status_code == 200
    assert 'refused_total{reason="own_limit"} 3.0' in (await client.get("/metrics")).text


def test_when_several_fit_again() -> None:
    clock = [0.0]
    limits = OneLimit(Limits(requests_per_minute=3, max_parallel=3))
    turns = Turns(num_slots=9, max_waiting=9, limits=limits, clock=lambda: clock[0])
    for clock[0] in (0.0, 10.0, 20.0):
        turns.leave(turns.enter("a"))
    clock[0] = 30.0
    for number, wait_s in ((1, 30.0), (2, 40.0), (3, 50.0)):
        with pytest.raises(RateLimitError) as refused:
            turns.check("a", number, param="n")
        assert refused.value.retry_after_s == wait_s
    with pytest.raises(InputError):
        turns.check("a", 4, param="n")
    clock[0] = 70.0
    turns.check("a", 2, param="n")
    turns.enter("a")
    with pytest.raises(RateLimitError, match="under way"):
        turns.check("a", 3, param="n")
