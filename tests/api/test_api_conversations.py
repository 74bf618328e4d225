"""The page's routes: conversations, messages, answers, pictures, settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from localgpt.errors import BackendError, PromptTooLongError
from localgpt.server import create_app
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from localgpt.tasks import ImagePart, TextPart
from tests.api.fake_service import FakeService

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 40
Connect = Callable[..., httpx.AsyncClient]


async def ask(page: httpx.AsyncClient, text: str = "Hi", **message: Any) -> None:
    """A conversation `c` with one user message `m`."""
    assert (await page.post("/api/conversations", json={"id": "c"})).status_code in (200, 201)
    body = {"id": "m", "parent_id": None, "text": text, **message}
    response = await page.post("/api/conversations/c/messages", json=body)
    assert response.status_code == 201, response.text


async def answer(page: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await page.post("/api/conversations/c/answer", json={"parent_id": "m", "id": "a", **body})


async def kept(page: httpx.AsyncClient, message_id: str = "a") -> dict[str, Any]:
    messages = (await page.get("/api/conversations/c")).json()["messages"]
    found: dict[str, Any] = next(message for message in messages if message["id"] == message_id)
    return found


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# ---- conversations ----


async def test_begin_list_rename_delete(page: httpx.AsyncClient) -> None:
    made = await page.post("/api/conversations", json={"title": "First"})
    assert made.status_code == 201 and set(made.json()) == {
        "id", "title", "created_at", "updated_at", "num_messages", "leaf", "model",
    }  # fmt: skip
    own = await page.post("/api/conversations", json={"id": "c", "title": "Second"})
    again = await page.post("/api/conversations", json={"id": "c"})
    assert (own.status_code, again.status_code, again.json()["title"]) == (201, 200, "Second")
    listed = (await page.get("/api/conversations", params={"limit": 1})).json()
    assert [one["title"] for one in listed["data"]] == ["Second"]
    rest = (await page.get("/api/conversations", params={"before": listed["next"]})).json()
    assert [one["title"] for one in rest["data"]] == ["First"] and rest["next"] is None
    renamed = await page.patch("/api/conversations/c", json={"title": "Third"})
    assert renamed.json()["title"] == "Third"
    found = (await page.get("/api/conversations", params={"query": "third"})).json()["data"]
    assert [one["id"] for one in found] == ["c"]
    assert (await page.delete("/api/conversations/c")).status_code == 204
    assert (await page.get("/api/conversations/c")).status_code == 404
    assert (await page.delete("/api/conversations")).json() == {"deleted": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/api/conversations", {"id": "../x"}, "id"),
        ("POST", "/api/conversations", {"id": "c", "color": 1}, "color"),
        ("POST", "/api/conversations", {"title": "\ud800"}, "title"),
        ("POST", "/api/conversations/c/messages", {"id": "n", "parent_id": None, "text": " "}, "text"),
        ("POST", "/api/conversations/c/messages", {"id": "n", "text": "x"}, "parent_id"),
        ("POST", "/api/conversations/c/messages", {"id": "n", "parent_id": "zz", "text": "x"}, "parent_id"),
        ("POST", "/api/conversations/c/answer", {"id": "a", "parent_id": "zz"}, "parent_id"),
        ("POST", "/api/conversations/c/answer", {"id": "a", "parent_id": "m", "stream": False}, "stream"),
        ("POST", "/api/conversations/c/answer", {"id": "a", "parent_id": "m", "top_p": 0}, "top_p"),
        ("PATCH", "/api/conversations/c", {"leaf": "zz"}, "leaf"),
        ("PUT", "/api/settings", {"theme": "pink"}, "theme"),
        ("PUT", "/api/settings", {"temperature": 3}, "temperature"),
        ("POST", "/api/keys", {"name": " ", "role": "admin"}, "name"),
        ("POST", "/api/keys", {"name": "x", "role": "user"}, "role"),
        ("POST", "/api/keys", {"name": "x", "role": "admin", "limits": {"speed": 1}}, "limits.speed"),
    ],
)  # fmt: skip
async def test_a_bad_field_is_named(
    page: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], param: str
) -> None:
    await ask(page)
    content = json.dumps(body)  # ASCII with escapes: half of a character can be written
    headers = {"content-type": "application/json"}
    response = await page.request(method, path, content=content, headers=headers)
    assert response.status_code == 400 and response.json()["error"]["param"] == param, response.text


async def test_bad_queries_are_named(page: httpx.AsyncClient) -> None:
    for params, name in (({"limit": 0}, "limit"), ({"before": "x"}, "before")):
        response = await page.get("/api/conversations", params=params)
        assert response.status_code == 400 and name in str(response.json()["error"]["param"])


@pytest.mark.parametrize("bad", ["%00", "%ff", "a.b", "x" * 65, "%F0%9F%99%82"])
async def test_what_cannot_be_an_id_is_refused(page: httpx.AsyncClient, bad: str) -> None:
    for path in (f"/api/conversations/{bad}", f"/api/conversations/{bad}/export", f"/api/attachments/{bad}"):
        response = await page.get(path)
        assert response.status_code == 400 and response.json()["error"]["param"], response.text


async def test_export(page: httpx.AsyncClient) -> None:
    await ask(page, 'Tell me about “quotes” "x"\r\nInjected: 1')
    await answer(page)
    markdown = await page.get("/api/conversations/c/export")
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert "## You" in markdown.text and "Hello, world." in markdown.text
    disposition = markdown.headers["content-disposition"]
    assert disposition.startswith("attachment; ") and "\n" not in disposition and disposition.count('"') == 2
    whole = (await page.get("/api/conversations/c/export", params={"format": "json"})).json()
    assert whole == (await page.get("/api/conversations/c")).json()


# ---- answers ----


async def test_an_answer_is_streamed_and_kept(page: httpx.AsyncClient, service: FakeService) -> None:
    await page.put("/api/settings", json={"system_prompt": "Be brief.", "temperature": 0.7, "max_tokens": 9})
    picture = (await page.post("/api/attachments", params={"name": "p.png"}, content=PNG)).json()
    await ask(page, "What is this?", attachments=[picture["id"]])
    service.notices = ("turns were left out",)
    response = await answer(page, seed=3, top_p=0.5)
    assert response.headers["content-type"].startswith("text/event-stream")
    pieces = chunks(response)
    assert {piece["object"] for piece in pieces} == {"chat.completion.chunk"}
    text = "".join(choice["delta"].get("content", "") for piece in pieces for choice in piece["choices"])
    assert text == "Hello, world."
    stored = await kept(page)
    assert (stored["text"], stored["finish_reason"], stored["role"]) == (text, "stop", "assistant")
    assert stored["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    assert stored["notices"] == ["turns were left out"] and stored["model"] == "local/multimodal-base"
    assert (await page.get("/api/conversations/c")).json()["leaf"] == "a"
    system, user = service.chat.messages
    assert (system.role, system.content) == ("system", (TextPart(text="Be brief."),))
    assert user.content == (ImagePart(data=PNG, media_type="image/png"), TextPart(text="What is this?"))
    options = service.chat.options
    assert (options.temperature, options.max_tokens, options.seed, options.top_p) == (0.7, 9, 3, 0.5)


async def test_the_prompt_is_the_branch(page: httpx.AsyncClient, service: FakeService) -> None:
    await ask(page, "one")
    await answer(page)
    for message_id, parent, text in (("n", "a", "two"), ("o", "a", "other two"), ("p", None, "else")):
        body = {"id": message_id, "parent_id": parent, "text": text}
        await page.post("/api/conversations/c/messages", json=body)
    await answer(page, id="b", parent_id="o")
    said = [(turn.role, turn.content[0]) for turn in service.chat.messages]
    assert said == [
        ("user", TextPart(text="one")),
        ("assistant", TextPart(text="Hello, world.")),
        ("user", TextPart(text="other two")),
    ]


async def test_ids_are_used_once_and_answers_follow_users(page: httpx.AsyncClient) -> None:
    await ask(page)
    await answer(page)
    assert (await answer(page)).status_code == 409
    assert (await answer(page, id="b", parent_id="a")).json()["error"]["param"] == "parent_id"
    assert (await answer(page, id="b", model="none")).status_code == 404
    gone = await page.post("/api/conversations/x/answer", json={"id": "a", "parent_id": "m"})
    assert gone.status_code == 404


async def test_a_failure_is_kept_with_what_was_written(page: httpx.AsyncClient, service: FakeService) -> None:
    await ask(page)
    service.late_error = BackendError("the device is gone")
    await answer(page)
    stored = await kept(page)
    assert (stored["text"], stored["finish_reason"]) == ("Hello", "error")
    assert stored["error"] == "the device is gone" and stored["usage"] is None
    service.late_error, service.error = None, PromptTooLongError("too long")
    refused = await answer(page, id="b")
    assert refused.status_code == 400
    assert (await kept(page, "b"))["error"] == "too long"
    service.error = None
    await answer(page, id="c")  # an answer that says nothing is left out of later prompts
    assert len(service.chat.messages) == 1


async def test_a_client_who_goes_away_keeps_what_was_written(
    store: Store, service: FakeService, page: httpx.AsyncClient
) -> None:
    await ask(page)
    service.gate = asyncio.Event()
    app = create_app(Settings(), service, store=store)
    body = json.dumps({"parent_id": "m", "id": "a"}).encode()
    has_text, gone = asyncio.Event(), asyncio.Event()
    sent = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if b"Hello" in message.get("body", b""):
            has_text.set()

    headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/api/conversations/c/answer", "headers": headers,
        "query_string": b"", "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1), "root_path": "", "raw_path": b"/api/conversations/c/answer",
    }  # fmt: skip
    running = asyncio.ensure_future(app(scope, receive, send))  # type: ignore[arg-type]
    await has_text.wait()
    gone.set()
    await running
    stored = await kept(page)
    assert (stored["text"], stored["finish_reason"], stored["error"]) == ("Hello", "cancelled", None)
    assert service.num_cancelled == 1


async def test_a_server_that_stops_keeps_what_was_written(
    store: Store, service: FakeService, connect: Connect
) -> None:
    app = create_app(Settings(), service, store=store)
    page = connect(app)
    await ask(page)
    service.gate = asyncio.Event()
    running = asyncio.ensure_future(answer(page))
    while not service.requests:
        await asyncio.sleep(0)
    app.state.gateway.stopping.set()
    response = await running
    assert '"error"' in response.text and "stopping" in response.text
    assert not store.holds
    (stored,) = [message for message in await store.conversations.messages("local", "c") if message.id == "a"]
    assert (stored.text, stored.finish_reason) == ("Hello", "cancelled")


async def test_answers_kept_elsewhere_are_brought_along(
    page: httpx.AsyncClient, service: FakeService
) -> None:
    await ask(page, "one")
    brought = {"id": "x", "parent_id": "m", "role": "assistant", "text": "two"}
    assert (await page.post("/api/conversations/c/messages", json=brought)).status_code == 201
    await page.post("/api/conversations/c/messages", json={"id": "n", "parent_id": "x", "text": "three"})
    await answer(page, parent_id="n")
    assert [turn.role for turn in service.chat.messages] == ["user", "assistant", "user"]
    refused = await page.post(
        "/api/conversations/c/messages", json=brought | {"id": "y", "attachments": ["0" * 64]}
    )
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "attachments"


async def test_an_answer_to_a_deleted_conversation_is_dropped(
    page: httpx.AsyncClient, service: FakeService
) -> None:
    await ask(page)
    service.gate = asyncio.Event()
    running = asyncio.ensure_future(answer(page))
    while not service.requests:
        await asyncio.sleep(0)
    await page.delete("/api/conversations/c")
    service.gate.set()
    assert (await running).status_code == 200
    assert (await page.get("/api/data")).json()["messages"] == 0


# ---- pictures ----

PICTURES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"x" * 20,
    "image/gif": b"GIF89a" + b"x" * 20,
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    "image/heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "image/heif": b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1",
    "image/avif": b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf",
}


@pytest.mark.parametrize("media_type", PICTURES)
async def test_pictures_are_known_by_their_bytes(page: httpx.AsyncClient, media_type: str) -> None:
    headers = {"content-type": "text/html"}  # not believed
    made = await page.post("/api/attachments?name=a.html", content=PICTURES[media_type], headers=headers)
    assert made.status_code == 201 and made.json()["media_type"] == media_type
    again = await page.post("/api/attachments", content=PICTURES[media_type])
    assert again.json()["id"] == made.json()["id"]
    shown = await page.get(f"/api/attachments/{made.json()['id']}")
    assert shown.content == PICTURES[media_type] and shown.headers["content-type"] == media_type
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["cache-control"].startswith("private")


@pytest.mark.parametrize(
    "content", [b"", b"<svg onload='x'/>", b"%PDF-1.7", b"<html>", b"\x00\x00\x00\x18ftypisom"]
)
async def test_what_is_no_picture_is_refused(page: httpx.AsyncClient, content: bytes) -> None:
    response = await page.post("/api/attachments", content=content)
    assert response.status_code == 400 and response.json()["error"]["code"] == "invalid_image"


async def test_a_picture_that_is_too_large_is_refused(
    page: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgpt.server.routes.api.attachments.MAX_ATTACHMENT_BYTES", 30)
    assert (await page.post("/api/attachments", content=PNG)).status_code == 413


# ---- settings, data, no store ----


async def test_settings_whole_or_part(page: httpx.AsyncClient) -> None:
    defaults = (await page.get("/api/settings")).json()
    assert defaults == {
        "language": None, "theme": None, "system_prompt": "", "temperature": None, "max_tokens": None,
        "show_tour": True, "model": None,
    }  # fmt: skip
    await page.put("/api/settings", json={"language": "zh", "show_tour": False})
    changed = (await page.put("/api/settings", json={"theme": "dark"})).json()
    assert changed == defaults | {"language": "zh", "theme": "dark", "show_tour": False}
    assert (await page.put("/api/settings", json={"language": None})).json()["language"] is None


async def test_what_is_kept(page: httpx.AsyncClient, store: Store) -> None:
    await ask(page)
    data = (await page.get("/api/data")).json()
    assert data.pop("bytes") > 0
    assert data == {
        "conversations": 1, "messages": 1, "attachments": 0, "responses": 0, "encrypted": True,
        "retention_days": None, "folder": str(store.folder),
    }  # fmt: skip


async def test_without_a_store_the_routes_say_so(http: httpx.AsyncClient) -> None:
    session = (await http.get("/api/session")).json()
    assert session["signed_in"] and not session["encrypted"]
    for method, path in (("GET", "/api/conversations"), ("GET", "/api/settings"), ("DELETE", "/api/session")):
        response = await http.request(method, path)
        assert response.status_code == 503 and response.json()["error"]["code"] == "no_store"


async def test_the_routes_are_documented(page: httpx.AsyncClient) -> None:
    paths = (await page.get("/openapi.json")).json()["paths"]
    ours = {path: operations for path, operations in paths.items() if path.startswith("/api/")}
    assert len(ours) == 19
    for operations in ours.values():
        for operation in operations.values():
            assert operation["summary"] and {"401", "403", "503"} <= set(operation["responses"])
