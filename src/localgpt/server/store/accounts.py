"""Keys and sessions.

A key is 256 random bits, so nobody guesses one and a slow password hash would protect nothing: what is
stored is HMAC-SHA256 under a secret of the store, which also makes a stolen table useless for checking
guesses. The same holds for the tokens of sessions.

All keys are kept in memory for a second: a request costs no query, and a key that the command line makes or
revokes counts in a running server within that second.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from localgpt.errors import InputError, LastAdminError
from localgpt.server.store.database import Database, insert_or_nothing
from localgpt.server.store.records import LOCAL_OWNER, KeepAdmin, KeyEntry, Limits, Role, new_key
from localgpt.server.store.sealing import Sealer
from localgpt.server.store.tables import keys, meta, sessions

__all__ = ["HANDED_OVER", "SESSION_S", "Accounts"]

HANDED_OVER = "local_owner"  # in `meta`: the first key that was given what was written without one
SESSION_S = 30 * 24 * 3600
_REFRESH_S = 1.0
_USE_GRAIN_S = 60.0  # how exactly `last_used_at` is known


class Accounts:
    """Keys that open the server, and the browsers that are signed in with one.

    Args:
        database: holds the tables.
        sealer: closes names, and hashes keys.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._known: dict[bytes, KeyEntry] = {}
        self._known_until = 0.0

    async def create(
        self,
        name: str,
        role: Role,
        limits: Limits | None = None,
        *,
        may_own_local: bool = True,
        take_over: bool = False,
    ) -> tuple[KeyEntry, str]:
        """Make a key.

        Args:
            name: who or what it is for; not a name that is taken.
            role: an admin may make and revoke keys.
            limits: of this key alone.
            may_own_local: the first admin's key opens what was written while there was no key, so that
                nobody loses their conversations by asking for a key. That is done once: later it may hold
                what the first admin wrote.
            take_over: open them nevertheless, with what an admin wrote whose key is gone.

        Returns:
            The entry, and the key itself, which is stored nowhere.

        Raises:
            InputError: the name is taken, or there is nothing that this key could take over.
        """
        if take_over and not (role == "admin" and may_own_local):
            raise InputError(
                "only an admin's key takes over what was written without one, and only while the settings "
                "name none; make it with: localgpt keys create NAME --role admin --take-over",
                param="take_over",
            )
        key, limits = new_key(), limits or Limits()
        key_id = f"key_{secrets.token_hex(8)}"
        digest = self._digest(key)

        async def work(connection: AsyncConnection) -> KeyEntry:
            others = [self._entry(row) for row in (await connection.execute(select(keys))).mappings()]
            if any(other.name == name for other in others):
                raise InputError(f"there is a key called {name!r} already; choose another name", param="name")
            owns_local = role == "admin" and may_own_local
            owns_local = owns_local and await self._is_free(connection, others, take_over)
            entry = KeyEntry(
                id=key_id,
                owner=LOCAL_OWNER if owns_local else key_id,
                name=name,
                role=role,
                created_at=self._clock(),
                limits=limits,
            )
            await connection.execute(
                insert(keys).values(
                    id=entry.id,
                    owner=entry.owner,
                    role=role,
                    digest=digest,
                    sealed_name=self._sealer.seal_text(name, "keys", "name", key_id),
                    requests_per_minute=limits.requests_per_minute,
                    max_parallel=limits.max_parallel,
                    created_at=entry.created_at,
                )
            )
            if owns_local:
                await insert_or_nothing(connection, meta, name=HANDED_OVER, value=key_id)
            return entry

        entry = await self._database.write(work)
        self._known_until = 0.0
        return entry, key

    async def _is_free(
        self, connection: AsyncConnection, others: Iterable[KeyEntry], take_over: bool
    ) -> bool:
        """Whether what was written without a key may be given to a new one."""
        holder = next((other for other in others if other.owner == LOCAL_OWNER), None)
        if take_over and holder is not None:
            raise InputError(
                f"the key {holder.name!r} opens what was written without one; revoke it first, or leave that",
                param="take_over",
            )
        handed_over = await connection.scalar(select(meta.c.value).where(meta.c.name == HANDED_OVER))
        return holder is None and (take_over or handed_over is None)

    async def entries(self) -> list[KeyEntry]:
        """All keys, oldest first."""
        await self._refresh(now=True)
        return sorted(self._known.values(), key=lambda entry: (entry.created_at, entry.id))

    async def revoke(self, id_or_name: str, *, keep_admin: KeepAdmin = "never") -> KeyEntry:
        """Delete a key and sign its browsers out. What its owner wrote stays.

        Args:
            id_or_name: of the key.
            keep_admin: when to keep the last key of an admin.

        Raises:
            InputError: there is no such key.
            LastAdminError: it is to be kept.
        """
        entry = next((entry for entry in await self.entries() if id_or_name in (entry.id, entry.name)), None)
        if entry is None:
            raise InputError(f"there is no key {id_or_name!r}; list them first", param="id")

        async def work(connection: AsyncConnection) -> None:
            if keep_admin != "never" and entry.role == "admin":
                roles = set(await connection.scalars(select(keys.c.role).where(keys.c.id != entry.id)))
                if "admin" not in roles and (roles or keep_admin == "always"):
                    raise LastAdminError(
                        f"{entry.name!r} is the last admin's key, and nobody could make or revoke keys "
                        "without it; make another admin's key first, or use force (--force, ?force=true)"
                    )
            if entry.owner == LOCAL_OWNER:  # of keys that were made before there was a note of it, too
                await insert_or_nothing(connection, meta, name=HANDED_OVER, value=entry.id)
            await connection.execute(delete(sessions).where(sessions.c.account == entry.id))
            await connection.execute(delete(keys).where(keys.c.id == entry.id))

        await self._database.write(work)
        await self._database.purge()
        self._known_until = 0.0
        return entry

    async def has_keys(self) -> bool:
        """Whether there is any key."""
        await self._refresh()
        return bool(self._known)

    async def find(self, key: str) -> KeyEntry | None:
        """The entry of a key. Every entry is compared, in constant time each."""
        await self._refresh()
        given = self._digest(key)
        found = [entry for digest, entry in self._known.items() if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    async def entry(self, key_id: str) -> KeyEntry | None:
        """The key of that id."""
        await self._refresh()
        return next((entry for entry in self._known.values() if entry.id == key_id), None)

    def limits_of(self, owner: str) -> Limits:
        """The limits of an owner's key, as `find` saw it last; without a key, none."""
        return next((entry.limits for entry in self._known.values() if entry.owner == owner), Limits())

    def mark_of(self, key: str) -> str:
        """A name for a key that is not of this store, the same every time; it does not help to guess it."""
        return self._sealer.fingerprint("settings key", key.encode("utf-8", "surrogatepass")).hex()[:32]

    async def note_use(self, entry: KeyEntry) -> None:
        """Remember, to the minute, that a key was used."""
        now = self._clock()
        if entry.last_used_at is not None and now - entry.last_used_at < _USE_GRAIN_S:
            return
        digest = next((digest for digest, known in self._known.items() if known.id == entry.id), None)
        if digest is not None:  # at once, so that requests beside this one do not write it too
            self._known[digest] = replace(entry, last_used_at=now)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(update(keys).where(keys.c.id == entry.id).values(last_used_at=now))

        await self._database.write(work)

    async def sign_in(self, account: str) -> str:
        """Open a session of an account and return its token; the store keeps a keyed hash of it."""
        token, now = secrets.token_urlsafe(32), self._clock()
        digest = self._digest(token)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            await connection.execute(
                insert(sessions).values(
                    digest=digest, account=account, created_at=now, expires_at=now + SESSION_S
                )
            )

        await self._database.write(work)
        return token

    async def session_account(self, token: str) -> str | None:
        """Whose session a token opens, while it lasts."""
        digest, now = self._digest(token), self._clock()

        async def work(connection: AsyncConnection) -> Any:
            query = select(sessions.c.account).where(sessions.c.digest == digest, sessions.c.expires_at > now)
            return await connection.scalar(query)

        account = await self._database.read(work)
        return None if account is None else str(account)

    async def sign_out(self, token: str) -> None:
        """End a session."""
        digest = self._digest(token)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(sessions).where(sessions.c.digest == digest))

        await self._database.write(work)

    async def _refresh(self, *, now: bool = False) -> None:
        if not now and self._clock() < self._known_until:
            return

        async def work(connection: AsyncConnection) -> dict[bytes, KeyEntry]:
            rows = (await connection.execute(select(keys))).mappings()
            return {bytes(row["digest"]): self._entry(row) for row in rows}

        self._known = await self._database.read(work)
        self._known_until = self._clock() + _REFRESH_S

    def _entry(self, row: Any) -> KeyEntry:
        return KeyEntry(
            id=row["id"],
            owner=row["owner"],
            name=self._sealer.unseal_text(row["sealed_name"], "keys", "name", row["id"]),
            role=row["role"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            limits=Limits(requests_per_minute=row["requests_per_minute"], max_parallel=row["max_parallel"]),
        )

    def _digest(self, secret: str) -> bytes:
        return self._sealer.fingerprint("key", secret.encode("utf-8", "surrogatepass"))
