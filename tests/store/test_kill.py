"""kill -9 at any moment: what was acknowledged is there, and the database is whole."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from localgpt.server.store.opening import DATABASE_FILE, open_store
from tests.law.source import ROOT
from tests.store.conftest import make_settings

PNG = b"\x89PNG\r\n\x1a\n"
SIDES = 6


@dataclass
class Acknowledged:
    """What the server said is kept: message ids with their texts, and pictures with their bytes."""

    messages: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    num_wanted: int = 0
    is_enough: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self.messages) + len(self.pictures)

    def expect(self, num_more: int) -> None:
        """Clear `is_enough` until so many more were acknowledged."""
        self.num_wanted = len(self) + num_more
        self.is_enough.clear()

    def count(self) -> None:
        """One more was acknowledged."""
        if len(self) >= self.num_wanted:
            self.is_enough.set()


@pytest.mark.parametrize("num_kills", [5, pytest.param(100, marks=pytest.mark.prove)])
async def test_nothing_acknowledged_is_lost(num_kills: int, tmp_path: Path) -> None:
    kept = Acknowledged()
    chance = random.Random(num_kills)
    for turn in range(num_kills):
        before = len(kept)
        await serve_until_killed(tmp_path, kept, turn, num_more=chance.randint(1, 60))
        assert len(kept) > before
        await check(tmp_path, kept)


async def serve_until_killed(folder: Path, kept: Acknowledged, turn: int, num_more: int) -> None:
    """Start a server, write to it from several sides, and kill it once so many writes were acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.killable", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = await asyncio.to_thread(process.stdout.readline)
        assert url.startswith("http"), process.communicate()[1]
        kept.expect(num_more)
        async with httpx.AsyncClient(base_url=url.strip(), timeout=60) as client:
            await client.post("/api/conversations", json={"id": "c"})
            writers = [asyncio.ensure_future(write(client, kept, f"{turn}-{side}")) for side in range(SIDES)]
            enough = asyncio.ensure_future(kept.is_enough.wait())
            await asyncio.wait({enough, *writers}, return_when=asyncio.FIRST_COMPLETED)
            process.kill()  # while the writers are at it
            assert enough.done(), "a writer ended by itself"
            await asyncio.gather(*writers)
    finally:
        process.kill()
        process.communicate()


async def write(client: httpx.AsyncClient, kept: Acknowledged, name: str) -> None:
    """Pictures, messages and answers, one after the other, until the server is gone."""
    number = 0
    try:
        while True:
            number += 1
            mark = f"{name}-{number}"
            picture = PNG + mark.encode() * 500
            made = await client.post("/api/attachments", content=picture)
            assert made.status_code == 201
            picture_id = made.json()["id"]
            kept.pictures[picture_id] = picture
            kept.count()
            message = {
                "id": f"m{mark}",
                "parent_id": None,
                "text": f"text {mark}",
                "attachments": [picture_id],
            }
            said = await client.post("/api/conversations/c/messages", json=message)
            assert said.status_code == 201
            kept.messages[f"m{mark}"] = f"text {mark}"
            kept.count()
            wanted = {"id": f"a{mark}", "parent_id": f"m{mark}"}
            answered = await client.post("/api/conversations/c/answer", json=wanted)
            assert answered.status_code == 200 and answered.text.endswith("data: [DONE]\n\n")
            kept.messages[f"a{mark}"] = "Hello, world."
            kept.count()
    except httpx.TransportError:
        return


async def check(folder: Path, kept: Acknowledged) -> None:
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    store = await open_store(make_settings(folder))
    messages = {message.id: message for message in await store.conversations.messages("local", "c")}
    assert {name: messages[name].text for name in kept.messages} == kept.messages
    conversation = await store.conversations.get("local", "c")
    assert conversation is not None and conversation.num_messages == len(messages)
    for picture_id, content in kept.pictures.items():
        found = await store.attachments.get("local", picture_id)
        assert found is not None and found.data == content
    await store.close()
