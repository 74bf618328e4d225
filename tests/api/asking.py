"""The shortest chat request, and the events of a streamed answer."""

from __future__ import annotations

import json
from typing import Any

import httpx

from localgpt.tasks import EMBEDDED_MODEL_ID

MODEL = EMBEDDED_MODEL_ID
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


async def ask(http: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await http.post("/v1/chat/completions", json={"model": MODEL, "messages": HELLO, **body})


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[len("data: ") :]) for line in lines[:-1]]
