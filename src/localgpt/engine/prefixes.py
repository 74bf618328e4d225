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

Shape legend: L layers, H heads, T positions of a block, D head width.
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
        self._nbytes = 0
        self._next_number = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        with self._lock:
            return self._nbytes

    @property
    def num_blocks(self) -> int:
        """How many are held."""
        with self._lock:
            return len(self._blocks)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._blocks.clear()
            self._nbytes = 0

    def fill(self, sequence: Sequence, cache: KVCache) -> int:
        """Copy the longest known beginning of a sequence's prompt into its slot.

        At least the prompt's last token is left to be read, since its logits are wanted.

        Returns:
            How many positions are filled now.
        """
        assert sequence.slot is not None
        most = (sequence.num_prompt_tokens - 1) // BLOCK_LEN
        known = self._known(sequence.request, most)
        for number, block in enumerate(known):
            cache.copy_in(sequence.slot, number * BLOCK_LEN, block.k, block.v)
        return len(known) * BLOCK_LEN

    def publish(self, sequence: Sequence, cache: KVCache, slot: int) -> None:
        """Keep the whole blocks of a prompt that was read to its end, as far as there is room.

        Args:
            sequence: whose prompt it is; its answer may be over.
            cache: where it was read.
            slot: of it.
        """
        num_read = max(1, sequence.num_prompt_tokens - sequence.num_reused)
        read_s = sequence.prefill_s * BLOCK_LEN / num_read
        most = sequence.num_prompt_tokens // BLOCK_LEN
        allowed = self._allowed_bytes()
        with self._lock:
            chain: list[_Key] = []
            parent: int | str = sequence.request.owner
            for start, (token_ids, pictures) in enumerate(_contents(sequence.request, most)):
                key = (parent, token_ids, pictures)
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

    def _known(self, request: GenerationRequest, most: int) -> list[_KVBlock]:
        """The known blocks a prompt begins with, at most so many; they count as used."""
        found: list[_KVBlock] = []
        with self._lock:
            chain: list[_Key] = []
            parent: int | str = request.owner
            for token_ids, pictures in _contents(request, most):
                block = self._blocks.get((parent, token_ids, pictures))
                if block is None:
                    break
                chain.append((parent, token_ids, pictures))
                found.append(block)
                parent = block.number
            self._touch(chain)
        return found

    def _touch(self, chain: list[_Key]) -> None:
        """Count blocks as used; those at the beginning as the latest, so that an end is forgotten before."""
        for key in reversed(chain):
            self._blocks.move_to_end(key)

    def _make_room(self, nbytes: int, allowed: int, chain: list[_Key]) -> bool:
        """Forget blocks outside a chain until `nbytes` more are allowed; False if that is not enough."""
        if nbytes > allowed:
            return False
        kept = set(chain)
        while self._nbytes + nbytes > allowed:
            oldest = next((key for key in self._blocks if key not in kept), None)
            if oldest is None:
                return False
            self._nbytes -= self._blocks.pop(oldest).nbytes
        return True


def _contents(request: GenerationRequest, num_blocks: int) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Token ids and pictures of the first blocks of a prompt."""
    num_pictures_before = 0
    for start in range(0, num_blocks * BLOCK_LEN, BLOCK_LEN):
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
