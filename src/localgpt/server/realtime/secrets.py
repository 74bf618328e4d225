"""Keys for browsers: each opens calls of whoever made it, soon expires, and is kept in memory alone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from localgpt.errors import CapacityError

if TYPE_CHECKING:
    from localgpt.server.access import Caller
    from localgpt.server.schemas.realtime import SessionBody

__all__ = ["ClientSecrets"]

_PREFIX: Final = "ek_"
_MAX_SECRETS: Final = 1000  # of one owner; who makes more makes them faster than they expire


@dataclass(frozen=True, slots=True)
class _Secret:
    caller: Caller
    session: SessionBody
    expires_at: float


class ClientSecrets:
    """The keys that there are.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._secrets: dict[str, _Secret] = {}

    def make(self, caller: Caller, session: SessionBody, seconds: int) -> tuple[str, int]:
        """A fresh key, and when it expires.

        Raises:
            CapacityError: the caller has too many.
        """
        now = self._clock()
        self._secrets = {name: one for name, one in self._secrets.items() if one.expires_at > now}
        if sum(one.caller.owner == caller.owner for one in self._secrets.values()) >= _MAX_SECRETS:
            raise CapacityError(f"{_MAX_SECRETS} client secrets are open; wait until some have expired")
        secret = _PREFIX + secrets.token_urlsafe(32)
        self._secrets[secret] = _Secret(caller, session, now + seconds)
        return secret, int(now + seconds)

    def find(self, secret: str) -> tuple[Caller, SessionBody] | None:
        """Whose key it is and what its calls begin with; None where it is none, or expired."""
        found = self._secrets.get(secret)  # 256 random bits: a lookup's time tells nothing of use
        if found is None or found.expires_at <= self._clock():
            return None
        return found.caller, found.session
