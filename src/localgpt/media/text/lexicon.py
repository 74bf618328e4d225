"""A vocabulary as choosing tokens and writing answers see it, whoever's it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Lexicon"]


class Lexicon(Protocol):
    """Ids, and the bytes each of them stands for."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, reserved ones included: the length of the logits."""
        ...

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        ...

    @property
    def bos_id(self) -> int:
        """The token that prompts begin with."""
        ...

    @property
    def reserved(self) -> Mapping[int, str]:
        """Ids that stand for no text, and their names."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def piece(self, token_id: int) -> bytes:
        """The bytes one token stands for; empty for a reserved or unused id."""
        ...
