"""What was deleted is in no file any more; what is encrypted never was."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgpt.server.store.opening import Store, open_store
from localgpt.server.store.records import StoredMessage
from tests.store.conftest import make_settings

CANARY = "canary-7f3a91"


async def fill(store: Store) -> None:
    """A canary in every kind of value, among others that stay."""
    for name in ("stays", "goes"):
        await store.conversations.create("local", name, f"{CANARY} title" if name == "goes" else "other")
        for index in range(40):
            words = f"{CANARY} {index} " * 50 if name == "goes" else "something else " * 50
            message = StoredMessage(id=f"m{index}", parent_id=None, role="user", text=words)
            await store.conversations.add("local", name, message)
    picture = await store.attachments.put("local", CANARY.encode() * 20_000, "image/png", f"{CANARY}.png")
    shown = StoredMessage(id="p", parent_id=None, role="user", text="look")
    await store.conversations.add("local", "goes", shown, [picture.id])
    await store.conversations.change("local", "goes", title=f"{CANARY} renamed")
    await store.preferences.change("local", system_prompt=CANARY)
    await store.responses.put("local", "r", CANARY.encode() * 1000)
    await store.accounts.create(f"{CANARY} key", "user")


def holders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if CANARY.encode() in path.read_bytes()]


async def test_deleted_is_gone_from_every_file(tmp_path: Path) -> None:
    store = await open_store(make_settings(tmp_path, encrypt=False))
    await fill(store)
    assert holders(tmp_path), "the canary must be there first"
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    await store.conversations.delete("local", "goes")
    await store.preferences.change("local", system_prompt="")
    await store.accounts.revoke(f"{CANARY} key")
    await store.responses.delete("local", "r")  # last, so that its purge covers the others
    assert holders(tmp_path) == []
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < size
    assert len(await store.conversations.messages("local", "stays")) == 40
    await store.close()
    assert holders(tmp_path) == []


async def test_retention_leaves_nothing_either(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, encrypt=False, retention_days=1)
    store = await open_store(settings)
    await store.conversations.create("local", "c", CANARY)
    await store.close()
    assert holders(tmp_path)
    later = await open_store(settings, lambda: 4_000_000_000.0)
    await later.tidy()
    assert holders(tmp_path) == []
    await later.close()


@pytest.mark.parametrize("values", [{}, {"passphrase": "several words"}])
async def test_encrypted_is_never_readable(tmp_path: Path, values: dict[str, str]) -> None:
    store = await open_store(make_settings(tmp_path, **values))
    await fill(store)
    assert holders(tmp_path) == []
    await store.close()
    assert holders(tmp_path) == []
