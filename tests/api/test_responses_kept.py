"""Kept responses: read again, gone on with, listed, deleted; and what a server without a store says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types.responses.response_item_list import ResponseItemList

from localgpt.errors import BackendError, StoreError
from localgpt.server import create_app
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID, Message, TextDelta, TextPart, ToolCall
from tests.api.conftest import BASE_URL
from tests.api.fake_service import FakeService, call_deltas, likely

MODEL = EMBEDDED_MODEL_ID
FUNCTION: dict[str, Any] = {"type": "function", "name": "weather", "parameters": {}, "strict": False}
NOBODY = "resp_" + 32 * "0"


class MemoryArchive:
    """Keeps responses in a dictionary, as the store does on disk."""

    def __init__(self) -> None:
        self.payloads: dict[tuple[str, str], bytes] = {}

    async def put(self, owner: str, response_id: str, payload: bytes) -> None:
        self.payloads[owner, response_id] = payload

    async def get(self, owner: str, response_id: str) -> bytes | None:
        return self.payloads.get((owner, response_id))

    async def delete(self, owner: str, response_id: str) -> bool:
        return self.payloads.pop((owner, response_id), None) is not None


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def app(service: FakeService, archive: MemoryArchive) -> Any:
    """An application whose store keeps responses and nothing else."""
    app = create_app(Settings(), service)
    app.state.gateway.store = SimpleNamespace(responses=archive, accounts=NoAccounts())
    return app


class NoAccounts:
    """No key was made."""

    async def has_keys(self) -> bool:
        return False


@pytest.fixture
async def http(app: Any, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(app)


@pytest.fixture
async def openai(app: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{BASE_URL}/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(app)),
        _strict_response_validation=True,
    ) as client:
        yield client


async def test_a_response_is_read_again_and_deleted(openai: AsyncOpenAI, archive: MemoryArchive) -> None:
    response = await openai.responses.create(model=MODEL, input="Hello")
    assert response.store is True  # type: ignore[attr-defined]
    assert await openai.responses.retrieve(response.id) == response
    assert await openai.responses.retrieve(response.id, include=["message.input_image.image_url"]) == response
    await openai.responses.delete(response.id)
    assert not archive.payloads
    with pytest.raises(sdk.NotFoundError) as raised:
        await openai.responses.retrieve(response.id)
    assert raised.value.param == "response_id"


async def test_a_conversation_goes_on(openai: AsyncOpenAI, service: FakeService) -> None:
    first = await openai.responses.create(model=MODEL, input="One", instructions="Be brief.")
    second = await openai.responses.create(model=MODEL, input="Two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    stream = await openai.responses.create(
        model=MODEL, input="Three", previous_response_id=second.id, stream=True
    )
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    answer = Message.of("assistant", "Hello, world.")
    said = [Message.of("user", text) for text in ("One", "Two", "Three")]
    assert service.chat.messages == (said[0], answer, said[1], answer, said[2])
    await openai.responses.create(model=MODEL, input="Four", previous_response_id=last.response.id)
    assert len(service.chat.messages) == 7


async def test_calls_go_on_with_their_outputs(openai: AsyncOpenAI, service: FakeService) -> None:
    service.deltas = call_deltas("weather", "{}")
    first = await openai.responses.create(model=MODEL, input="Weather?", tools=[FUNCTION])
    service.deltas = ("Sunny.",)
    await openai.responses.create(
        model=MODEL,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
    )
    assert service.chat.messages == (
        Message.of("user", "Weather?"),
        Message(
            role="assistant", content=(), tool_calls=(ToolCall(id="call_1", name="weather", arguments="{}"),)
        ),
        Message(role="tool", content=(TextPart(text="sunny"),), tool_call_id="call_1"),
    )


async def test_items_are_named_instead_of_sent(openai: AsyncOpenAI, service: FakeService) -> None:
    first = await openai.responses.create(model=MODEL, input="One")
    item_id = first.output[0].id
    assert item_id is not None
    await openai.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": "One"},
            {"type": "item_reference", "id": item_id},
            {"role": "user", "content": "Two"},
        ],
    )
    assert [message.role for message in service.chat.messages] == ["user", "assistant", "user"]
    with pytest.raises(sdk.BadRequestError) as raised:
        await openai.responses.create(
            model=MODEL, input=[{"type": "item_reference", "id": item_id.replace("_0", "_9")}]
        )
    assert raised.value.param == "input[0]"


@pytest.mark.parametrize("stream", [False, True])
async def test_store_false_keeps_nothing(
    http: httpx.AsyncClient, archive: MemoryArchive, stream: bool
) -> None:
    response = await http.post("/v1/responses", json={"input": "x", "store": False, "stream": stream})
    assert response.status_code == 200
    assert not archive.payloads


async def test_what_was_cut_off_or_failed_is_kept_too(http: httpx.AsyncClient, service: FakeService) -> None:
    service.finish_reason = "length"
    body = (await http.post("/v1/responses", json={"input": "x"})).json()
    assert (await http.get(f"/v1/responses/{body['id']}")).json() == body
    service.late_error = BackendError("broke")
    text = (await http.post("/v1/responses", json={"input": "x", "stream": True})).text
    assert "response.failed" in text
    response_id = service.chat.id
    assert (await http.get(f"/v1/responses/{response_id}")).json()["status"] == "failed"


async def test_input_items(openai: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,eA=="}
    items: list[Any] = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "2", "annotations": [{"x": "\u00e4"}]}],
        },
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "3"},
        {"role": "user", "content": [picture]},
    ]
    response = await openai.responses.create(model=MODEL, input=items)
    page = await openai.responses.input_items.list(response.id, order="asc", limit=3)
    listed = [item async for item in page]  # the client asks for the further pages
    assert [item.type for item in listed] == [
        "message", "message", "message", "message", "function_call", "function_call_output", "message",
    ]  # fmt: skip
    assert len({item.id for item in listed}) == 7
    newest_first = (await http.get(f"/v1/responses/{response.id}/input_items")).json()
    ResponseItemList.model_validate(newest_first, strict=True)
    assert [item["id"] for item in newest_first["data"]] == [item.id for item in reversed(listed)]
    assert newest_first["data"][0]["content"] == [{**picture, "detail": "auto"}]
    assert newest_first["data"][4]["content"] == [{"type": "output_text", "text": "2", "annotations": []}]
    assert not newest_first["has_more"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order"), ("after=msg_1", "after"),
     ("include=everything", "include[0]"), ("include=message.output_text.logprobs", "include")],
)  # fmt: skip
async def test_pages_of_input_items(http: httpx.AsyncClient, query: str, param: str) -> None:
    body = (await http.post("/v1/responses", json={"input": "x"})).json()
    response = await http.get(f"/v1/responses/{body['id']}/input_items?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("query", "param"),
    [("stream=true", "stream"), ("starting_after=3", "starting_after"),
     ("include_obfuscation=true", "include_obfuscation")],
)  # fmt: skip
async def test_kept_responses_are_not_streamed_again(http: httpx.AsyncClient, query: str, param: str) -> None:
    body = (await http.post("/v1/responses", json={"input": "x"})).json()
    response = await http.get(f"/v1/responses/{body['id']}?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_log_probabilities_are_read_again_or_refused(
    openai: AsyncOpenAI, http: httpx.AsyncClient, service: FakeService
) -> None:
    service.deltas = (likely("Hi", -0.5),)
    wanted: Any = ["message.output_text.logprobs"]
    full = await openai.responses.create(model=MODEL, input="Hello", include=wanted)
    assert await openai.responses.retrieve(full.id, include=wanted) == full
    service.deltas = (TextDelta(text="Hi"),)
    bare = await openai.responses.create(model=MODEL, input="Hello")
    for param in ("include", "include[]"):
        response = await http.get(f"/v1/responses/{bare.id}", params={param: wanted[0]})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_cancelling_is_refused(http: httpx.AsyncClient) -> None:
    body = (await http.post("/v1/responses", json={"input": "x"})).json()
    response = await http.post(f"/v1/responses/{body['id']}/cancel")
    assert response.status_code == 400
    assert "background" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", [NOBODY, "resp_1", "%00", "resp_" + 32 * "g"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
async def test_unknown_responses(http: httpx.AsyncClient, method: str, path: str, name: str) -> None:
    response = await http.request(method, f"/v1/responses/{name}{path}")
    assert response.status_code == 404, response.text
    assert response.json()["error"]["param"] == "response_id"


async def test_an_unknown_previous_response(http: httpx.AsyncClient, service: FakeService) -> None:
    response = await http.post("/v1/responses", json={"input": "x", "previous_response_id": NOBODY})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
    assert not service.requests


async def test_a_deleted_link_breaks_the_chain(http: httpx.AsyncClient) -> None:
    first = (await http.post("/v1/responses", json={"input": "x"})).json()["id"]
    second = (await http.post("/v1/responses", json={"input": "x", "previous_response_id": first})).json()[
        "id"
    ]
    await http.delete(f"/v1/responses/{first}")
    response = await http.post("/v1/responses", json={"input": "x", "previous_response_id": second})
    assert response.status_code == 400
    assert first in response.json()["error"]["message"]


async def test_no_more_is_read_than_might_have_been_sent(
    service: FakeService, archive: MemoryArchive, connect: Callable[..., httpx.AsyncClient]
) -> None:
    app = create_app(Settings(max_body_mib=1), service)
    app.state.gateway.store = SimpleNamespace(responses=archive, accounts=NoAccounts())
    client, last = connect(app), None
    for _ in range(4):
        body = {"input": "x" * 400_000, "previous_response_id": last}
        response = await client.post("/v1/responses", json=body)
        if response.status_code != 200:
            break
        last = response.json()["id"]
    assert response.status_code == 413
    assert response.json()["error"]["param"] == "previous_response_id"
    own = [{"role": "user", "content": "x"}]
    twice = [{"type": "item_reference", "id": f"msg_{str(last).removeprefix('resp_')}_in0"}] * 9
    assert (await client.post("/v1/responses", json={"input": [*twice, *own]})).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_store_that_fails_is_told(
    http: httpx.AsyncClient, archive: MemoryArchive, stream: bool
) -> None:
    async def put(owner: str, response_id: str, payload: bytes) -> None:
        raise StoreError("the disk is full")

    archive.put = put  # type: ignore[method-assign]
    response = await http.post("/v1/responses", json={"input": "x", "stream": stream})
    if not stream:
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "store_unavailable"
        return
    assert "response.completed" not in response.text
    last = json.loads(response.text.split("data: ")[-1])
    assert (last["type"], last["code"], last["message"]) == ("error", "store_unavailable", "the disk is full")


async def test_what_was_said_before_is_named_as_a_whole(
    http: httpx.AsyncClient, service: FakeService
) -> None:
    service.deltas = call_deltas("weather", "{}")
    first = (await http.post("/v1/responses", json={"input": "x", "tools": [FUNCTION]})).json()["id"]
    service.error = BackendError("never asked")
    wrong = [{"type": "function_call_output", "call_id": "other", "output": "3"}]
    response = await http.post("/v1/responses", json={"input": wrong, "previous_response_id": first})
    assert response.json()["error"]["param"] == "input[0].call_id"


async def test_keys_do_not_see_each_others_responses(
    service: FakeService, tmp_path: Path, connect: Callable[..., httpx.AsyncClient]
) -> None:
    """Over the real store."""
    settings = Settings(api_keys=("one", "two"), data_dir=tmp_path)
    store = await open_store(settings)
    app = create_app(settings, service, store=store)
    one, two = (connect(app, headers={"authorization": f"Bearer {key}"}) for key in ("one", "two"))
    response = (await one.post("/v1/responses", json={"input": "x"})).json()
    response_id = response["id"]
    assert (await one.get(f"/v1/responses/{response_id}")).json() == response
    assert (await two.get(f"/v1/responses/{response_id}")).status_code == 404
    going_on = {"input": "x", "previous_response_id": response_id}
    assert (await two.post("/v1/responses", json=going_on)).status_code == 400
    assert (await two.delete(f"/v1/responses/{response_id}")).status_code == 404
    assert (await one.post("/v1/responses", json=going_on)).status_code == 200
    assert (await one.delete(f"/v1/responses/{response_id}")).status_code == 200
    assert (await one.get(f"/v1/responses/{response_id}")).status_code == 404
    await store.close()
