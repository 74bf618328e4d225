"""The last admin's key, and what was written without one."""

from __future__ import annotations

import pytest

from localgpt.errors import InputError, LastAdminError
from localgpt.server.store.opening import Store


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
