"""The page's routes: what is kept is read as of one moment, counted, and removed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from localgpt.server.store.opening import Store
from localgpt.server.store.records import StoredMessage


async def add(store: Store, message_id: str, *attachment_ids: str) -> None:
    message = StoredMessage(id=message_id, parent_id=None, role="user", text="Hi")
    assert await store.conversations.add("local", "c", message, attachment_ids)


async def test_the_shown_branch_is_never_older_than_the_messages(
    page: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.conversations.create("local", "c")
    await add(store, "m0")
    read, num_reads = store.database.read, 0

    async def read_and_be_overtaken(work: Any) -> Any:
        nonlocal num_reads
        found = await read(work)
        num_reads += 1
        await add(store, f"m{num_reads}")
        return found

    monkeypatch.setattr(store.database, "read", read_and_be_overtaken)
    for path in ("/api/conversations/c", "/api/conversations/c/export?format=json"):
        found = (await page.get(path)).json()
        assert found["leaf"] == found["messages"][-1]["id"]
        assert found["num_messages"] == len(found["messages"])
    assert num_reads >= 2


async def test_everything_is_counted_and_removed_but_the_settings(
    page: httpx.AsyncClient, store: Store
) -> None:
    picture = await store.attachments.put("local", b"picture", "image/png")
    await store.attachments.put("local", b"of an unsent message", "image/png")
    await store.conversations.create("local", "c")
    await add(store, "m", picture.id)
    response = (await page.post("/v1/responses", json={"input": "Hi"})).json()
    await store.responses.put("key_other", "resp_1", b"of another owner")
    await page.put("/api/settings", json={"system_prompt": "Be kind."})
    counts = {"conversations": 1, "messages": 1, "attachments": 2, "responses": 1}
    assert (await page.get("/api/data")).json().items() >= counts.items()
    assert (await page.delete("/api/data")).json() == counts
    left = (await page.get("/api/data")).json()
    assert [left[name] for name in (*counts, "bytes")] == [0] * 5
    assert (await page.get(f"/v1/responses/{response['id']}")).status_code == 404
    assert (await store.summary("key_other")).num_responses == 1
    assert (await page.get("/api/settings")).json()["system_prompt"] == "Be kind."
    assert (await page.delete("/api/data?settings=true")).status_code == 200
    assert (await page.get("/api/settings")).json()["system_prompt"] == ""
