"""docs/clients.md holds: every request on it is answered, every script on it runs as it stands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgpt.settings import Settings
from tests.api.fake_service import FakeService
from tests.api.live import live

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Curl:
    """A curl command of the page."""

    client: str
    url: str
    headers: dict[str, str]
    body: dict[str, Any] | None

    @classmethod
    def parse(cls, client: str, command: str) -> Curl:
        program, url, *words = shlex.split(command.replace("\\\n", " "))
        assert program == "curl"
        headers, data = {}, None
        for option, value in zip(words[::2], words[1::2], strict=True):
            assert option in ("-H", "-d"), option
            if option == "-d":
                data = value
            else:
                name, _, content = value.partition(": ")
                headers[name] = content
        return cls(client, url, headers, None if data is None else json.loads(data))


CURLS = [
    Curl.parse(client, block)
    for client, section in SECTIONS
    for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
]
SCRIPTS = [
    block for _, section in SECTIONS for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
]


def test_every_client_has_a_request() -> None:
    clients = {name for name, _ in SECTIONS}
    assert {"curl", "Open WebUI", "Jan", "Continue", "LangChain in Python"} <= clients
    assert {curl.client for curl in CURLS} | {"OpenAI's own client"} == clients
    assert len(SCRIPTS) == 5


@pytest.mark.parametrize("curl", CURLS, ids=lambda curl: f"{curl.client} {curl.url.rpartition('/')[2]}")
async def test_requests_of_clients(http: httpx.AsyncClient, service: FakeService, curl: Curl) -> None:
    if curl.body is not None and "response_format" in curl.body:
        service.deltas = ('{"setup": ', '"x"}')
    method = "GET" if curl.body is None else "POST"
    response = await http.request(method, curl.url, headers=curl.headers, json=curl.body)
    assert response.status_code == 200, response.text
    if curl.body is None:
        assert response.json()["data"][0]["id"] == "local/multimodal-base"
    elif curl.url.endswith("/responses"):
        assert response.text.rstrip().split("\n\n")[-1].startswith("event: response.completed")
        assert [message.role for message in service.chat.messages] == [
            "system", "user", "assistant", "tool", "user",
        ]  # fmt: skip
    elif "input" in curl.body:
        assert len(response.json()["data"]) == len(curl.body["input"])
    elif curl.body.get("stream"):
        *chunks, last = [block.removeprefix("data: ") for block in response.text.split("\n\n") if block]
        assert last == "[DONE]"
        choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello, world."
        assert ("usage" in chunks[-1]) == ("stream_options" in curl.body)
    else:
        assert response.json()["choices"][0]["message"]["content"]
    if curl.body is not None and "messages" in curl.body:
        assert len(service.chat.messages) == len(curl.body["messages"])


async def test_what_jan_sets_is_honoured(http: httpx.AsyncClient, service: FakeService) -> None:
    curl = next(curl for curl in CURLS if curl.client == "Jan" and curl.body is not None)
    await http.post(curl.url, json=curl.body, headers=curl.headers)
    options = service.chat.options
    assert (options.repetition_penalty, options.max_tokens, options.top_k) == (1.12, 512, 20)


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("repeat_penalty", {"repeat_penalty": 1.1, "repetition_penalty": 1.2}),
        ("max_output_tokens", {"max_output_tokens": 5, "max_tokens": 6}),
        ("chat_template_kwargs.enable_thinking", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("chat_template_kwargs.other", {"chat_template_kwargs": {"other": 1}}),
        ("min_p", {"min_p": 0.1}),
        ("stop_sequences", {"stop_sequences": ["x"]}),
    ],
)
async def test_what_means_nothing_here_is_refused(
    http: httpx.AsyncClient, service: FakeService, param: str, body: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    response = await http.post("/v1/chat/completions", json={"messages": messages, **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert not service.requests


async def test_thoughts_of_other_models_are_left_out(http: httpx.AsyncClient, service: FakeService) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!", "reasoning_content": "They greet me."},
        {"role": "user", "content": "And now?"},
    ]
    response = await http.post("/v1/chat/completions", json={"messages": messages})
    assert "reasoning_content" in response.json()["localgpt"]["notices"][0]
    assert "greet" not in repr(service.chat.messages)


@pytest.mark.parametrize("origin", ["tauri://localhost", "http://tauri.localhost"])
async def test_desktop_programs_are_let_in(http: httpx.AsyncClient, origin: str) -> None:
    assert (await http.get("/v1/models", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize("origin", ["tauri://evil.example", "http://tauri.localhost.evil.example"])
async def test_those_who_look_like_them_are_not(http: httpx.AsyncClient, origin: str) -> None:
    assert (await http.get("/v1/models", headers={"origin": origin})).status_code == 403


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
async def test_scripts_run_as_they_stand(service: FakeService, tmp_path: Path, script: str) -> None:
    async with live(Settings(), service) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            cwd=tmp_path,
            env=os.environ
            | {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.port}/v1", "OPENAI_API_KEY": "any"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told = out.decode()
    assert "Hello, world." in told or "response.output_text.delta" in told
