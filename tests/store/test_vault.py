"""Encryption at rest: what opens a store, what does not, and that values cannot be changed or moved."""

from __future__ import annotations

import json
import os
import stat
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from localgpt.errors import ConfigError, LocalGPTError, StoreError
from localgpt.server.store import vault
from localgpt.server.store.opening import DATABASE_FILE, Store, open_store
from localgpt.server.store.records import StoredMessage
from localgpt.server.store.sealing import Sealer
from localgpt.settings import Settings
from tests.store.conftest import make_settings

KEY = bytes(range(32))


# ---- values ----


def test_every_changed_byte_is_noticed() -> None:
    sealer = Sealer(KEY, encrypt=True)
    sealed = sealer.seal(b"secret", "t", "c", "row")
    assert sealer.unseal(sealed, "t", "c", "row") == b"secret" and b"secret" not in sealed
    assert sealed != sealer.seal(b"secret", "t", "c", "row")
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(StoreError, match="damaged or changed"):
            sealer.unseal(bytes(changed), "t", "c", "row")
    for cut in (b"", sealed[:1], sealed[:12], sealed[:-1], b"\x00secret"):
        with pytest.raises(StoreError):
            sealer.unseal(cut, "t", "c", "row")


def test_a_value_opens_in_its_own_place_alone() -> None:
    sealer = Sealer(KEY, encrypt=True)
    sealed = sealer.seal(b"secret", "messages", "content", "local", "c", "m")
    for place in (
        ("messages", "content", "other", "c", "m"),
        ("messages", "content", "local", "c", "n"),
        ("messages", "title", "local", "c", "m"),
        ("messages", "content", "local", '","c', "m"),
        ("messages", "content", "local", "cm"),
    ):
        with pytest.raises(StoreError):
            sealer.unseal(sealed, *place)
    with pytest.raises(StoreError):
        Sealer(KEY[::-1], encrypt=True).unseal(sealed, "messages", "content", "local", "c", "m")


def test_without_encryption_sealed_values_are_no_text() -> None:
    sealed = Sealer(KEY, encrypt=True).seal(b"secret", "t", "c", "row")
    plain = Sealer(KEY, encrypt=False)
    assert plain.unseal(plain.seal(b"open", "t", "c", "row"), "t", "c", "row") == b"open"
    with pytest.raises(StoreError):
        plain.unseal(sealed, "t", "c", "row")


def test_fingerprints_need_the_key() -> None:
    one, other = Sealer(KEY, encrypt=True), Sealer(KEY[::-1], encrypt=True)
    assert one.fingerprint("a", b"x") == one.fingerprint("a", b"x")
    assert len({one.fingerprint("a", b"x"), one.fingerprint("b", b"x"), other.fingerprint("a", b"x")}) == 3


async def test_rows_that_are_swapped_do_not_open(tmp_path: Path) -> None:
    store = await filled(make_settings(tmp_path))

    async def swap(connection: Any) -> None:
        await connection.execute(text("UPDATE messages SET id = 'x' WHERE id = 'a'"))

    await store.database.write(swap)
    with pytest.raises(StoreError, match=r"messages\.content"):
        await store.conversations.messages("local", "c")
    await store.close()


async def filled(settings: Settings) -> Store:
    store = await open_store(settings)
    await store.conversations.create("local", "c", "title")
    message = StoredMessage(id="a", parent_id=None, role="user", text="a secret")
    await store.conversations.add("local", "c", message)
    return store


# ---- what opens a store ----


class FakeKeyring(types.ModuleType):
    """Stands in for the operating system's."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


WAYS: dict[str, dict[str, Any]] = {
    "file": {},
    "passphrase": {"passphrase": "correct horse"},
    "keyring": {"use_keyring": True},
    "none": {"encrypt": False},
}


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> FakeKeyring:
    fake = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return fake


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_opens_what_it_closed_and_no_other_does(
    way: str, tmp_path: Path, keyring: FakeKeyring
) -> None:
    await (await filled(make_settings(tmp_path, **WAYS[way]))).close()
    store = await open_store(make_settings(tmp_path, **WAYS[way]))
    assert (await store.conversations.messages("local", "c"))[0].text == "a secret"
    assert store.encrypts is (way != "none")
    await store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert (b"a secret" in content) is (way == "none")
    assert (tmp_path / vault.KEY_FILE).exists() is (way == "file")
    for other in WAYS.keys() - {way}:
        with pytest.raises(ConfigError, match="this store is opened by") as refused:
            await open_store(make_settings(tmp_path, **WAYS[other]))
        assert "\n" not in str(refused.value)


def change_key_file(folder: Path) -> None:
    (folder / vault.KEY_FILE).write_text("00" * 32 + "\n")


def shorten_key_file(folder: Path) -> None:
    (folder / vault.KEY_FILE).write_text("00")


def delete_key_file(folder: Path) -> None:
    (folder / vault.KEY_FILE).unlink()


def open_key_file_to_others(folder: Path) -> None:
    (folder / vault.KEY_FILE).chmod(0o644)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (change_key_file, "is not the key of this store"),
        (shorten_key_file, "is damaged"),
        (delete_key_file, "is missing"),
        (open_key_file_to_others, "chmod 600"),
    ],
)
async def test_a_key_file_that_is_wrong_is_one_clear_error(
    harm: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path)
    await (await filled(settings)).close()
    kept = (tmp_path / vault.KEY_FILE).read_text()
    harm(tmp_path)
    with pytest.raises(StoreError, match=message):
        await open_store(settings)
    (tmp_path / vault.KEY_FILE).write_text(kept)
    (tmp_path / vault.KEY_FILE).chmod(0o600)
    await (await open_store(settings)).close()  # nothing was lost


async def test_a_wrong_passphrase_is_one_clear_error(tmp_path: Path) -> None:
    await (await filled(make_settings(tmp_path, passphrase="correct horse"))).close()
    with pytest.raises(StoreError, match="passphrase does not open"):
        await open_store(make_settings(tmp_path, passphrase="correct house"))
    await (await open_store(make_settings(tmp_path, passphrase=" correct horse "))).close()


@pytest.mark.parametrize(
    "values",
    [
        {"passphrase": "x", "use_keyring": True},
        {"passphrase": "x", "encrypt": False},
        {"use_keyring": True, "encrypt": False},
    ],
)
async def test_settings_that_contradict_each_other_make_nothing(
    values: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError):
        await open_store(make_settings(tmp_path / "home", **values))
    assert not (tmp_path / "home" / vault.KEY_FILE).exists()


async def test_the_keyring_says_what_is_missing(
    tmp_path: Path, keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, use_keyring=True)
    await (await filled(settings)).close()
    keyring.kept.clear()
    with pytest.raises(StoreError, match="keyring has no key"):
        await open_store(settings)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match=r"localgpt\[keyring\]"):
        await open_store(settings)


def test_a_record_that_asks_for_less_work_is_refused(tmp_path: Path) -> None:
    record = json.loads(vault.wrap(KEY, "words"))
    assert vault.unwrap(json.dumps(record), "words") == KEY
    with pytest.raises(ConfigError, match="passphrase is empty"):
        vault.wrap(KEY, " ")
    changes: list[tuple[str, Any, type[LocalGPTError]]] = [
        ("n", 2, StoreError),
        ("n", 2**30, StoreError),
        ("n", record["n"] * 2, StoreError),
        ("salt", "AAAA", StoreError),
        ("version", 2, StoreError),
        ("by", "none", StoreError),
        ("by", "nobody", StoreError),
    ]
    for name, value, kind in changes:
        with pytest.raises(kind):
            vault.unwrap(json.dumps(record | {name: value}), "words")
    with pytest.raises(StoreError):
        vault.unwrap("{", "words")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
async def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = await filled(make_settings(home))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    names = {path.name for path in home.iterdir()}
    assert {DATABASE_FILE, f"{DATABASE_FILE}-wal", vault.KEY_FILE} <= names
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    await store.close()
