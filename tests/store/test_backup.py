"""Backups: whole, sealed, taken from a running store; restores that check everything before they replace."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from localgpt.errors import ConfigError, LocalGPTError, StoreError
from localgpt.server.store import vault
from localgpt.server.store.backup import create_backup, restore_backup
from localgpt.server.store.chunks import MAGIC
from localgpt.server.store.opening import DATABASE_FILE, Store, open_store
from localgpt.server.store.records import StoredMessage
from localgpt.settings import Settings
from tests.store.conftest import make_settings

WORDS = "several words"


async def write(store: Store, name: str) -> None:
    await store.conversations.create("local", name, "a title")
    ref = await store.attachments.put("local", name.encode() * 100_000, "image/png")
    message = StoredMessage(id="m", parent_id=None, role="user", text=f"secret {name}")
    await store.conversations.add("local", name, message, [ref.id])


async def titles(settings: Settings) -> list[str]:
    store = await open_store(settings)
    found = (await store.conversations.find("local")).conversations
    texts = [(await store.conversations.messages("local", one.id))[0].text for one in found]
    await store.close()
    return texts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "home")


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """Open, and with one conversation and a key in it."""
    opened = await open_store(settings)
    await write(opened, "one")
    await opened.accounts.create("phone", "user")
    yield opened
    await opened.close()


async def test_a_backup_of_a_running_store_is_restored(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    report = create_backup(settings, file)
    assert (report.num_conversations, report.num_messages, report.sealed_by) == (1, 1, "file")
    assert report.num_bytes == file.stat().st_size and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes()
    await write(store, "two")
    with pytest.raises(StoreError, match="stop it first"):
        restore_backup(settings, file, force=True)
    await store.close()
    with pytest.raises(ConfigError, match="--force"):
        restore_backup(settings, file)
    assert await titles(settings) == ["secret two", "secret one"]
    restore_backup(settings, file, force=True)
    assert await titles(settings) == ["secret one"]
    again = await open_store(settings)
    assert [entry.name for entry in await again.accounts.entries()] == ["phone"]
    (ref,) = (await again.conversations.messages("local", "one"))[0].attachments
    found = await again.attachments.get("local", ref.id)
    assert found is not None and found.data == b"one" * 100_000
    await again.close()
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left == {DATABASE_FILE, vault.KEY_FILE, "store.lock"}


async def test_a_passphrase_opens_it_on_another_machine(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    assert create_backup(settings, file, WORDS).sealed_by == "passphrase"
    assert b"secret" not in file.read_bytes()
    for values in ({}, {"passphrase": "of the new store"}):
        other = make_settings(tmp_path / f"other{len(values)}", **values)
        with pytest.raises(StoreError, match="passphrase does not open"):
            restore_backup(other, file, "wrong")
        with pytest.raises(LocalGPTError):
            restore_backup(other, file)
        restore_backup(other, file, WORDS)
        assert await titles(other) == ["secret one"]
    plain = make_settings(tmp_path / "plain", encrypt=False)
    with pytest.raises(ConfigError, match="LOCALGPT_ENCRYPT=true"):
        restore_backup(plain, file, WORDS)


async def test_without_its_key_a_backup_stays_closed(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    create_backup(settings, file)
    other = make_settings(tmp_path / "other")
    with pytest.raises(StoreError, match=r"key file .* is missing"):
        restore_backup(other, file)
    await (await open_store(other)).close()
    with pytest.raises(StoreError, match="not the key of this store"):
        restore_backup(other, file, force=True)
    assert await titles(other) == []


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


async def test_every_damage_is_noticed_and_nothing_is_lost(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    create_backup(settings, file)
    await store.close()
    whole = file.read_bytes()
    broken = [
        b"",
        b"hello",
        MAGIC,
        whole[: len(MAGIC) + 3],
        whole[:200],
        whole[: len(whole) // 2],
        whole[:-1],
        whole + b"x",
        whole.replace(b'"version": 1', b'"version": 2'),
        *(
            whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            for at in range(0, len(whole), len(whole) // 25)
        ),
    ]
    for content in broken:
        file.write_bytes(content)
        with pytest.raises(LocalGPTError) as refused:
            restore_backup(settings, file, force=True)
        assert "\n" not in str(refused.value)
    assert await titles(settings) == ["secret one"]


async def test_a_whole_chunk_that_is_missing_is_noticed(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgpt.server.store.chunks._CHUNK_BYTES", 1000)
    file = tmp_path / "backup"
    create_backup(settings, file)
    await store.close()
    restore_backup(settings, file, force=True)
    whole = file.read_bytes()
    body = len(MAGIC) + 4 + int.from_bytes(whole[len(MAGIC) : len(MAGIC) + 4], "big")
    sealed = [whole[at : at + 1016] for at in range(body, len(whole), 1016)]
    assert len(sealed) > 5
    for pieces in (sealed[:-1], sealed[1:], [sealed[1], sealed[0], *sealed[2:]], [*sealed, sealed[-1]]):
        file.write_bytes(whole[:body] + b"".join(pieces))
        with pytest.raises(StoreError, match="cut short, damaged or changed"):
            restore_backup(settings, file, force=True)


async def test_what_cannot_be_backed_up_is_told(store: Store, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="already"):
        create_backup(settings, file)
    assert file.read_text() == "mine"
    with pytest.raises(StoreError, match="no store"):
        create_backup(make_settings(tmp_path / "empty"), tmp_path / "other")
    with pytest.raises(StoreError, match="cannot write"):
        create_backup(settings, tmp_path / "no" / "folder")
    with pytest.raises(StoreError, match="cannot read"):
        restore_backup(settings.model_copy(update={"data_dir": tmp_path / "new"}), tmp_path / "nothing")
    elsewhere = make_settings(tmp_path / "pg", database_url="postgresql+asyncpg://localhost/x")
    with pytest.raises(ConfigError, match="pg_dump"):
        create_backup(elsewhere, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "home", "new"]


async def test_a_backup_without_encryption_says_so(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home", encrypt=False)
    store = await open_store(settings)
    await write(store, "one")
    await store.close()
    assert create_backup(settings, tmp_path / "plain").sealed_by == "none"
    create_backup(settings, tmp_path / "sealed", WORDS)
    assert b"secret" not in (tmp_path / "sealed").read_bytes()
    other = make_settings(tmp_path / "other", encrypt=False)
    restore_backup(other, tmp_path / "sealed", WORDS)
    assert await titles(other) == ["secret one"]
    restore_backup(other, tmp_path / "plain", force=True)
    assert await titles(other) == ["secret one"]
