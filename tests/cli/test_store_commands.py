"""`keys`, `backup` and `restore`: their answers, and their mistakes in one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from localgpt.server.store import opening
from localgpt.server.store.opening import Store
from localgpt.settings import Settings
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the commands."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LOCALGPT_HOME", str(folder))
    return folder


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    assert "there is no key" in run("keys", "list").err
    made = run("keys", "create", "phone", "--json", "--requests-per-minute", "5", "--max_parallel", "2").json
    assert made["key"].startswith("sk-") and (made["role"], made["name"]) == ("user", "phone")
    assert made["limits"] == {"requests_per_minute": 5, "max_parallel": 2}
    assert "no key is an admin's" in run("keys", "create", "tablet").err
    run("keys", "revoke", "tablet")
    plain = run("keys", "create", "laptop", "--role", "admin")
    assert plain.status == 0 and plain.out.startswith("sk-") and plain.out.count("\n") == 1
    listed = run("keys", "list", "--json")
    assert [entry["name"] for entry in listed.json["keys"]] == ["phone", "laptop"]
    assert made["key"] not in listed.out and "sk-" not in listed.out
    text = run("keys", "list").out
    assert "5 requests a minute" in text and "2 at once" in text and "never used" in text
    revoked = run("keys", "revoke", "phone", "--json").json
    assert revoked["revoked"]["id"] == made["id"] and revoked["deleted_conversations"] is None
    assert [entry["name"] for entry in run("keys", "list", "--json").json["keys"]] == ["laptop"]
    assert "removed 0 conversations" in run("keys", "revoke", "laptop", "--delete-data").out
    assert "create" in run("keys").out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("keys", "revoke", "nobody"), "no key 'nobody'"),
        (("keys", "create", " "), "name is empty"),
        (("keys", "create", "x", "--role", "king"), "king"),
        (("keys", "create", "x", "--max-parallel", "0"), "max-parallel"),
        (("backup", "file"), "no store"),
        (("restore", "nothing"), "cannot read the backup"),
        (("backup", "file", "--passphrase-file", "nothing"), "cannot read the passphrase file"),
    ],
)
def test_mistakes_are_one_line(run: Run, arguments: tuple[str, ...], part: str) -> None:
    outcome = run(*arguments)
    assert outcome.status == 2 and part in outcome.line


def test_names_are_taken_once(run: Run) -> None:
    run("keys", "create", "phone")
    assert "already" in run("keys", "create", "phone").line


def test_a_backup_goes_round(run: Run, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgpt.server.store.vault.SCRYPT_COST", 2**14)
    run("keys", "create", "phone")
    (tmp_path / "words").write_text("several words\n")
    made = run("backup", "file", "--passphrase-file", "words", "--json").json
    assert made["path"] == "file" and made["sealed_by"] == "passphrase"
    assert made["bytes"] == (tmp_path / "file").stat().st_size
    assert "store.key" in run("backup", "other").err
    assert "--force" in run("restore", "file", "--passphrase-file", "words").line
    monkeypatch.setenv("LOCALGPT_HOME", str(tmp_path / "new"))
    assert "LOCALGPT_BACKUP_PASSPHRASE" in run("restore", "file").line
    monkeypatch.setenv("LOCALGPT_BACKUP_PASSPHRASE", "")
    assert "LOCALGPT_BACKUP_PASSPHRASE is empty" in run("backup", "again").line
    monkeypatch.setenv("LOCALGPT_BACKUP_PASSPHRASE", "wrong")
    assert "passphrase does not open" in run("restore", "file").line
    monkeypatch.setenv("LOCALGPT_BACKUP_PASSPHRASE", "several words")
    restored = run("restore", "file", "--json").json
    assert restored["path"] == str(tmp_path / "new") and restored["messages"] == 0
    assert [entry["name"] for entry in run("keys", "list", "--json").json["keys"]] == ["phone"]
    assert "0 conversations" in run("restore", "file", "--force").out


def test_the_store_gets_a_new_key(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgpt.server.store.vault.SCRYPT_COST", 2**14)
    assert "no store" in run("keys", "rotate-store").line
    run("keys", "create", "phone")
    done = run("keys", "rotate-store")
    assert "1 value is sealed" in done.out and "store.key.old-" in done.err and "keep a copy" in done.err
    (tmp_path / "words").write_text("several words\n")
    done = run("keys", "rotate-store", "--new-passphrase-file", "words", "--json")
    assert done.json == {"values": 1, "opened_by": "passphrase", "former_key": str(home / "store.key")}
    assert "set LOCALGPT_PASSPHRASE" in run("keys", "list").line
    monkeypatch.setenv("LOCALGPT_PASSPHRASE", "several words")
    assert [entry["name"] for entry in run("keys", "list", "--json").json["keys"]] == ["phone"]
    done = run("keys", "rotate-store", "--by", "file")
    assert "from now on, leave LOCALGPT_PASSPHRASE" in done.err
    assert (
        "cannot read the passphrase file" in run("keys", "rotate-store", "--new-passphrase-file", "no").line
    )


def test_an_encrypted_store_asks_for_what_opens_it(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("keys", "create", "phone")
    (home / "store.key").rename(home / "elsewhere")
    assert "store.key is missing" in run("keys", "list").line
    monkeypatch.setenv("LOCALGPT_ENCRYPT", "false")
    assert "opened by the key file" in run("keys", "list").line


def test_the_last_admins_key_goes_by_force(run: Run) -> None:
    run("keys", "create", "phone")
    run("keys", "create", "laptop", "--role", "admin")
    assert "last admin's key" in run("keys", "revoke", "laptop").line
    assert run("keys", "revoke", "laptop", "--force").status == 0


def test_an_admin_takes_over_by_its_flag_alone(run: Run) -> None:
    run("keys", "create", "alice", "--role", "admin")
    taken = ("keys", "create", "bob", "--role", "admin", "--take-over")
    assert "'alice' opens what was written" in run(*taken).line
    run("keys", "revoke", "alice")
    assert "--take-over opens it" in run("keys", "create", "dave", "--role", "admin").err
    assert "take-over" not in run(*taken).err
    assert "only an admin's key" in run("keys", "create", "carol", "--take-over").line


@pytest.mark.parametrize(
    "public",
    [
        ("--host", "0.0.0.0"),
        ("--allowed-host", "chat.example"),
        ("--allowed-host", "chat.example", "--trusted-proxy", "127.0.0.1"),
    ],
)
def test_a_public_server_needs_a_key_that_may_be_in_the_store(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, public: tuple[str, ...]
) -> None:
    asked: list[Settings] = []
    opened: list[Settings] = []
    monkeypatch.setattr("localgpt.server.start.log_to_stderr", lambda settings: None)
    monkeypatch.setattr("localgpt.server.start._serve", lambda settings, *_: asked.append(settings))
    serve = ("serve", *public, "--data-dir", str(home))
    refused = run(*serve)
    assert f"localgpt serve {' '.join(public)} --api-key sk-" in refused.line
    assert "localgpt keys create" in refused.line
    assert not asked and not home.exists()
    run("keys", "create", "phone", "--data-dir", str(home))
    monkeypatch.setattr(opening, "open_store", partial(_open_noted, opened, opening.open_store))
    assert run(*serve).status == 0
    assert len(asked) == len(opened) == 1
    run("keys", "revoke", "phone", "--data-dir", str(home))
    assert "localgpt keys create" in run(*serve).line


async def _open_noted(
    opened: list[Settings], open_store: Callable[..., Awaitable[Store]], settings: Settings
) -> Store:
    opened.append(settings)
    return await open_store(settings)
