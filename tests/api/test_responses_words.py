"""What the responses wire says about a request: refusals in its own words, and notices that stay short."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from localgpt.errors import InputError
from localgpt.server.answers import notices_header
from tests.api.fake_service import FakeService


async def refusal(http: httpx.AsyncClient, **values: Any) -> str:
    response = await http.post("/v1/responses", json={"input": "Hello", **values})
    assert response.status_code == 400, response.text
    message: str = response.json()["error"]["message"]
    return message


async def test_refusals_speak_of_the_parameters_of_this_wire(
    http: httpx.AsyncClient, service: FakeService
) -> None:
    message = await refusal(http, reasoning={"effort": "low"})
    assert message.startswith("reasoning.effort is not supported") and "reasoning_effort" not in message
    assert (await refusal(http, text={"verbosity": "low"})).startswith("text.verbosity is not supported")
    assert (await refusal(http, input=[])).startswith("input")
    service.error = InputError("of max_tokens=3, max_tokens_left are 0", param="max_tokens")
    assert await refusal(http) == "of max_output_tokens=3, max_tokens_left are 0"


@pytest.mark.parametrize(("num_thoughts", "told"), [(1, "input[0] is a"), (1500, "1500 reasoning items")])
async def test_all_reasoning_items_bring_one_notice(
    http: httpx.AsyncClient, num_thoughts: int, told: str
) -> None:
    thoughts = [{"type": "reasoning", "id": f"rs_{index}", "summary": []} for index in range(num_thoughts)]
    question = {"role": "user", "content": "Hello"}
    response = await http.post("/v1/responses", json={"input": [*thoughts, question], "store": False})
    (notice,) = response.json()["localgpt"]["notices"]
    assert notice.startswith(told)
    assert json.loads(response.headers["x-localgpt-notices"]) == [notice]


def test_the_header_of_notices_stays_short() -> None:
    notices = [f"notice {index} 很长" for index in range(1500)]
    (text,) = notices_header(notices).values()
    told = json.loads(text)
    assert len(text) < 2200 and text.isascii()
    assert told[:-1] == notices[: len(told) - 1]
    assert told[-1] == f"{1500 - len(told) + 1} more notices are in the body, see localgpt.notices"
    (text,) = notices_header(["x" * 5000]).values()
    assert json.loads(text) == ["1 more notices are in the body, see localgpt.notices"]
    assert notices_header(["one", "two"]) == {"x-localgpt-notices": '["one", "two"]'}
    assert notices_header([]) == {}
