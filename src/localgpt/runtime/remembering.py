"""What a service keeps between requests so that the next one is quicker; no answer is changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from localgpt.compute.memory import Ledger, Piece
from localgpt.compute.memory.state import Place
from localgpt.engine.prefixes import PrefixCache
from localgpt.engine.runner import CachedDecoder
from localgpt.models.decoder import Decoder
from localgpt.units import MIB

__all__ = ["PROMPTS", "CacheOptions", "make_prefixes"]

PROMPTS: Final = "remembered prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """How much may be kept."""

    prompt_mib: int = 256  # keys and values of prompts; 0 keeps none


def make_prefixes(decoder: CachedDecoder, ledger: Ledger, options: CacheOptions) -> PrefixCache | None:
    """A cache for the beginnings of prompts, accounted for in the ledger; None where none is kept.

    The OpenCL decoder's keys and values are in buffers of its own, of which no blocks are kept.
    """
    if not options.prompt_mib or not isinstance(decoder, Decoder):
        return None
    account = _Account(ledger)
    account.cache = PrefixCache(options.prompt_mib * MIB, account=account)
    return account.cache


class _Account:
    """How much a `PrefixCache` may hold, and who drops it: an `Account`, and the ledger's `Holder`."""

    def __init__(self, ledger: Ledger) -> None:
        self.cache: PrefixCache | None = None
        self._ledger = ledger

    def allowed_bytes(self, held_bytes: int) -> int:
        return held_bytes + self._ledger.state().free_bytes

    def settle(self, held_bytes: int, remake_s: float) -> None:
        pieces = (Piece(name="keys and values", nbytes=held_bytes),)
        self._ledger.hold(PROMPTS, kind="cache", pieces=pieces, holder=self, remake_s=remake_s)

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        raise AssertionError("a cache is dropped, not moved")

    def drop(self, piece: str) -> None:
        assert self.cache is not None
        self.cache.clear()
