"""Our own schema against ourselves: whatever it allows or forbids is asked, and the answers are held to it.

Requests are made up by schemathesis, always the same ones. Over them no status may appear that the schema
does not name, no body that it does not describe, and no 5xx but the 501 of what is not built yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from localgpt.server import create_app
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from tests.api.conftest import BASE_URL
from tests.api.fake_keeper import FakeKeeper
from tests.api.fake_painter import FakePainter
from tests.api.fake_voices import FakeVoices

KEY = "an-admin's-key"  # so that a key which the fuzzer makes locks nobody out
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
NUM_EXAMPLES = 5
NUM_PROOF_EXAMPLES = 60
PROOF_S = 120.0
OPERATIONS = [
    (result.ok().method.upper(), result.ok().path)
    for result in schemathesis.openapi.from_dict(
        create_app(Settings(), FakeVoices()).openapi()
    ).get_all_operations()
]


class FakeModels(FakeVoices, FakePainter):
    """Chats, hears, speaks and paints."""


class Asked:
    """An application with a store, in an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, folder: Any) -> None:
        self.runner = runner
        options = Settings(api_keys=(KEY,), data_dir=folder)
        self.store = runner.run(open_store(options))
        app = create_app(options, FakeModels(), store=self.store, keeper=FakeKeeper())
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app))
        schema = schemathesis.openapi.from_dict(app.openapi())
        self.operations: dict[tuple[str, str], APIOperation] = {}
        for result in schema.get_all_operations():
            operation = result.ok()
            self.operations[operation.method.upper(), operation.path] = operation

    def ask(self, case: schemathesis.Case) -> httpx.Response:
        """Send a request exactly as schemathesis would."""
        given = case.as_transport_kwargs(base_url=BASE_URL)
        request = requests.Request(
            **{name: given[name] for name in given if name in REQUEST_FIELDS}
        ).prepare()
        headers = {**request.headers, "authorization": f"Bearer {KEY}"}
        assert request.method is not None and request.url is not None
        body = request.body.encode() if isinstance(request.body, str) else request.body
        return self.runner.run(self._send(request.method, request.url, headers, body))

    async def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> httpx.Response:
        return await self.client.request(method, url, headers=headers, content=body)

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self.store.close())


REQUEST_FIELDS = {"method", "url", "headers", "files", "data", "params", "cookies", "json"}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asyncio.Runner() as runner:
        asked = Asked(runner, tmp_path_factory.mktemp("fuzz"))
        yield asked
        asked.close()


def has_input(operation: APIOperation) -> bool:
    """Whether something of a request can be wrong; every text is a possible path."""
    return bool(operation.body or operation.query)


def check(asked: Asked, operation: APIOperation, num_examples: int, mode: GenerationMode) -> None:
    @settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode))
        response = asked.ask(case)
        assert response.status_code < 500 or response.status_code == 501, response.text
        case.validate_response(response, checks=CHECKS)

    ask()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_answers_keep_to_the_schema(asked: Asked, method: str, path: str, mode: GenerationMode) -> None:
    operation = asked.operations[method, path]
    if mode is GenerationMode.NEGATIVE and not has_input(operation):
        return
    check(asked, operation, NUM_EXAMPLES, mode)


@pytest.mark.prove
def test_answers_keep_to_the_schema_for_two_minutes(asked: Asked) -> None:
    begun, num = time.monotonic(), NUM_PROOF_EXAMPLES
    while time.monotonic() < begun + PROOF_S:
        for operation in asked.operations.values():
            check(asked, operation, num, GenerationMode.POSITIVE)
            if has_input(operation):
                check(asked, operation, num, GenerationMode.NEGATIVE)
        num *= 2
