"""Responses that are kept, so that they can be read again and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from localgpt.errors import InputError
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.responses.items import PlacedItem, is_response_id, owner_response, read_items
from localgpt.server.schemas.response_items import ItemReference

__all__ = [
    "KeptReader",
    "KeptResponse",
    "ResponseArchive",
    "archive_of",
    "find_kept",
    "has_logprobs",
]

_MAX_LINKS = 2048  # as many as messages are read of one request
_NO_STORE = "cannot be found, since this server runs without a store"


class ResponseArchive(Protocol):
    """Where kept responses lie: bytes by owner and id. One owner never sees another's."""

    async def put(self, owner: str, response_id: str, payload: bytes) -> None:
        """Keep it; on return it is on disk."""

    async def get(self, owner: str, response_id: str) -> bytes | None:
        """What was kept, or None."""

    async def delete(self, owner: str, response_id: str) -> bool:
        """Keep it no more; whether it was there."""


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response and what it was made from, both as they go over the wire."""

    response: dict[str, Any]
    input: list[dict[str, Any]]

    def encode(self) -> bytes:
        """Bytes for the archive."""
        return json.dumps({"response": self.response, "input": self.input}, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, payload: bytes) -> KeptResponse:
        """Inverse of `encode`."""
        return cls(**json.loads(payload))

    @property
    def items(self) -> list[dict[str, Any]]:
        """The input's items, then the answer's."""
        return [*self.input, *self.response["output"]]


def archive_of(gateway: Gateway) -> ResponseArchive | None:
    """The archive, where this server has a store."""
    return None if gateway.store is None else gateway.store.responses


async def find_kept(archive: ResponseArchive | None, owner: str, response_id: str) -> KeptResponse:
    """A kept response of the caller's.

    Raises:
        WireError: 404; there is none.
    """
    payload = await _payload(archive, owner, response_id)
    if payload is None:
        reason = (
            f"it {_NO_STORE}" if archive is None else "it was not kept, has been deleted, or is another key's"
        )
        raise WireError(
            404, f"no response has the id {response_id!r}: {reason}", param="response_id", code="not_found"
        )
    return KeptResponse.decode(payload)


def has_logprobs(response: dict[str, Any]) -> bool:
    """Whether all the text of a kept response has its log probabilities."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return all(part["logprobs"] or not part["text"] for part in parts)


class KeptReader:
    """Reads what one request names instead of sending it; no more than it might have sent.

    Args:
        archive: where kept responses lie; None without a store.
        owner: whose they must be.
        hold: counts what is read among the bodies of all requests; raises where there is no room for it.
        max_bytes: of all responses that are read together.
    """

    def __init__(
        self, archive: ResponseArchive | None, owner: str, hold: Callable[[int], None], *, max_bytes: int
    ) -> None:
        self._archive = archive
        self._owner = owner
        self._hold = hold
        self._num_bytes_left = max_bytes
        self._known: dict[str, KeptResponse | None] = {}

    async def history(self, response_id: str | None) -> list[PlacedItem]:
        """What was said up to and in a response, oldest first; its instructions are not.

        Raises:
            WireError: nothing is kept here, this response or an earlier one is not, or they are too large.
        """
        param = "previous_response_id"
        turns: list[list[dict[str, Any]]] = []
        while response_id is not None:
            kept = await self._find(response_id, param)
            if kept is None or len(turns) == _MAX_LINKS:
                reason = "is not kept here" if kept is None else f"is the {_MAX_LINKS + 1}th of its chain"
                raise WireError(
                    400,
                    f"the response {response_id!r} {_NO_STORE if self._archive is None else reason}; "
                    "send the whole conversation as input",
                    param=param,
                    code="previous_response_not_found",
                )
            turns.append(kept.items)
            response_id = kept.response["previous_response_id"]
        return [PlacedItem(item, param) for turn in reversed(turns) for item in read_items(turn)]

    async def reference(self, reference: ItemReference, param: str) -> PlacedItem:
        """The item that a reference stands for.

        Raises:
            InputError: no kept response holds it.
            WireError: the responses that are read are too large together.
        """
        response_id = owner_response(reference.id)
        kept = None if response_id is None else await self._find(response_id, param)
        for item in [] if kept is None else kept.items:
            if item["id"] == reference.id:
                return PlacedItem(read_items([item])[0], param)
        reason = "is of no response that is kept here"
        raise InputError(
            f"no item has the id {reference.id!r}: it {_NO_STORE if self._archive is None else reason}; "
            "send the item itself",
            param=param,
        )

    async def _find(self, response_id: str, param: str) -> KeptResponse | None:
        if response_id not in self._known:
            payload = await _payload(self._archive, self._owner, response_id)
            self._hold(len(payload or b""))
            self._num_bytes_left -= len(payload or b"")
            if self._num_bytes_left < 0:
                raise WireError(
                    413,
                    "the kept responses that are gone on with are larger than a body may be; send the part "
                    "of the conversation that matters as input",
                    param=param,
                )
            self._known[response_id] = None if payload is None else KeptResponse.decode(payload)
        return self._known[response_id]


async def _payload(archive: ResponseArchive | None, owner: str, response_id: str) -> bytes | None:
    if archive is None or not is_response_id(response_id):
        return None
    return await archive.get(owner, response_id)
