"""A query parameter that a route does not read is refused by name."""

from __future__ import annotations

import re

import httpx
import pytest

from localgpt.server import create_app
from localgpt.settings import Settings
from tests.api.fake_service import FakeService


async def test_every_route_refuses_what_it_does_not_read(http: httpx.AsyncClient) -> None:
    asked = set()
    for path, methods in create_app(Settings(), FakeService()).openapi()["paths"].items():
        for method, operation in methods.items():
            if "501" in operation["responses"] or not path.startswith(("/v1/", "/api/")):
                continue
            asked.add(path)
            url = re.sub(r"\{\w+\}", "x", path)
            response = await http.request(method.upper(), url, params={"api-version": "1"})
            assert (response.status_code, response.json()["error"]["param"]) == (400, "api-version"), path
    assert {"/v1/models", "/v1/chat/completions", "/v1/status", "/api/keys"} <= asked


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health?from=proxy", 200),
        ("/ready?from=proxy", 200),
        ("/v1/realtime?model=gpt-realtime", 426),  # a WebSocket's own
        ("/v1/responses/resp_1?include[]=reasoning.encrypted_content", 404),
        ("/v1/responses/resp_1/input_items?order=asc&limit=2", 404),
        ("/api/conversations?query=a&limit=5&before=x", 503),  # there is no store
        ("/v1/models?", 200),
    ],
)
async def test_what_is_read_is_not_refused(http: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await http.get(path)).status_code == status
