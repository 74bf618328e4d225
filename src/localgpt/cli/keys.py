"""`localgpt keys`: who may use the server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localgpt.cli.backup import read_words
from localgpt.cli.console import note, print_json, progress, write_text
from localgpt.cli.interrupts import graceful_interrupts
from localgpt.cli.options import DataDirOption, JsonOption, settings_of

if TYPE_CHECKING:
    from localgpt.server.store.opening import Store
    from localgpt.server.store.records import KeyEntry

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def keys(context: typer.Context) -> None:
    """Say who may use the server: create, list and revoke keys; or give the store a new one."""
    if context.invoked_subcommand is None:
        write_text(context.get_help())


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what it is for.")],
    role: Annotated[
        Literal["admin", "user"],
        typer.Option("--role", metavar="admin|user", help="An admin may make and revoke keys on the page."),
    ] = "user",
    requests_per_minute: Annotated[
        int | None,
        typer.Option("--requests-per-minute", metavar="N", min=1, help="Default: as many as there are."),
    ] = None,
    max_parallel: Annotated[
        int | None,
        typer.Option("--max-parallel", metavar="N", min=1, help="Running and waiting. Default: no limit."),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Open what was written without a key though an earlier admin's key opened it, who may have "
            "written there too.",
        ),
    ] = False,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key and write it once; it is stored nowhere.

    From the first key on, every request to the server needs one. The first admin's key opens the
    conversations that were written while there was none; later ones do not. A running server heeds it within
    a second.
    """
    from localgpt.errors import ConfigError
    from localgpt.server.store.opening import with_store
    from localgpt.server.store.records import LOCAL_OWNER, Limits

    if not name.strip() or len(name) > 100:
        raise ConfigError("the name is empty or longer than 100 characters; expected a word or two")
    settings = settings_of(data_dir=data_dir)
    limits = Limits(requests_per_minute=requests_per_minute, max_parallel=max_parallel)

    async def work(store: Store) -> tuple[KeyEntry, str, list[KeyEntry]]:
        made = await store.accounts.create(
            name.strip(), role, limits, may_own_local=not settings.api_keys, take_over=take_over
        )
        return *made, await store.accounts.entries()

    entry, key, entries = with_store(settings, work)
    if json:
        print_json(_as_json(entry) | {"key": key})
        return
    note(f"{role} key {entry.name!r} ({entry.id}); it is shown this once")
    if not any(other.role == "admin" for other in entries):
        note("no key is an admin's yet: localgpt keys create NAME --role admin makes one")
    elif role == "admin" and not (settings.api_keys or any(other.owner == LOCAL_OWNER for other in entries)):
        note("what was written without a key, or by an earlier admin, stays closed; --take-over opens it")
    write_text(key)


@app.command("list")
def list_keys(json: JsonOption = False, data_dir: DataDirOption = None) -> None:
    """List the keys, without the keys themselves."""
    from localgpt.server.store.opening import with_store

    entries = with_store(settings_of(data_dir=data_dir), lambda store: store.accounts.entries())
    if json:
        print_json({"keys": [_as_json(entry) for entry in entries]})
        return
    if not entries:
        note("there is no key: whoever is on this machine may use the server")
    for entry in entries:
        write_text(_as_line(entry))


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or id.")],
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Remove what its owner wrote, too: there is no way back.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Revoke the last admin's key too, while others need an admin.")
    ] = False,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Revoke a key and sign its browsers out; what its owner wrote stays unless told otherwise.

    A running server heeds it within a second.
    """
    from localgpt.server.access import keep_admin
    from localgpt.server.store.opening import with_store

    settings = settings_of(data_dir=data_dir)

    async def work(store: Store) -> tuple[KeyEntry, int | None]:
        entry = await store.accounts.revoke(key, keep_admin=keep_admin(settings, force=force))
        if not delete_data:
            return entry, None
        return entry, (await store.forget(entry.owner, with_settings=True)).num_conversations

    entry, num_deleted = with_store(settings, work)
    if json:
        print_json({"revoked": _as_json(entry), "deleted_conversations": num_deleted})
        return
    write_text(f"revoked {entry.name} ({entry.id})")
    if num_deleted is not None:
        write_text(f"removed {num_deleted} conversations and everything else of its owner's")


@app.command("rotate-store")
def rotate_store(
    by: Annotated[
        Literal["file", "passphrase", "keyring"] | None,
        typer.Option(
            "--by",
            metavar="file|passphrase|keyring",
            help="What opens the store from now on. Default: what opens it now.",
        ),
    ] = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--new-passphrase-file",
            metavar="FILE",
            help="Holds the words that open it from now on. Default: the words stay, and the key behind them "
            "changes.",
        ),
    ] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Seal everything that is stored with a new key; the server must be stopped.

    Whoever had the former key file or passphrase cannot read what is stored any more, nor what will be.
    Backups that were made before still open with the former one alone: keep it, or make a new backup. Ended
    at any moment, the store opens as before or as told here.
    """
    from localgpt.server.store.rotation import rotate_store as rotate
    from localgpt.server.store.vault import how_to_open

    words = None if new_passphrase_file is None else read_words(new_passphrase_file)
    with progress("Sealing the store with a new key"), graceful_interrupts():
        done = rotate(settings_of(data_dir=data_dir), by, words)
    former = None if done.former_key is None else str(done.former_key)
    if json:
        print_json({"values": done.num_values, "opened_by": done.opened_by, "former_key": former})
        return
    write_text(
        f"{done.num_values} {'value is' if done.num_values == 1 else 'values are'} sealed with a new key"
    )
    if words is not None or done.opened_by != done.was_opened_by:
        note(f"to open the store from now on, {how_to_open(done.opened_by)}")
    if former is not None:
        note(
            f"{former} opens nothing but backups that were made before; delete it when you need none of them"
        )
    if done.opened_by == "file":
        note("keep a copy of the new store.key elsewhere")


def _as_json(entry: KeyEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": entry.name,
        "role": entry.role,
        "created_at": entry.created_at,
        "last_used_at": entry.last_used_at,
        "limits": {
            "requests_per_minute": entry.limits.requests_per_minute,
            "max_parallel": entry.limits.max_parallel,
        },
    }


def _as_line(entry: KeyEntry) -> str:
    limits = [
        f"{value} {what}"
        for value, what in (
            (entry.limits.requests_per_minute, "requests a minute"),
            (entry.limits.max_parallel, "at once"),
        )
        if value is not None
    ]
    used = "never used" if entry.last_used_at is None else f"used {_day(entry.last_used_at)}"
    parts = (entry.id, entry.role, entry.name, f"made {_day(entry.created_at)}", used, *limits)
    return "  ".join(parts)


def _day(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}"
