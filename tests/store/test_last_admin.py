"""The last admin's key, and what was written without one."""

from __future__ import annotations

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import InputError, LastAdminError
from localgpt.server.store.accounts import HANDED_OVER
from localgpt.server.store.opening import Store
from localgpt.server.store.records import LOCAL_OWNER
from localgpt.server.store.tables import meta


async def test_the_last_admins_key_is_kept_while_others_have_keys(store: Store) -> None:
    accounts = store.accounts
    await accounts.create("admin", "admin")
    await accounts.revoke("admin", keep_admin="for_others")  # nobody else is left outside
    for name, role in (("admin", "admin"), ("second", "admin"), ("user", "user")):
        await accounts.create(name, role)  # type: ignore[arg-type]
    await accounts.revoke("second", keep_admin="for_others")
    with pytest.raises(LastAdminError, match="'admin' is the last admin's key"):
        await accounts.revoke("admin", keep_admin="for_others")
    assert [entry.name for entry in await accounts.entries()] == ["admin", "user"]
    await accounts.revoke("user", keep_admin="always")
    with pytest.raises(LastAdminError):
        await accounts.revoke("admin", keep_admin="always")
    await accounts.revoke("admin")
    assert not await accounts.has_keys()
    with pytest.raises(InputError, match="no key"):
        await accounts.revoke("admin", keep_admin="always")


async def test_the_next_admin_does_not_get_what_the_first_one_wrote(store: Store) -> None:
    accounts = store.accounts
    alice, _ = await accounts.create("alice", "admin")
    assert alice.owner == LOCAL_OWNER
    await accounts.revoke("alice")
    bob, _ = await accounts.create("bob", "admin")
    assert bob.owner == bob.id
    carol, _ = await accounts.create("carol", "admin", take_over=True)
    assert carol.owner == LOCAL_OWNER
    with pytest.raises(InputError, match="'carol' opens what"):
        await accounts.create("dave", "admin", take_over=True)
    for role, may_own_local in (("user", True), ("admin", False)):
        with pytest.raises(InputError, match="only an admin's key") as refused:
            await accounts.create("eve", role, may_own_local=may_own_local, take_over=True)  # type: ignore[arg-type]
        assert refused.value.param == "take_over"
    assert {entry.name for entry in await accounts.entries()} == {"bob", "carol"}


async def test_a_key_from_before_the_note_counts_when_it_is_revoked(store: Store) -> None:
    await store.accounts.create("alice", "admin")

    async def forget_the_note(connection: AsyncConnection) -> None:
        await connection.execute(delete(meta).where(meta.c.name == HANDED_OVER))

    await store.database.write(forget_the_note)
    await store.accounts.revoke("alice")
    bob, _ = await store.accounts.create("bob", "admin")
    assert bob.owner == bob.id
