"""What is kept of prompts that were read: their keys and values, for prompts that begin the same way.

Notable:
- Kept in blocks of `BLOCK_LEN` positions. A block belongs to one owner and one chain of blocks before it, and
  is found by its own token ids and pictures behind that chain. Ids are compared, not only hashed; a picture
  is its SHA-256. A cache serves one decoder, so nothing of another model can be found in it.
- Copy on write: blocks never change and are shared by all prompts that begin with them. A sequence gets a
  copy in its slot, so what it writes later, and what is forgotten meanwhile, touches nobody.
- Bit for bit: only positions that a prompt's own reading computed are kept, and those are the same wherever
  the pieces of a prompt end (see `nn.attention.CachedAttend` and `runner.piece_tokens`). What answers
  computed is not kept: single tokens are computed in another way than prompts and differ in the last bits.
- The block used longest ago is forgotten first. Whoever uses a block uses those before it, so that it is
  always the end of a chain.
- Of the latest prompts of a block and more, what follows their last whole block is kept too, and the logits
  after it: drafts of one description, and a question asked again, are read once. These ends are forgotten
  before any block.

Shape legend: L layers, H heads, T positions of a block, D head width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from localgpt.engine.sequence import GenerationRequest, Sequence
from localgpt.media.text.vocabulary import IMAGE_ID
from localgpt.nn.attention import RUN_LEN
from localgpt.nn.kv_cache import KVCache

__all__ = ["BLOCK_LEN", "Account", "PrefixCache", "picture_digest"]

BLOCK_LEN: Final = RUN_LEN
_NUM_ENDS: Final = 8

_Key = tuple["int | str", tuple[int, ...], bytes]  # the block before or the owner; token ids; pictures


class Account(Protocol):
    """Where the bytes are accounted for: the memory ledger's side."""

    def allowed_bytes(self, held_bytes: int) -> int:
        """How many may be held, where `held_bytes` are now."""
        ...

    def settle(self, held_bytes: int, remake_s: float) -> None:
        """So many are held, and reading them took so long."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _KVBlock:
    """Keys and values of `BLOCK_LEN` positions, (L, H, T, D) each."""

    number: int  # never used again, so what was behind a forgotten block is not found behind another
    k: Tensor
    v: Tensor
    read_s: float

    @property
    def nbytes(self) -> int:
        return self.k.nbytes + self.v.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """What comes after a prompt's last whole block: T < `BLOCK_LEN` positions, (L, H, T, D) each."""

    k: Tensor
    v: Tensor
    logits: Tensor  # (V,) after the last position

    @property
    def nbytes(self) -> int:
        return self.k.nbytes + self.v.nbytes + self.logits.nbytes


class PrefixCache:
    """Blocks of prompts of one decoder; `clear` and the sizes may be asked from any thread.

    Args:
        limit_bytes: most that is held.
        account: may allow less; None for nobody who does.
    """

    def __init__(self, limit_bytes: int, *, account: Account | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._account = account
        self._blocks: OrderedDict[_Key, _KVBlock] = OrderedDict()  # used longest ago first
        self._ends: OrderedDict[_Key, _End] = OrderedDict()  # likewise
        self._nbytes = 0
        self._next_number = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks and ends."""
        with self._lock:
            return self._nbytes

    @property
    def num_blocks(self) -> int:
        """How many blocks are held."""
        with self._lock:
            return len(self._blocks)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._blocks.clear()
            self._ends.clear()
            self._nbytes = 0

    def fill(self, sequence: Sequence, cache: KVCache) -> tuple[int, Tensor | None]:
        """Copy the longest known beginning of a sequence's prompt into its slot.

        Returns:
            How many positions are filled now, and the (V,) logits after the last one where that is all of the
            prompt; not to be changed.
        """
        assert sequence.slot is not None
        known, end = self._known(sequence.request)
        for number, block in enumerate(known):
            cache.copy_in(sequence.slot, number * BLOCK_LEN, block.k, block.v)
        num_filled = len(known) * BLOCK_LEN
        if end is None:
            return num_filled, None
        cache.copy_in(sequence.slot, num_filled, end.k, end.v)
        return sequence.num_prompt_tokens, end.logits

    def publish(self, sequence: Sequence, cache: KVCache, slot: int, logits: Tensor) -> None:
        """Keep a prompt that was read to its end, as far as there is room.

        Args:
            sequence: whose prompt it is; its answer may be over.
            cache: where it was read.
            slot: of it.
            logits: (V,) after its last token.
        """
        num_read = sequence.num_prompt_tokens - sequence.num_reused
        if not num_read:
            return  # found whole
        read_s = sequence.prefill_s * BLOCK_LEN / num_read
        most = sequence.num_prompt_tokens // BLOCK_LEN
        allowed = self._allowed_bytes()
        with self._lock:
            chain: list[_Key] = []
            parent: int | str = sequence.request.owner
            for start, (token_ids, pictures) in enumerate(_contents(sequence.request)):
                key = (parent, token_ids, pictures)
                if start == most:
                    if not most:
                        break  # soon read again
                    place = start * BLOCK_LEN
                    k, v = cache.copy_out(slot, place, place + len(token_ids))
                    self._keep_end(key, _End(k, v, logits.clone()), allowed)
                    break
                if key not in self._blocks:
                    place = start * BLOCK_LEN
                    k, v = cache.copy_out(slot, place, place + BLOCK_LEN)
                    if not self._make_room(k.nbytes + v.nbytes, allowed, chain):
                        break
                    self._blocks[key] = _KVBlock(self._next_number, k, v, read_s)
                    self._next_number += 1
                    self._nbytes += k.nbytes + v.nbytes
                chain.append(key)
                parent = self._blocks[key].number
            self._touch(chain)
            held, remake_s = self._nbytes, sum(block.read_s for block in self._blocks.values())
        if self._account is not None:
            self._account.settle(held, remake_s)

    def _allowed_bytes(self) -> int:
        if self._account is None:
            return self._limit_bytes
        return min(self._limit_bytes, self._account.allowed_bytes(self.nbytes))

    def _keep_end(self, key: _Key, end: _End, allowed: int) -> None:
        """Keep what follows a prompt's blocks where there is room beside all blocks."""
        if key in self._ends:
            self._ends.move_to_end(key)
            return
        while self._ends and (len(self._ends) == _NUM_ENDS or self._nbytes + end.nbytes > allowed):
            self._nbytes -= self._ends.popitem(last=False)[1].nbytes
        if self._nbytes + end.nbytes <= allowed:
            self._ends[key] = end
            self._nbytes += end.nbytes

    def _known(self, request: GenerationRequest) -> tuple[list[_KVBlock], _End | None]:
        """The known blocks a prompt begins with, and its end if they are all of it; they count as used.

        Where the end is not known, one token at least is left to be read: the logits after it are wanted.
        """
        found: list[_KVBlock] = []
        most, end = len(request.token_ids) // BLOCK_LEN, None
        with self._lock:
            chain: list[_Key] = []
            parent: int | str = request.owner
            for token_ids, pictures in _contents(request):
                key = (parent, token_ids, pictures)
                if len(found) == most:
                    end = self._ends.get(key)
                    break
                block = self._blocks.get(key)
                if block is None:
                    break
                chain.append(key)
                found.append(block)
                parent = block.number
            self._touch(chain)
            if end is not None:
                self._ends.move_to_end(key)
            elif found and len(found) * BLOCK_LEN == len(request.token_ids):
                found.pop()
        return found, end

    def _touch(self, chain: list[_Key]) -> None:
        """Count blocks as used; those at the beginning as the latest, so that an end is forgotten before."""
        for key in reversed(chain):
            self._blocks.move_to_end(key)

    def _make_room(self, nbytes: int, allowed: int, chain: list[_Key]) -> bool:
        """Forget blocks outside a chain until `nbytes` more are allowed; False if that is not enough."""
        if nbytes > allowed:
            return False
        kept = set(chain)
        while self._ends and self._nbytes + nbytes > allowed:
            self._nbytes -= self._ends.popitem(last=False)[1].nbytes
        while self._nbytes + nbytes > allowed:
            oldest = next((key for key in self._blocks if key not in kept), None)
            if oldest is None:
                return False
            self._nbytes -= self._blocks.pop(oldest).nbytes
        return True


def _contents(request: GenerationRequest) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Token ids and pictures of a prompt's whole blocks, then of what follows them, if only nothing."""
    num_pictures_before = 0
    for start in range(0, len(request.token_ids) + 1, BLOCK_LEN):
        token_ids = tuple(request.token_ids[start : start + BLOCK_LEN])
        num = token_ids.count(IMAGE_ID) if request.image_tokens is not None else 0
        pictures = b""
        if num:
            assert request.image_tokens is not None
            pictures = picture_digest(request.image_tokens[num_pictures_before : num_pictures_before + num])
            num_pictures_before += num
        yield token_ids, pictures


def picture_digest(tokens: Tensor) -> bytes:
    """SHA-256 of the numbers of image tokens (N, C)."""
    data = tokens.detach().contiguous().cpu().view(torch.uint8)
    return hashlib.sha256(data.numpy().data).digest()
