"""`GET /v1/memory`: the whole ledger, over the wire between processes too, for those who may ask."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from localgpt.errors import InputError
from localgpt.server import create_app
from localgpt.settings import Settings
from localgpt.tasks.wire import decode_status, encode_status
from localgpt.units import MIB
from tests.api.fake_service import FakeService


async def test_the_ledger_is_told(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/memory")
    assert reply.status_code == 200
    told: dict[str, Any] = reply.json()
    assert (told["ready"], told["device"], told["budget_bytes"], told["free_bytes"]) == (
        True, "cpu", 2048 * MIB, 1536 * MIB,
    )  # fmt: skip
    assert told["residents"][2] == {
        "name": "painter", "kind": "weights", "bytes": 1024 * MIB, "device_bytes": 256 * MIB, "place": "host",
        "pinned": False, "reload_s": 1.5,
    }  # fmt: skip
    assert told["reservations"] == [
        {"name": "an answer", "shape": "answer to 64 tokens", "bytes": 128 * MIB, "pinned": False}
    ]
    assert told["waiting"] == [{"name": "a picture", "bytes": 3072 * MIB, "waited_s": 1.25}]
    assert told["peaks"][0]["num_measured"] == 3
    assert told["plans"][0]["steps"][0]["target"] == "host"
    assert told["plans"][0]["streamed"] == ["painter.blocks.2"]
    assert told["notices"] == ["Memory is short: 768 px instead of 1024."]


async def test_every_field_is_documented(http: httpx.AsyncClient) -> None:
    from tests.api.test_docs import SECTIONS

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    section = SECTIONS["GET /v1/memory"]
    assert [
        name for name in sorted(names((await http.get("/v1/memory")).json())) if name not in section
    ] == []


async def test_before_the_models_are_loaded(http: httpx.AsyncClient, service: FakeService) -> None:
    service.ready = False
    told = (await http.get("/v1/memory")).json()
    assert (told["ready"], told["device"], told["budget_bytes"], told["residents"]) == (False, "cpu", 0, [])


async def test_a_key_is_needed_where_one_is_set() -> None:
    app = create_app(Settings(api_keys=("sesame",)), FakeService())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/v1/memory")).status_code == 401
        reply = await client.get("/v1/memory", headers={"authorization": "Bearer sesame"})
        assert reply.status_code == 200


async def test_a_status_survives_the_way_between_processes() -> None:
    for ready in (True, False):
        status = await FakeService(ready=ready).status()
        assert decode_status(encode_status(status)) == status


async def test_a_status_that_is_none_is_refused() -> None:
    data = encode_status(await FakeService().status())
    for wrong in (data.replace(b'"host"', b'"hast"'), data.replace(b'"reload_s"', b'"reload_x"'), data[:-1]):
        with pytest.raises(InputError):
            decode_status(wrong)
