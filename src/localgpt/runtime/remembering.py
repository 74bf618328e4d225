"""What a service keeps between requests so that the next one is quicker; no answer is changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localgpt.compute.memory import Ledger, Piece
from localgpt.compute.memory.state import Place
from localgpt.engine.answers import AnswerStore
from localgpt.engine.prefixes import PrefixCache
from localgpt.engine.runner import CachedDecoder, ModelRunner, SlotCache, piece_tokens
from localgpt.nn.kv_cache import KVCache
from localgpt.runtime.holdings import Holdings
from localgpt.runtime.shelf import ShelfFolder
from localgpt.units import MIB

__all__ = ["ANSWERS", "NO_DRAFTS", "PROMPTS", "CacheOptions", "Kept", "make_kept"]

PROMPTS: Final = "remembered prompts"
ANSWERS: Final = "remembered answers"
NO_DRAFTS: Final = (
    "use_cache has no effect on answers here: on this device several tokens computed at once differ in their "
    "last bits from one at a time"
)
_NUM_PICTURES: Final = 16
_ANSWER_BYTES: Final = 16 * MIB  # some ten thousand answers


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """How much may be kept."""

    prompt_mib: int = 256  # keys and values of prompts; 0 keeps none, nor their pictures
    keeps_answers: bool = False  # as drafts for the same questions asked again
    answers_folder: Path | None = None  # where they are kept beyond this process, too; see `shelf`

    @property
    def num_pictures(self) -> int:
        """Whose image tokens are kept."""
        return _NUM_PICTURES if self.prompt_mib else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A runner, and what it and its engine keep."""

    runner: ModelRunner
    prefixes: PrefixCache | None
    answers: AnswerStore | None
    notices: tuple[str, ...]


def make_kept(decoder: CachedDecoder, holdings: Holdings, options: CacheOptions, place: str) -> Kept:
    """A runner with as many slots as the holdings allow, and what may be kept beside it."""
    prefixes = _make_prefixes(holdings.slot, holdings.ledger, options)
    answers = _make_answers(decoder, place, holdings.ledger, options)
    runner = ModelRunner(
        decoder,
        num_slots=holdings.num_slots,
        prefill_tokens=piece_tokens(decoder, keeps_prompts=prefixes is not None),
        prefixes=prefixes,
        checks_drafts=answers is not None,
    )
    has_drafts = answers is None or runner.row_plan is not None
    return Kept(runner=runner, prefixes=prefixes, answers=answers, notices=() if has_drafts else (NO_DRAFTS,))


def _make_answers(
    decoder: CachedDecoder, place: str, ledger: Ledger, options: CacheOptions
) -> AnswerStore | None:
    """A store of answers; None where none are kept. Its bytes are the machine's, whatever the device."""
    if not options.keeps_answers:
        return None
    shelf = None if options.answers_folder is None else ShelfFolder(options.answers_folder)
    account = _AnswerAccount(ledger)
    account.store = AnswerStore(
        _ANSWER_BYTES,
        vocab_size=decoder.config.vocab_size,
        shelf=shelf,
        on_size=account.settle if place == "cpu" else None,
    )
    return account.store


def _make_prefixes(slot: SlotCache, ledger: Ledger, options: CacheOptions) -> PrefixCache | None:
    """A cache for the beginnings of prompts, accounted for in the ledger; None where none is kept.

    The OpenCL decoder's keys and values are in buffers of its own, of which no blocks are kept.
    """
    if not options.prompt_mib or not isinstance(slot, KVCache):
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


class _AnswerAccount:
    """Tells the ledger what an `AnswerStore` holds, and drops it; implements `Holder`."""

    def __init__(self, ledger: Ledger) -> None:
        self.store: AnswerStore | None = None
        self._ledger = ledger

    def settle(self, held_bytes: int) -> None:
        self._ledger.hold(
            ANSWERS, kind="cache", pieces=(Piece(name="tokens", nbytes=held_bytes),), holder=self
        )

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        raise AssertionError("a cache is dropped, not moved")

    def drop(self, piece: str) -> None:
        assert self.store is not None
        self.store.clear()
