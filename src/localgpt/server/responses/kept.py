"""Responses that are kept, so that they can be read again and gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from localgpt.errors import InputError
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.responses.items import PlacedItem, is_response_id, owner_response, read_items
from localgpt.server.schemas.response_items import ItemReference

__all__ = [
    "KeptResponse",
    "ResponseArchive",
    "archive_of",
    "find_kept",
    "read_history",
    "read_reference",
]

_MAX_LINKS = 2048  # as many as messages are read of one request
_NO_STORE = "this server keeps no responses (it runs without a store)"


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


def archive_of(gateway: Gateway) -> ResponseArchive | None:
    """The archive, where this server has a store."""
    store = getattr(gateway, "store", None)
    archive: ResponseArchive | None = None if store is None else store.responses
    return archive


async def find_kept(archive: ResponseArchive | None, owner: str, response_id: str) -> KeptResponse:
    """A kept response of the caller's.

    Raises:
        WireError: 404; there is none.
    """
    payload = await _payload(archive, owner, response_id)
    if payload is None:
        reason = _NO_STORE if archive is None else "it was not kept, has been deleted, or is another key's"
        raise WireError(
            404, f"no response has the id {response_id!r}: {reason}", param="response_id", code="not_found"
        )
    return KeptResponse.decode(payload)


async def read_history(
    archive: ResponseArchive | None, owner: str, response_id: str | None
) -> list[PlacedItem]:
    """What was said up to and in the response that is gone on with, oldest first; its instructions are not.

    Raises:
        InputError: nothing is kept here, or this response or an earlier one is not.
    """
    param = "previous_response_id"
    turns: list[list[dict[str, Any]]] = []
    while response_id is not None:
        if archive is None:
            raise InputError(f"{_NO_STORE}; send the whole conversation as input", param=param)
        payload = await _payload(archive, owner, response_id)
        if payload is None or len(turns) == _MAX_LINKS:
            problem = "is not kept here" if payload is None else f"is the {_MAX_LINKS + 1}th of its chain"
            raise WireError(
                400,
                f"the response {response_id!r} {problem}; send the whole conversation as input",
                param=param,
                code="previous_response_not_found",
            )
        kept = KeptResponse.decode(payload)
        turns.append([*kept.input, *kept.response["output"]])
        response_id = kept.response["previous_response_id"]
    return [PlacedItem(item, param) for turn in reversed(turns) for item in read_items(turn)]


async def read_reference(
    archive: ResponseArchive | None, owner: str, reference: ItemReference, param: str
) -> PlacedItem:
    """The item that a reference stands for.

    Raises:
        InputError: no kept response holds it.
    """
    response_id = owner_response(reference.id)
    payload = None if response_id is None else await _payload(archive, owner, response_id)
    kept = None if payload is None else KeptResponse.decode(payload)
    items = [] if kept is None else [*kept.input, *kept.response["output"]]
    for item in items:
        if item["id"] == reference.id:
            return PlacedItem(read_items([item])[0], param)
    reason = _NO_STORE if archive is None else "it is of no response that is kept here"
    raise InputError(f"no item has the id {reference.id!r}: {reason}; send the item itself", param=param)


async def _payload(archive: ResponseArchive | None, owner: str, response_id: str) -> bytes | None:
    if archive is None or not is_response_id(response_id):
        return None
    return await archive.get(owner, response_id)
