"""Keys and sessions, over both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from localgpt.errors import InputError
from localgpt.server.store.accounts import SESSION_S
from localgpt.server.store.opening import Store, open_store
from localgpt.server.store.records import LOCAL_OWNER, Limits
from localgpt.server.store.tables import sessions
from localgpt.settings import Settings
from tests.store.conftest import Clock


async def test_a_key_is_found_and_nowhere_written(store: Store, settings: Settings) -> None:
    limits = Limits(requests_per_minute=10, max_parallel=2)
    entry, key = await store.accounts.create("phone", "user", limits)
    assert key.startswith("sk-") and len(key) >= 43
    found = await store.accounts.find(key)
    assert found == entry and found.limits == limits and store.accounts.limits_of(entry.owner) == limits
    for wrong in ("", "sk-", key[:-1], key + "x", key.upper(), "\ud800"):
        assert await store.accounts.find(wrong) is None
    if settings.database_url is None:
        for path in store.folder.iterdir():
            assert key.encode() not in path.read_bytes() and b"phone" not in path.read_bytes()


async def test_names_are_taken_once(store: Store) -> None:
    await store.accounts.create("phone", "user")
    with pytest.raises(InputError, match="already"):
        await store.accounts.create("phone", "admin")


async def test_the_first_admin_owns_what_was_there(store: Store) -> None:
    user, _ = await store.accounts.create("user", "user")
    stranger, _ = await store.accounts.create("stranger", "admin", may_own_local=False)
    first, _ = await store.accounts.create("first", "admin")
    second, _ = await store.accounts.create("second", "admin")
    assert first.owner == LOCAL_OWNER
    owners = {user.owner, stranger.owner, second.owner}
    assert len(owners) == 3 and LOCAL_OWNER not in owners


async def test_a_revoked_key_and_its_sessions_end(store: Store) -> None:
    entry, key = await store.accounts.create("phone", "user")
    token = await store.accounts.sign_in(entry.id)
    assert await store.accounts.session_account(token) == entry.id
    await store.accounts.revoke("phone")
    assert await store.accounts.find(key) is None and not await store.accounts.has_keys()
    assert await store.accounts.session_account(token) is None
    with pytest.raises(InputError, match="no key"):
        await store.accounts.revoke("phone")


async def test_sessions_end_by_time_and_by_hand(store: Store, clock: Clock) -> None:
    first, second = await store.accounts.sign_in("key_a"), await store.accounts.sign_in("key_a")
    await store.accounts.sign_out(first)
    assert await store.accounts.session_account(first) is None
    assert await store.accounts.session_account(second) == "key_a"
    clock.now += SESSION_S
    assert await store.accounts.session_account(second) is None
    await store.accounts.sign_in("key_a")
    count = select(func.count()).select_from(sessions)
    assert await store.database.read(lambda connection: connection.scalar(count)) == 1


async def test_another_programs_changes_count_within_a_second(settings: Settings, clock: Clock) -> None:
    server, command = await open_store(settings, clock), await open_store(settings, clock)
    assert not await server.accounts.has_keys()
    entry, key = await command.accounts.create("phone", "user")
    clock.now += 1
    assert await server.accounts.find(key) == entry
    await command.accounts.revoke(entry.id)
    clock.now += 1
    assert await server.accounts.find(key) is None
    await command.close()
    await server.close()


async def test_use_is_noted_by_the_minute(store: Store, clock: Clock) -> None:
    _, key = await store.accounts.create("phone", "user")
    for _ in range(3):
        found = await store.accounts.find(key)
        assert found is not None
        await store.accounts.note_use(found)
    (listed,) = await store.accounts.entries()
    assert listed.last_used_at is not None
    clock.now += 61
    await store.accounts.note_use(listed)
    (later,) = await store.accounts.entries()
    assert later.last_used_at is not None and later.last_used_at >= listed.last_used_at + 60


async def test_a_mark_of_a_foreign_key_tells_nothing(store: Store) -> None:
    mark = store.accounts.mark_of("weak")
    assert mark == store.accounts.mark_of("weak") != store.accounts.mark_of("week")
    assert "weak" not in mark
