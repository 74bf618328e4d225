"""What was heard lately, for clients that send the whole conversation with every turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

__all__ = ["HeardTexts"]

_MAX_TEXTS: Final = 256


class HeardTexts:
    """Texts of recordings by owner, model and content; the one used longest ago is forgotten first."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str, bytes], str] = OrderedDict()

    def get(self, owner: str, model: str, data: bytes) -> str | None:
        """What was heard in a recording, if that is remembered."""
        key = _key(owner, model, data)
        if key in self._texts:
            self._texts.move_to_end(key)
        return self._texts.get(key)

    def put(self, owner: str, model: str, data: bytes, text: str) -> None:
        """Remember a text."""
        self._texts[_key(owner, model, data)] = text
        while len(self._texts) > _MAX_TEXTS:
            self._texts.popitem(last=False)


def _key(owner: str, model: str, data: bytes) -> tuple[str, str, bytes]:
    return owner, model, hashlib.sha256(data).digest()
