"""What the server counts and writes down, and that neither holds what was asked."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from localgpt.server import create_app
from localgpt.server.logs import PromptLog, log_to_stderr
from localgpt.server.metrics import Metrics, RecentRate
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from localgpt.tasks import EmbedRequest, TextPart
from tests.api.fake_service import FakeService
from tests.api.wire import Wire

CANARY = "zxcanaryzx"
HELLO = {"messages": [{"role": "user", "content": CANARY}]}
PIXEL = "data:image/png;base64," + base64.b64encode(CANARY.encode()).decode()
Connect = Callable[..., httpx.AsyncClient]


async def figures(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample: its name, then its labels' values in alphabetical order of their names."""
    reply = await client.get("/metrics")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


async def test_requests_tokens_and_times_are_counted(http: httpx.AsyncClient) -> None:
    await http.post("/v1/chat/completions", json=HELLO)
    await http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    await http.post("/v1/chat/completions", json={})
    await http.get(f"/v1/models/{CANARY}")
    await http.get(f"/{CANARY}")
    await http.request(CANARY.upper(), "/health")
    found = await figures(http)
    assert found["localgpt_requests_total", "POST", "/v1/chat/completions", "200"] == 2
    assert found["localgpt_requests_total", "POST", "/v1/chat/completions", "400"] == 1
    assert found["localgpt_requests_total", "GET", "/v1/models/{model:path}", "404"] == 1
    assert found["localgpt_requests_total", "GET", "other", "404"] == 1
    assert found["localgpt_tokens_total", "in"] == 14 and found["localgpt_tokens_total", "out"] == 6
    assert found["localgpt_time_to_first_token_seconds_count",] == 1
    assert found["localgpt_inter_token_seconds_count",] == 2
    assert found["localgpt_queue_seconds_count",] == 2
    assert found["localgpt_ready",] == 1 and found["localgpt_model_resident_bytes",] == 420_000_000
    assert found["localgpt_running",] == found["localgpt_waiting",] == 0
    assert found["localgpt_asyncio_tasks",] >= 1 and found["localgpt_process_bytes",] > 1e6
    assert CANARY not in str(found).lower()


async def test_refusals_are_counted_by_reason(service: FakeService, connect: Connect) -> None:
    app = create_app(Settings(max_batch_size=1, max_queue=0), service)
    client = connect(app)
    service.gate = asyncio.Event()
    wires = [Wire(app, {**HELLO, "stream": True}) for _ in range(3)]
    for wire in wires:
        await wire.until(b'"Hello"')
    assert (await figures(client))["localgpt_running",] + (await figures(client))["localgpt_waiting",] == 3
    await client.post("/v1/chat/completions", json=HELLO)
    app.state.gateway.turns.is_closed = True
    await client.post("/v1/chat/completions", json=HELLO)
    found = await figures(client)
    assert found["localgpt_admissions_refused_total", "queue_full"] == 1
    assert found["localgpt_admissions_refused_total", "stopping"] == 1
    for wire in wires:
        wire.disconnect()
        await wire.task


async def test_figures_need_the_key_where_there_is_one(service: FakeService, connect: Connect) -> None:
    client = connect(create_app(Settings(api_keys=("k",)), service))
    assert (await client.get("/metrics")).status_code == 401
    assert (await client.get("/metrics", headers={"authorization": "Bearer k"})).status_code == 200


async def test_status_has_what_the_page_shows(http: httpx.AsyncClient) -> None:
    before = (await http.get("/v1/status")).json()
    await http.post("/v1/chat/completions", json=HELLO)
    after = (await http.get("/v1/status")).json()
    assert before["tokens_per_s"] == 0 and after["tokens_per_s"] == 3
    assert after["process_bytes"] > 1e6 and after["uptime_s"] >= 0 and after["max_queue"] == 64


def test_recent_rate_counts_busy_seconds_alone() -> None:
    now = 0.0
    rate = RecentRate(lambda: now)
    assert rate.per_s() == 0
    for moment, number in ((10.0, 4), (10.9, 6), (30.0, 20)):
        now = moment
        rate.add(number)
    assert rate.per_s() == 15
    now = 70.0
    assert rate.per_s() == 20
    now = 91.0
    assert rate.per_s() == 0


def test_two_applications_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.refused("queue_full")
    assert (
        second.registry.get_sample_value("localgpt_admissions_refused_total", {"reason": "queue_full"})
        is None
    )


# ---- the log ----


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Settings], io.StringIO]]:
    """Send the log into a string, as it would go to standard error; put all back at the end."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def begin(settings: Settings) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        log_to_stderr(settings)
        return written

    yield begin
    root.handlers, root.level = before, level


async def test_lines_of_json(
    log: Callable[[Settings], io.StringIO], service: FakeService, connect: Connect
) -> None:
    settings = Settings(log_format="json")
    written = log(settings)
    service.error = RuntimeError("broken")  # type: ignore[assignment]
    client = connect(create_app(settings, service))
    await client.get("/health")
    await client.get("/v1/models?secret=1", headers={"x-request-id": "mine"})
    await client.post("/v1/chat/completions", json=HELLO, headers={"x-request-id": "theirs"})
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    lines = [line for line in lines if line["logger"] == "localgpt.server.middleware"]
    first, bug, last = lines
    assert (first["method"], first["path"], first["status"], first["request_id"]) == (
        "GET", "/v1/models", 400, "mine",
    )  # fmt: skip
    assert first["level"] == "info" and first["timestamp"].endswith("Z") and first["elapsed_ms"] >= 0
    assert "RuntimeError: broken" in bug["exception"] and bug["request_id"] == last["request_id"] == "theirs"


async def test_lines_of_text(
    log: Callable[[Settings], io.StringIO], service: FakeService, connect: Connect
) -> None:
    settings = Settings(log_level="debug")
    written = log(settings)
    client = connect(create_app(settings, service))
    await client.get("/health", headers={"x-request-id": "mine"})
    await client.get("/a%0d%0aFAKE%1b[31m", headers={"x-request-id": "foul"})
    lines = [line for line in written.getvalue().splitlines() if "server.middleware" in line]
    assert " DEBUG localgpt.server.middleware GET /health 200 " in lines[0] and lines[0].endswith("mine")
    assert "GET /a%0D%0AFAKE%1B%5B31m 404" in lines[1] and lines[1].endswith("foul")


async def test_prompts_are_logged_when_that_is_asked_for(
    log: Callable[[Settings], io.StringIO], service: FakeService
) -> None:
    written = log(Settings(log_prompts=True))
    client = PromptLog(service)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(Settings(), client)), base_url="http://127.0.0.1:8000"
    ) as http:
        await http.post("/v1/chat/completions", json={**HELLO, "stream": True})
        await http.post("/v1/chat/completions", json=HELLO)
    await client.run(EmbedRequest(id="e", inputs=(TextPart(text=CANARY),)))
    assert written.getvalue().count(CANARY) == 3 and written.getvalue().count("Hello, world.") == 2


async def test_no_route_lets_a_prompt_into_log_figures_or_errors(
    log: Callable[[Settings], io.StringIO], service: FakeService, connect: Connect, tmp_path: Path
) -> None:
    """A word goes through every route, wherever a caller may write one, rightly and wrongly."""
    settings = Settings(log_level="debug", data_dir=tmp_path, api_keys=("k",))
    written = log(settings)
    store = await open_store(settings)
    client = connect(create_app(settings, service, store=store), headers={"authorization": "Bearer k"})
    schema = (await client.get("/openapi.json")).json()
    picture = [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": CANARY}]
    content = [{"type": "input_text", "text": CANARY}]
    bodies: list[object] = [
        HELLO,
        {**HELLO, "stream": True},
        {**HELLO, "temperature": CANARY},
        {**HELLO, "stop": [CANARY] * 9},
        {**HELLO, "tools": CANARY},
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": CANARY}}},
        {"messages": [{"role": CANARY, "content": CANARY}]},
        {"messages": [{"role": "user", "content": picture}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": CANARY}}]}]},
        {"input": CANARY},
        {"input": [CANARY, {CANARY: CANARY}]},
        {"input": [{"role": "user", "content": content}], "stream": True},
        {"prompt": CANARY, "max_tokens": CANARY},
        {"prompt": [CANARY], "suffix": CANARY},
        {"text": CANARY, "id": 1},
        {"id": "c", "title": CANARY},
        {"id": "m", "parent_id": None, "text": CANARY, "attachments": []},
        {"id": "m2", "parent_id": None, "text": CANARY, "attachments": [CANARY * 9]},
        {"parent_id": "m", "id": "a", "stream": True},
        {"system_prompt": CANARY, "language": CANARY},
        {"system_prompt": CANARY},
        {"key": CANARY},
        CANARY,
    ]
    for path, methods in schema["paths"].items():
        where = path.replace("{model}", "local/multimodal-base").replace("{conversation_id}", "c")
        for method in methods:
            for body in bodies if method in ("post", "put", "patch") else [None]:
                reply = await client.request(method, f"{where}?query={CANARY}", json=body)
                if reply.status_code >= 400:
                    assert CANARY not in reply.text, (method, path, body)
    broken = json.dumps(HELLO)[:-2].encode()
    reply = await client.post(
        "/v1/chat/completions", content=broken, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400 and CANARY not in reply.text
    assert CANARY not in (await client.get("/metrics")).text
    ours = [line for line in written.getvalue().splitlines() if " httpx " not in line]  # the client's own
    assert len(ours) > 50 and not [line for line in ours if CANARY in line]
    await store.close()
